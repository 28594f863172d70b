"""Whether new files may be added to what is published: by case, and that each reason is told in its own words."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from types import SimpleNamespace
from typing import Any

import pyarrow.fs as pafs
import pytest

from analyses.simulated import experiment, metric
from exp_platform.config.experiment import Experiment
from exp_platform.config.privacy import Key
from exp_platform.config.sources import EventsSource, Fact, TableSource, UnitsSource
from exp_platform.kernels.privacy import Privacy
from exp_platform.stages import refresh
from exp_platform.stages.pieces import FileState, IcebergPiece, JsonPiece, Piece
from exp_platform.stages.reading import Layout, Reading
from exp_platform.stages.refresh import Base, InputFile, Refresh, files_of, ingest_key, refresh_of

TABLE = TableSource("json", "/raw", {"user_id": "user_id"})
EVENTS = EventsSource(TABLE, TABLE, {}, "event_id")
UNITS = UnitsSource(TABLE, {}, ("orders",), (), {})
EXPERIMENT = replace(experiment(metric("orders")), source=EVENTS)
KEY = ingest_key(EXPERIMENT, Privacy())


def piece(path: str, size: int = 10, modified: int = 1, rows: int = 5, table: str = "outcomes") -> Piece:
    reading = Reading(table, TABLE, ())
    return JsonPiece(reading, Layout({}), path, rows, 0, pafs.LocalFileSystem(), FileState(size, modified))


def iceberg(path: str, deletes: tuple[str, ...] = (), column: int = 1) -> Piece:
    file = SimpleNamespace(file_path=path, file_size_in_bytes=10)
    task = SimpleNamespace(file=file, delete_files=[SimpleNamespace(file_path=d) for d in deletes])
    fields = [SimpleNamespace(field_id=column, name="user_id", field_type="string")]
    projection = SimpleNamespace(fields=fields)
    reading = Reading("outcomes", TABLE, ())
    return IcebergPiece(reading, Layout({}), "lake.events", 5, 0, task, None, None, projection, None, 7)


def base_of(*pieces: Piece, **other: Any) -> Base:
    given: dict[str, Any] = {"key": KEY, "files": files_of(pieces), **other}
    return Base("r1", {"exposures": 1}, 1, **given)


def decided(*pieces: Piece, base: Base | None = None, of: Experiment = EXPERIMENT, **asked: Any) -> Refresh:
    return refresh_of(of, pieces, base, asked.pop("key", KEY), **asked)


A, B, C = piece("/raw/a"), piece("/raw/b"), piece("/raw/c", rows=7)


def test_new_files_alone_are_read_whatever_their_names_and_however_many_pieces_they_have() -> None:
    between = [piece("/raw/aa"), piece("/raw/aa", rows=2), A, B]
    found = decided(*between, base=base_of(A, B))
    assert found.told(7) == {"kind": "incremental", "why": "1 new file, 7 rows; 2 files of before stand"}
    assert found.pieces == tuple(between[:2])
    assert [(file.path, file.rows) for file in found.files] == [("/raw/aa", 7)]


def test_a_run_without_new_files_reads_nothing() -> None:
    found = decided(A, base=base_of(A))
    assert (found.kind, found.pieces, found.files) == ("incremental", (), ())
    assert found.told(0)["why"] == "no new file; 1 file of before stands"


def test_a_file_of_another_table_is_another_file() -> None:
    found = decided(A, piece("/raw/a", table="exposures"), base=base_of(A))
    assert [file.table for file in found.files] == ["exposures"]


@pytest.mark.parametrize(
    ("now", "why"),
    [
        ([A, piece("/raw/b", size=11)], "/raw/b changed"),
        ([A, piece("/raw/b", modified=2)], "/raw/b changed"),
        ([A, C], "/raw/b is gone"),
        ([], "/raw/a is gone"),
    ],
)
def test_a_file_that_was_read_and_is_another_one_or_gone_makes_it_full(now: list[Piece], why: str) -> None:
    found = decided(*now, base=base_of(A, B))
    assert (found.kind, found.why, found.pieces, found.base) == ("full", why, tuple(now), None)


def test_a_renamed_file_is_one_that_is_gone() -> None:
    assert decided(A, C, base=base_of(A, B)).why == "/raw/b is gone"


@pytest.mark.parametrize(
    ("now", "kind"),
    [
        (iceberg("/lake/1"), "incremental"),
        (iceberg("/lake/1", deletes=("/lake/d",)), "full"),
        (iceberg("/lake/1", column=2), "full"),  # a column of that name was dropped and another one added
    ],
)
def test_a_data_file_is_another_one_where_rows_of_it_were_deleted_or_it_is_read_otherwise(
    now: Piece, kind: str
) -> None:
    assert decided(now, base=base_of(iceberg("/lake/1"))).kind == kind


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"asked": True}, "it was asked for"),
        ({"unfrozen": ["heavy"]}, "the threshold of heavy is frozen by all rows"),
        ({"buckets": 3}, "3 buckets are needed, and there are 1"),
        ({"base": None}, "nothing was published before"),
        ({"base": base_of(A, lost="the published snapshots are gone")}, "the published snapshots are gone"),
        ({"key": KEY | {"code": "other"}}, "another version of the platform wrote them"),
        ({"key": KEY | {"spec": "other"}}, "source, window, variants or segments of the spec were edited"),
        ({"key": KEY | {"forgotten": "other"}}, "other users are to be forgotten"),
    ],
)
def test_whatever_else_keeps_an_increment_from_being_exact_is_told(asked: dict[str, Any], why: str) -> None:
    found = decided(A, B, **{"base": base_of(A), **asked})
    assert (found.kind, found.why, found.base) == ("full", why, None)
    assert found.files == files_of([A, B])  # which the next run may add to


def test_up_to_twice_the_buckets_are_needed_before_users_are_dealt_out_anew() -> None:
    assert decided(A, B, base=base_of(A), buckets=2).kind == "incremental"


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (replace(EVENTS, outcomes=None, facts=(Fact("buy", TABLE),)), "rows of facts are read together"),
        (replace(EVENTS, key="exp"), "a log of many experiments is read as a whole"),
        (replace(EVENTS, identities=TABLE), "an identity map is read as a whole"),
        (
            replace(UNITS, table=replace(TABLE, columns={})),
            "its users are called by the numbers of their rows",
        ),
    ],
)
def test_what_is_read_in_two_rounds_or_by_its_order_is_read_as_a_whole(source: Any, why: str) -> None:
    found = decided(A, base=base_of(A), of=replace(EXPERIMENT, source=source))
    assert (found.kind, found.why) == ("full", why)


def test_a_table_of_users_is_added_to_by_files() -> None:
    assert decided(A, B, base=base_of(A), of=replace(EXPERIMENT, source=UNITS)).kind == "incremental"


def test_the_ingest_key_is_of_what_staged_rows_depend_on_and_of_no_metric(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more = replace(EXPERIMENT, metrics=(*EXPERIMENT.metrics, metric("other")), owner="somebody else")
    assert ingest_key(more, Privacy()) == KEY
    window = replace(EXPERIMENT.window, end=date(2030, 1, 1))
    further = replace(EXPERIMENT.analyses, pre_period_days=EXPERIMENT.analyses.pre_period_days + 5)
    key = Key(b"0" * 32)
    monkeypatch.setattr(refresh, "told_apart_by", lambda: "otherwise")
    other = ingest_key(EXPERIMENT, Privacy())
    monkeypatch.undo()
    for part, changed in {
        "libraries": other,
        "spec": ingest_key(replace(EXPERIMENT, window=window), Privacy()),
        "reach": ingest_key(replace(EXPERIMENT, analyses=further), Privacy()),
        "pseudonyms": ingest_key(EXPERIMENT, Privacy(pseudonyms=key)),
        "forgotten": ingest_key(EXPERIMENT, Privacy(None, key, frozenset({"somebody"}))),
    }.items():
        assert {name for name in KEY if changed[name] != KEY[name]} == {part}


def test_a_file_is_stored_as_a_row_and_comes_back() -> None:
    file = InputFile("outcomes", "/raw/a", 10, "1", 5)
    assert InputFile.of_row({**file.to_row(), "experiment_id": "exp_a", "run_id": "r1"}) == file
