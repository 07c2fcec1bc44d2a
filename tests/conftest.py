"""What every test gets: no telemetry, no hub, no colours, a quiet MLflow."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

# A stage's command says `python`: it must be the one that runs the tests, whether its environment is active or not.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])

# A shell starts background jobs with Ctrl-C ignored, and processes pass that on: tests that press it must not
# inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Before any library is imported: they read these once.
os.environ.update(
    {
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "NO_COLOR": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "TOKENIZERS_PARALLELISM": "true",
    }
)
