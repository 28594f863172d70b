"""Is a cron expression one that Airflow's timetable takes? Five fields, or a preset."""

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
_ITEM = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>[1-9]\d*))?")


def cron_fault(expression: str) -> str | None:
    """What is wrong with a cron expression in one phrase; None where nothing is. Does not tell impossible dates."""
    if expression in PRESETS:
        return None
    fields = expression.split()
    if len(fields) != len(_FIELDS):
        return f"{len(fields)} field{'' if len(fields) == 1 else 's'} instead of 5"
    for text, (name, low, high, names) in zip(fields, _FIELDS, strict=True):
        if not all(_is_item(item.lower(), low, high, names) for item in text.split(",")):
            return f"{name} {text!r} is not within {low}-{high}"
    return None


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
