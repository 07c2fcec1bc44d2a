"""Refuse schedules that no clock ever reaches, before anything announces them."""

from __future__ import annotations

import re
import zoneinfo

from langmill.config.core_yaml import as_written
from langmill.errors import FieldError

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_DAYS_OF_MONTH = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
_FIELDS: list[tuple[str, int, int, list[str]]] = [
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day of the month", 1, 31, []),
    ("month", 1, 12, ["", *_MONTHS]),
    ("day of the week", 0, 7, _WEEKDAYS),
]
_ITEM = re.compile(r"(?P<low>\*|\w+)(-(?P<high>\w+))?(/(?P<step>[0-9]+))?")


def refuse_impossible_schedule(cron: str, timezone: str) -> None:
    """Check five cron fields (numbers, names, lists, ranges and steps) and a time zone.

    Raises FieldError where a field is not one of cron, the date never comes, or this machine knows no such time zone.
    """
    given = f"cron is {as_written(cron)}"
    fields = cron.split()
    if len(fields) != len(_FIELDS):
        raise FieldError(
            f"{given}; allowed are five fields: minute, hour, day of the month, month and day of the week, "
            "as in '0 3 * * 1'",
            "cron",
        )
    values = []
    for text, (name, low, high, names) in zip(fields, _FIELDS, strict=True):
        found = _values(text, low, high, names)
        if not found:
            raise FieldError(
                f"{given}: its {name} is {text}; allowed is {low} to {high}, `*`, a list, range or step", "cron"
            )
        values.append(found)
    days, months = values[2], values[3]
    if fields[4] == "*" and min(days) > max(_DAYS_OF_MONTH[month - 1] for month in months):
        raise FieldError(f"{given}, which never comes: no month of it has a day {min(days)}", "cron")
    try:
        zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise FieldError(
            f"timezone is {as_written(timezone)}; allowed is an IANA time zone, as in UTC or Europe/Berlin", "timezone"
        ) from error


def _values(text: str, low: int, high: int, names: list[str]) -> set[int]:
    """The numbers that one field stands for; none if it is not one of cron."""
    found: set[int] = set()
    for item in text.split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            return set()
        first, last = (low, high) if match["low"] == "*" else (_number(match["low"], names), None)
        if match["high"]:
            last = _number(match["high"], names) if match["low"] != "*" else None
        elif last is None:
            last = high if match["step"] else first
        step = int(match["step"] or 1)
        if first is None or last is None or not low <= first <= last <= high or step < 1:
            return set()
        found.update(range(first, last + 1, step))
    return found


def _number(word: str, names: list[str]) -> int | None:
    if re.fullmatch("[0-9]+", word):
        return int(word)
    return names.index(word.lower()) if word.lower() in names else None
