"""The workspace and the flow: conf/operation/."""

from __future__ import annotations

from typing import Annotated

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from langmill.config.constraints import Allowed, Port
from langmill.config.schedule import refuse_impossible_schedule
from langmill.config.sections.training import Accelerator
from langmill.config.typed import settings

Recipes = Annotated[list[str], Allowed("at least one recipe", bool)]


@settings
class Schedule:
    """When the flow runs by itself."""

    cron: str
    """Five cron fields."""
    timezone: str
    """An IANA time zone."""

    def __post_init__(self) -> None:
        refuse_impossible_schedule(self.cron, self.timezone)


@settings
class Operation:
    """Where the workspace keeps its state and how the flow runs."""

    recipes: Recipes
    """The recipes that `langmill run` makes when none is named."""
    tracking_uri: str
    """MLflow's tracking server and registry: an http(s) address, or a database as in sqlite:///.langmill/mlflow.db."""
    parallel: PositiveInt
    """Steps of the graph that run side by side at most."""
    one_at_a_time: list[str]
    """Stages of dvc.yaml that use every core by themselves: one step of all of them runs at a time, as two side by side
    would take longer than one after the other."""
    device: Accelerator
    """Where finished models are judged, asked and served: `auto` takes a GPU where there is one; or `cpu`, `cuda`,
    `mps`. Where training runs is `training.accelerator`."""
    retries: NonNegativeInt
    """How often a failed step is tried again."""
    retry_seconds: NonNegativeFloat
    """Seconds before a failed step is tried again."""
    mlflow_port: Port
    """The port of the MLflow pages of `make ui`."""
    prefect_port: Port
    """The port of the Prefect pages of `make ui` and of the schedule."""
    schedule: Schedule
