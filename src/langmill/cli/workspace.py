"""The workspace of the commands: its settings, and the environment of its processes."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from langmill.config.compose import available, compose_operation, compose_recipe
from langmill.config.sections import Operation
from langmill.errors import LangmillError
from langmill.workspace import Workspace


def in_workspace() -> bool:
    """Whether the current folder is the root of a workspace."""
    return Workspace().graph_file.is_file() and Workspace().conf.is_dir()


def require_workspace() -> None:
    """Raise LangmillError unless the current folder is the root of a workspace."""
    if not in_workspace():
        sentence = f"{Path.cwd()} is not a Langmill workspace (no dvc.yaml or no conf/ in it);"
        raise LangmillError(f"{sentence} go to the folder of your clone.", "missing")


def require_recipe(name: str) -> None:
    """Refuse a name that no recipe has; a model without a version may still be asked for by it.

    Raises ConfigError where it is a pretrained model's, or nobody's.
    """
    if name not in available("recipe"):
        compose_recipe(name)  # which says so


def operation() -> Operation:
    """Compose the settings of the workspace in the current folder; raises ConfigError, and as `require_workspace`."""
    require_workspace()
    return compose_operation()


def own_command() -> str:
    """The command that runs this program: `langmill`, or its path if the environment is not activated."""
    if shutil.which("langmill"):
        return "langmill"
    path = Path(sys.argv[0])
    return os.path.relpath(path) if path.name == "langmill" else f"{os.path.relpath(sys.executable)} -m langmill.cli"


def prefect_environment() -> dict[str, str]:
    """Make the environment of a process that uses Prefect: its state in the workspace, no telemetry, no proxy to it."""
    direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    direct = direct if direct == "*" else f"{direct},127.0.0.1".lstrip(",")
    return {
        **os.environ,
        "PREFECT_HOME": str(Workspace().prefect.absolute()),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "INFO",
        "NO_PROXY": direct,
        "no_proxy": direct,
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONWARNINGS": "ignore",
        "PYTHONUNBUFFERED": "1",
    }
