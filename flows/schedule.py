"""The flow on a schedule: a deployment on the Prefect server at PREFECT_API_URL, and the worker that carries it out.

One run of the deployment at a time; one that falls due during another is queued. Runs started by hand do not count for
Prefect, so each run also waits for the workspace's lock.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import timedelta

from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.flows import EntrypointType
from prefect.schedules import Cron, Interval

from flows.make_models import make_models
from langmill.lifetime import PARENT_VARIABLE, end_with_parent

DEPLOYMENT = "scheduled"


def main(arguments: Sequence[str]) -> int:
    """Serve the deployment until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m flows.schedule", description=__doc__)
    parser.add_argument("recipes", nargs="*")
    parser.add_argument("--cron")
    parser.add_argument("--interval", type=float, help="seconds")
    parser.add_argument("--timezone", required=True)
    given = parser.parse_args(arguments)
    end_with_parent()  # `kill -9` of `langmill deploy` ends the schedule's worker and the run that it has started
    os.environ[PARENT_VARIABLE] = str(os.getpid())  # for those runs, which Prefect starts from this very process
    if given.interval:
        schedule = Interval(timedelta(seconds=given.interval), timezone=given.timezone)
    else:
        schedule = Cron(given.cron, timezone=given.timezone)
    make_models.serve(
        name=DEPLOYMENT,
        schedule=schedule,
        parameters={"recipes": given.recipes or None},
        global_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE),
        pause_on_shutdown=False,
        print_starting_message=False,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
