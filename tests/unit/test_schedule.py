"""Schedules: what cron can mean, and what no clock ever reaches."""

import os

import pytest

from langmill.config.schedule import refuse_impossible_schedule
from langmill.errors import ConfigError
from langmill.lifetime import PARENT_VARIABLE
from tests.refused import refused

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "cron",
    [
        "0 3 * * *", "*/5 * * * *", "0,30 8-18/2 * * mon-fri", "0 0 29 2 *", "0 0 1 JAN,Jul 7", "59 23 31 12 0",
        "0 0 30 2 mon", "5/20 * * * *",
    ],
)  # fmt: skip
def test_schedules_of_cron_are_taken(cron):
    refuse_impossible_schedule(cron, "Europe/Berlin")


@pytest.mark.parametrize(
    ("cron", "fact"),
    [
        ("61 * * * *", "minute is 61; allowed is 0 to 59"),
        ("* 24 * * *", "hour is 24"),
        ("* * 0 * *", "day of the month is 0"),
        ("* * * 13 *", "month is 13"),
        ("* * * * 8", "day of the week is 8"),
        ("* * * * someday", "day of the week is someday"),
        ("5-1 * * * *", "minute is 5-1"),
        ("*/0 * * * *", "minute is */0"),
        ("*-5 * * * *", "minute is"),
        ("1, * * * *", "minute is 1,"),
        ("-5 * * * *", "minute is -5"),
        ("0 0 30 2 *", "a day 30"),
        ("0 0 31 4,6 *", "a day 31"),
        ("0 3 * *", "five fields"),
        ("", "five fields"),
        ("@daily", "five fields"),
    ],
)
def test_schedules_that_never_come_are_refused(cron, fact):
    with refused(ConfigError, "impossible", "cron", fact):
        refuse_impossible_schedule(cron, "UTC")


@pytest.mark.parametrize("timezone", ["Mars/Phobos", "", "../etc/passwd", "/etc/localtime"])
def test_time_zones_that_nobody_has_are_refused(timezone):
    with refused(ConfigError, "impossible", "timezone is", timezone):
        refuse_impossible_schedule("0 3 * * *", timezone)


def test_a_scheduled_run_knows_the_worker_that_started_it(monkeypatch):
    from flows import schedule

    told: list[str] = []
    monkeypatch.delenv(PARENT_VARIABLE, raising=False)
    monkeypatch.setattr(schedule, "end_with_parent", lambda: os.environ.pop(PARENT_VARIABLE, None))
    monkeypatch.setattr(schedule.make_models, "serve", lambda **options: told.append(os.environ[PARENT_VARIABLE]))
    monkeypatch.setenv(PARENT_VARIABLE, "1")  # its own parent, which is not that of the runs
    assert schedule.main(["--interval", "5", "--timezone", "UTC"]) == 0
    assert told == [str(os.getpid())]
