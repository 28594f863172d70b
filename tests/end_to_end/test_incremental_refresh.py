"""Nights of a source through whole runs: what is stored after an increment is what reading everything would have stored."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from end_to_end.arrivals import (
    CHANGES,
    HARMLESS,
    Arrivals,
    Night,
    ids_come_again_earlier,
    ids_come_again_later,
    of_events,
    of_units,
)
from end_to_end.both_ways import NO_QUANTILE, RAMP, SUMS, TOP, Both, spec, spec_of_units
from exp_platform.kernels import stored_days
from exp_platform.stages import rounds
from exp_platform.stages.bucket_rows import Reading


@dataclass(frozen=True)
class Told:
    """A history by event: what of it the spec says, and what may happen."""

    happenings: tuple[Any, ...]
    source: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    users: int = 60
    dated: bool = False


HISTORIES = {
    "by event id, with a frozen threshold": Told(
        (*HARMLESS, *CHANGES, ids_come_again_later, ids_come_again_earlier),
        changes={"segments": ["device", TOP], "metrics": SUMS},
        users=240,
    ),
    "by whole row, on a ramp": Told(
        (*HARMLESS, *CHANGES, ids_come_again_later),
        {"dedupe": "whole_row"},
        {"ramp": RAMP, "metrics": NO_QUANTILE},
    ),
    "dates, and nothing is a duplicate": Told(
        HARMLESS, {"dedupe": "none", "same_day": "after"}, {"metrics": SUMS}, dated=True
    ),
}
SEED = int(os.environ.get("EXP_SEED", "1"))


def follow(both: Both, nights: Iterator[Night]) -> int:
    """Run every night; how many of them added. Raises AssertionError where one did not do what it should."""
    increments = 0
    for night in nights:
        refresh = both.night(night)
        increments += not night.why
        assert refresh["kind"] == ("full" if night.why else "incremental"), (night, refresh)
        assert not night.why or any(why in refresh["why"] for why in night.why), (night, refresh)
    return increments


@pytest.mark.parametrize("name", HISTORIES)
def test_an_increment_stores_what_reading_everything_stores(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "bucket_count", lambda exposures, outcomes: 3)
    monkeypatch.setattr(stored_days, "SMALL", 20)  # rows of which a file may stand
    told, both = HISTORIES[name], Both(tmp_path)
    stood, brought_forward = [], Reading._brought_forward

    def counted(reading: Reading, *arguments: Any) -> Any:
        days, standing, new = brought_forward(reading, *arguments)
        stood.append(len(standing))
        return days, standing, new

    monkeypatch.setattr(Reading, "_brought_forward", counted)
    came = Arrivals(tmp_path / "raw", random.Random(SEED), told.users, told.dated)
    both.spec(spec(came.folder, told.source, **told.changes))
    nights = len(told.happenings) + 1  # after the first one each happening has one
    assert follow(both, of_events(came, told.happenings, nights)) >= 3
    assert bool(stood) == any(stood) == (told.changes["metrics"] is SUMS)


def test_a_table_of_users_that_grows_stores_what_reading_everything_stores(tmp_path: Path) -> None:
    both, came = Both(tmp_path), Arrivals(tmp_path / "raw", random.Random(SEED))
    both.spec(spec_of_units(came.folder))
    assert follow(both, of_units(came, 5)) == 3
