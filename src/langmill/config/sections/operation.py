"""The workspace and the flow: conf/operation/."""

from __future__ import annotations

from dataclasses import dataclass

from langmill.config.schedule import refuse_impossible_schedule
from langmill.config.sections.device import Accelerator
from langmill.config.sections.requirement import require


@dataclass
class Schedule:
    """When the flow runs by itself."""

    cron: str
    """Five cron fields."""
    timezone: str
    """An IANA time zone."""

    def __post_init__(self) -> None:
        refuse_impossible_schedule(self.cron, self.timezone)


@dataclass
class Operation:
    """Where the workspace keeps its state and how the flow runs."""

    recipes: list[str]
    """The recipes that `langmill run` makes when none is named."""
    tracking_uri: str
    """MLflow's tracking server and registry: an http(s) address, or a database as in sqlite:///.langmill/mlflow.db."""
    parallel: int
    """Steps of the graph that run side by side at most."""
    one_at_a_time: list[str]
    """Stages of dvc.yaml that use every core by themselves: one step of all of them runs at a time, as two side by side
    would take longer than one after the other."""
    device: Accelerator
    """Where finished models are judged, asked and served: `auto` takes a GPU where there is one; or `cpu`, `cuda`,
    `mps`. Where training runs is `training.accelerator`."""
    retries: int
    """How often a failed step is tried again."""
    retry_seconds: float
    """Seconds before a failed step is tried again."""
    mlflow_port: int
    """The port of the MLflow pages of `make ui`."""
    prefect_port: int
    """The port of the Prefect pages of `make ui` and of the schedule."""
    schedule: Schedule

    def __post_init__(self) -> None:
        require(bool(self.recipes), "operation.recipes", self.recipes, "at least one recipe")
        require(self.parallel >= 1, "operation.parallel", self.parallel, "1 or more")
        require(self.retries >= 0, "operation.retries", self.retries, "0 or more")
