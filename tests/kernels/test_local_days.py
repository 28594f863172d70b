"""Local dates are those that the zone's own rules give, on days of 23, 24 and 25 hours and where a day is skipped."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest

from exp_platform.config.experiment import Window
from exp_platform.kernels.local_days import DAY, LocalDays, date_number, date_of, instant, instants

START, END = date(2011, 10, 1), date(2012, 5, 1)  # both changes of clocks, and Samoa's lost 30 December


@pytest.fixture(params=["UTC", "Asia/Tokyo"])
def process_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    assert os.environ.get("TZ") != "Asia/Tokyo"
    time.tzset()


@pytest.mark.parametrize(
    "zone",
    ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Pacific/Apia", "Asia/Kathmandu", "Australia/Lord_Howe"],
)
def test_dates_are_those_of_zoneinfo(zone: str, process_zone: str) -> None:
    window = Window(START, END, zone)
    moments = [window.starts_at() + timedelta(minutes=53 * i, microseconds=i % 3 - 1) for i in range(5_700)]
    moments = [m.astimezone(UTC) for m in moments]
    moments += [
        midnight + timedelta(microseconds=step)
        for day in range(200)
        for midnight in [window.cutoff(START + timedelta(days=day)).astimezone(UTC)]
        for step in (-1, 0, 1)
    ]
    at = instants(pa.chunked_array([pa.array(moments, pa.timestamp("us", "UTC"))]))
    days = LocalDays.covering(window, int(at.min()), END)
    expected = [date_number(m.astimezone(ZoneInfo(zone)).date()) for m in moments]
    np.testing.assert_array_equal(days.dates(at), expected)


def test_an_as_of_date_ends_where_the_next_local_date_begins() -> None:
    window = Window(date(2025, 3, 29), date(2025, 3, 31), "Europe/Berlin")
    # Summer time since 1:00 UTC
    assert window.cutoff(date(2025, 3, 30)) == datetime(2025, 3, 30, 22, tzinfo=UTC)
    cutoff = instant(window.cutoff(date(2025, 3, 30)))
    assert cutoff - instant(window.cutoff(date(2025, 3, 29))) == 23 * DAY // 24
    days = LocalDays.covering(window, instant(window.starts_at()), window.end)
    dates = [date_of(d) for d in days.dates(np.array([cutoff - 1, cutoff]))]
    assert dates == [date(2025, 3, 30), date(2025, 3, 31)]
