"""Is a cron expression one that Airflow's timetable takes? Five fields, or a preset.

It is read by croniter, as Airflow reads it, so that both mean the same: the last day of a month (`L`), the second Saturday
(`sat#2`), ranges that wrap (`fri-mon`). One that no day fits must be refused too: Airflow asks it for the next run of all DAGs
of a file in one go.
"""

from __future__ import annotations

from datetime import UTC, datetime

PRESETS = ("@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")

_FIELDS = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of month", 1, 31),
    ("month", 1, 12),
    ("day of week", 0, 7),
)
_LONGEST = 150  # Airflow stores what it means in words, in at most 1,000 characters
_BEFORE_ALL = datetime(2000, 1, 1, tzinfo=UTC)  # what fits no day of the 50 years after it fits none


def cron_fault(expression: str) -> str | None:
    """What is wrong with a cron expression in one phrase; None where nothing is."""
    if expression in PRESETS:
        return None
    if len(expression) > _LONGEST:
        return f"{len(expression)} characters instead of at most {_LONGEST}"
    fields = expression.split()
    if len(fields) != len(_FIELDS):
        return f"{len(fields)} field{'' if len(fields) == 1 else 's'} instead of 5"
    for position, (text, (name, low, high)) in enumerate(zip(fields, _FIELDS, strict=True)):
        if not _is_read([text if i == position else "*" for i in range(len(_FIELDS))]):
            return f"{name} {text!r} is not within {low}-{high}"
    if _has_a_day(fields):
        return None
    days, months, weekdays = fields[2:]
    also = "" if set(weekdays.split(",")) == {"*"} else f" that is {weekdays!r} too"
    return f"no month of {months!r} has a day {days!r}{also}"


def _is_read(fields: list[str]) -> bool:
    """Whether croniter reads them, and always alike: `r` and `h` stand for a number that it draws."""
    from croniter import CroniterBadCronError, croniter  # only who writes a cron of their own needs it

    if any(field[0] in "hHrR" for field in fields):
        return False
    try:
        croniter(" ".join(fields))
    except CroniterBadCronError:
        return False
    return True


def _has_a_day(fields: list[str]) -> bool:
    from croniter import CroniterBadDateError, croniter

    try:
        croniter(" ".join(fields), _BEFORE_ALL).get_next()
    except CroniterBadDateError:
        return False
    return True
