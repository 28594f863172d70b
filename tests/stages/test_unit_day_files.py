"""Which files of a bucket's unit days stand from night to night, which are written anew, and which are not added to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from exp_platform.kernels import stored_days
from kernels.cases import Exposure, Outcome, local
from stages.nights import SPEC, Nights, check


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a row were many, of which one date is the newest."""
    monkeypatch.setattr(stored_days, "SMALL", 1)
    monkeypatch.setattr(stored_days, "RECENT_DAYS", 1)


def shopping(tmp_path: Path, days: Iterable[int]) -> Nights:
    """Two users of the first day, of whom one views something every night."""
    nights = Nights(tmp_path)
    both = [Exposure(user, "blue", local(SPEC, 0, 3)) for user in "uv"]
    for day in days:
        nights.arrive([] if nights.exposures else both, [Outcome("u", "view", local(SPEC, day, 4), 1.0)])
        nights.night()
    return nights


def dates(nights: Nights) -> list[list[int]]:
    """The different days of the experiment in each stored file."""
    of_files = [nights.rows_of(name)["local_date"].unique().to_pylist() for name in nights.stored]
    return [sorted((day - SPEC.window.start).days for day in found) for found in of_files]


@pytest.mark.usefixtures("cut")
def test_a_night_writes_a_file_of_its_days_and_leaves_the_others(tmp_path: Path) -> None:
    nights = shopping(tmp_path, [0, 1, 2])
    assert dates(nights) == [[0], [1], [2]]
    before = nights.stored
    nights.arrive([Exposure("w", "blue", local(SPEC, 3, 3))], [Outcome("v", "view", local(SPEC, 3, 4))])
    found = nights.night()
    assert nights.stored[:3] == before
    assert nights.rows_of(nights.stored[3]).select(["user_id", "event"]).to_pylist() == [
        {"user_id": "w", "event": "exposure"},
        {"user_id": "v", "event": "view"},
    ]
    check(nights, found, SPEC.window.end)


@pytest.mark.usefixtures("cut")
def test_a_file_whose_days_change_is_written_anew_and_cut_by_its_dates(tmp_path: Path) -> None:
    nights = shopping(tmp_path, [0, 1, 2, 3])
    first, second, third, fourth = nights.stored
    late = [Outcome("u", "view", local(SPEC, 2, 5), 2.0), Outcome("v", "view", local(SPEC, 4, 5))]
    nights.arrive([], late)
    found = nights.night()
    assert set(nights.stored) & {first, second, third, fourth} == {first, second, fourth}
    assert dates(nights) == [[0], [1], [3], [2], [4]]
    assert nights.rows_of(nights.stored[3])["value"].to_pylist() == [3.0]
    check(nights, found, SPEC.window.end)


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize(
    "now", [Exposure("u", "blue", local(SPEC, 0, 2)), Exposure("u", "control", local(SPEC, 0, 3))]
)
def test_of_who_is_somebody_else_now_no_row_stands(now: Exposure, tmp_path: Path) -> None:
    """An earlier first exposure, and one at the same instant to a variant that the experiment lists before."""
    nights = shopping(tmp_path, [0])
    nights.arrive([], [Outcome("v", "view", local(SPEC, 1, 4))])
    nights.night()
    nights.arrive([], [Outcome("u", "view", local(SPEC, 2, 4))])
    nights.night()
    _, of_v, _ = before = nights.stored
    nights.arrive([now], [])
    found = nights.night()
    assert {*before} & {*nights.stored} == {of_v}
    check(nights, found, SPEC.window.end)


@pytest.mark.usefixtures("cut")
def test_of_too_many_files_one_is_made(tmp_path: Path) -> None:
    nights = shopping(tmp_path, range(stored_days.FILES))
    assert dates(nights) == [[day] for day in range(8)]
    before = nights.stored
    nights.arrive([], [Outcome("u", "view", local(SPEC, 8, 4))])
    check(nights, nights.night(), SPEC.window.end)
    assert not {*before} & {*nights.stored}
    assert dates(nights) == [[*range(9)]]


@pytest.mark.usefixtures("cut")
def test_small_files_become_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nights = shopping(tmp_path, [0, 1])
    monkeypatch.setattr(stored_days, "SMALL", 100)
    nights.arrive([], [Outcome("u", "view", local(SPEC, 8, 4))])
    check(nights, nights.night(), SPEC.window.end)
    assert len(nights.stored) == 1


@pytest.mark.usefixtures("cut")
def test_files_that_change_nothing_are_told_of_by_the_newest_all_the_same(tmp_path: Path) -> None:
    """Unit days do not change, and of which files they are does."""
    nights = shopping(tmp_path, [0, 1])
    (first, second) = nights.stored
    nights.arrive([Exposure("u", "blue", local(SPEC, 1, 3))], [Outcome("u", "unread", local(SPEC, 1, 4))])
    check(nights, nights.night(), SPEC.window.end)
    assert nights.stored[0] == first
    assert second not in nights.stored
    nights.night()
    assert nights.read == []


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("how", ["damaged", "deleted", "no longer the table's"])
@pytest.mark.parametrize("number", range(3))
def test_without_one_of_its_files_stored_days_count_as_far_as_they_say(
    number: int, how: str, tmp_path: Path
) -> None:
    """Without the newest, which nothing names, the others are what they were before it; without another they are nothing."""
    nights = shopping(tmp_path, [0, 1, 2])
    name = nights.stored[number]
    if how == "damaged":
        Path(name).write_bytes(Path(name).read_bytes()[:-20])
    elif how == "deleted":
        Path(name).unlink()
    else:
        nights.stored = tuple(other for other in nights.stored if other != name)
    nights.arrive([], [Outcome("v", "view", local(SPEC, 3, 4))])
    check(nights, nights.night(), SPEC.window.end)
    nothing_lost = number == 2 and how == "no longer the table's"
    assert nights.read == (["o3", "o4"] if nothing_lost else ["o1", "o2", "o3", "o4"])


@pytest.mark.usefixtures("cut")
def test_a_table_as_it_was_before_is_added_to(tmp_path: Path) -> None:
    nights = shopping(tmp_path, [0, 1])
    before = nights.stored
    nights.arrive([], [Outcome("u", "view", local(SPEC, 1, 5), 1.0)])  # of which the second file is made anew
    nights.night()
    nights.stored = before
    check(nights, nights.night(), SPEC.window.end)
    assert nights.read == ["o3"]


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("what", ["compacted", "erased"])
def test_files_that_others_wrote_meanwhile_are_not_added_to(what: str, tmp_path: Path) -> None:
    """The rows that they are made of in one file instead of two, or a bucket's own without those of a user."""
    nights = shopping(tmp_path, [0, 1, 2])
    if what == "compacted":
        nights.outcomes = {"one": pa.concat_tables(nights.outcomes.values())}
    else:
        left = {name: rows.filter(pc.field("user_id") != "v") for name, rows in nights.exposures.items()}
        nights.exposures = {f"{name} without v": rows for name, rows in left.items()}
        nights.stored = (nights.writer.write(0, nights.rows().filter(pc.field("user_id") != "v")),)
    came = [*nights.outcomes]
    nights.arrive([], [Outcome("u", "view", local(SPEC, 3, 4))])
    check(nights, nights.night(), SPEC.window.end)
    assert nights.read == [*came, "o4"]
