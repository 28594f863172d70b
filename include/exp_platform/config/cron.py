"""Is a cron expression one that Airflow's timetable takes? Five fields, or a preset.

One that no day fits must be refused too: Airflow asks it for the next run of all DAGs of a file in one go.
"""

from __future__ import annotations

import re

PRESETS = ("@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# name, lowest, highest, names that stand for lowest, lowest + 1, ...
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _WEEKDAYS),
)
_DAYS_OF_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_LONGEST = 150  # Airflow stores what it means in words, in at most 1,000 characters
_ITEM = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>[1-9]\d*))?")


def cron_fault(expression: str) -> str | None:
    """What is wrong with a cron expression in one phrase; None where nothing is."""
    if expression in PRESETS:
        return None
    if len(expression) > _LONGEST:
        return f"{len(expression)} characters instead of at most {_LONGEST}"
    fields = expression.split()
    if len(fields) != len(_FIELDS):
        return f"{len(fields)} field{'' if len(fields) == 1 else 's'} instead of 5"
    for text, (name, low, high, names) in zip(fields, _FIELDS, strict=True):
        if not all(_is_item(item.lower(), low, high, names) for item in text.split(",")):
            return f"{name} {text!r} is not within {low}-{high}"
    days, months, weekdays = fields[2:]
    # With a day of the week as well it is enough that one of both fits.
    if "*" in weekdays.split(",") and min(_numbers(days, 2)) > max(
        _DAYS_OF_MONTH[month - 1] for month in _numbers(months, 3)
    ):
        return f"no month of {months!r} has a day {days!r}"
    return None


def _numbers(text: str, position: int) -> set[int]:
    """The numbers that a field stands for; it is known to be right."""
    _, low, high, names = _FIELDS[position]
    found: set[int] = set()
    for item in text.lower().split(","):
        match = _ITEM.fullmatch(item)
        assert match is not None
        first = low if match["first"] is None else _number(match["first"], low, names)
        # `5` is 5 alone; `5/3` goes on to the end, and so does `*`.
        to_end = match["first"] is None or (match["last"] is None and match["step"] is not None)
        last = _number(match["last"], low, names) if match["last"] else high if to_end else first
        assert first is not None
        assert last is not None
        found |= set(range(first, last + 1, int(match["step"] or 1)))
    return found


def _is_item(item: str, low: int, high: int, names: tuple[str, ...]) -> bool:
    match = _ITEM.fullmatch(item)
    if match is None:
        return False
    ends = [_number(end, low, names) for end in (match["first"], match["last"]) if end is not None]
    return all(end is not None and low <= end <= high for end in ends) and ends == sorted(
        ends, key=lambda e: e or 0
    )


def _number(text: str, low: int, names: tuple[str, ...]) -> int | None:
    if text in names:
        return names.index(text) + low
    return int(text) if text.isdecimal() else None
