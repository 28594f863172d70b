"""A cron expression is refused before Airflow would choke on it."""

from __future__ import annotations

import pytest

from exp_platform.config.cron import PRESETS, cron_fault


@pytest.mark.parametrize(
    "expression",
    [
        *PRESETS,
        "0 5 * * *",
        "*/15 0-6,18 1,15 jan-jun MON-FRI",
        "59 23 31 12 7",
        "0 0 * * sun",
        "5/10 * * * *",
        "0 0 29 2 *",
        "0 0 31 */2 *",
        "0 0 31 2 mon",  # a Monday of February, or the 31st
        "0 0 28/2 feb *",
        "0 0 l * *",  # the last day of the month
        "0 0 * * sat#2",
        "0 6 * nov-feb fri-mon",  # ranges wrap
        "50-10 * * * *",
    ],
)
def test_accepts(expression: str) -> None:
    assert cron_fault(expression) is None


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("@once", "1 field instead of 5"),
        ("", "0 fields instead of 5"),
        ("0 5 * *", "4 fields instead of 5"),
        ("0 0 5 * * *", "6 fields instead of 5"),
        ("60 * * * *", "minute '60' is not within 0-59"),
        ("0 24 * * *", "hour '24' is not within 0-23"),
        ("0 0 0 * *", "day of month '0' is not within 1-31"),
        ("0 0 * 13 *", "month '13' is not within 1-12"),
        ("0 0 * mon *", "month 'mon' is not within 1-12"),
        ("0 0 * * 8", "day of week '8' is not within 0-7"),
        ("*/0 * * * *", "minute '*/0' is not within 0-59"),
        ("1,,2 * * * *", "minute '1,,2' is not within 0-59"),
        ("0 0 31 2 *", "no month of '2' has a day '31'"),
        ("0 0 30,31 feb *,*", "no month of 'feb' has a day '30,31'"),
        ("0 0 31 apr-jun/2 *", "no month of 'apr-jun/2' has a day '31'"),
        (",".join(["5"] * 72) + " * * * *", "151 characters instead of at most 150"),
        ("0 0 1 * sat#2", "no month of '*' has a day '1' that is 'sat#2' too"),
        ("r 5 * * *", "minute 'r' is not within 0-59"),  # drawn anew by each process that reads it
        ("h 5 * * *", "minute 'h' is not within 0-59"),
        ("٣ 5 * * *", "minute '٣' is not within 0-59"),
        ("often * * * *", "minute 'often' is not within 0-59"),
    ],
)
def test_refuses(expression: str, fault: str) -> None:
    assert cron_fault(expression) == fault
