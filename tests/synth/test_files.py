"""Raw files: the same for any number of threads, and swapped in whole."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyarrow.fs import FileSystem, LocalFileSystem, SubTreeFileSystem

from exp_platform.errors import ConfigError
from exp_platform.synth import files, rows
from exp_platform.synth.files import write_raw
from synth.synthetic import synthetic


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.parquet"))
    }


def test_files_do_not_depend_on_the_number_of_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "CHUNK", 200)
    experiment = synthetic(1000, late_share=0.1)
    for threads in (1, 4):
        write_raw(experiment, LocalFileSystem(), str(tmp_path / str(threads)), threads)
    one = digests(tmp_path / "1")
    assert one == digests(tmp_path / "4")
    assert sorted(one) == sorted(
        [f"{table}/part-{chunk:05d}.parquet" for table in ("exposures", "outcomes") for chunk in range(5)]
        + [f"outcomes/part-late-{chunk:05d}.parquet" for chunk in range(5)]
    )


class NotLocal(SubTreeFileSystem):
    """A file system of which the writer does not know that it can rename folders."""


@pytest.mark.parametrize("remote", [False, True])
def test_a_second_write_replaces_all_of_the_first(tmp_path: Path, remote: bool) -> None:
    place: FileSystem = NotLocal(str(tmp_path), LocalFileSystem()) if remote else LocalFileSystem()
    folder = "raw/exp" if remote else str(tmp_path / "raw/exp")
    write_raw(synthetic(500, late_share=0.2), place, folder)
    written = write_raw(synthetic(300), place, folder)

    assert sorted(digests(tmp_path / "raw/exp")) == [
        "exposures/part-00000.parquet",
        "outcomes/part-00000.parquet",
    ]
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["exp"]
    exposures = pq.read_table(tmp_path / "raw/exp/exposures")
    outcomes = pq.read_table(tmp_path / "raw/exp/outcomes")
    assert (written.exposures, written.outcomes) == (len(exposures), len(outcomes))


def test_a_failed_write_leaves_the_old_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_raw(synthetic(300), LocalFileSystem(), str(tmp_path / "exp"))
    before = digests(tmp_path / "exp")

    def fails(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(files, "_write", fails)
    with pytest.raises(OSError, match="disk full"):
        write_raw(synthetic(400), LocalFileSystem(), str(tmp_path / "exp"))
    assert digests(tmp_path / "exp") == before
    assert [path.name for path in tmp_path.iterdir()] == ["exp"]


def test_only_a_synthetic_source_is_generated(tmp_path: Path) -> None:
    from kernels.cases import events_experiment

    with pytest.raises(ConfigError, match="only synthetic data"):
        write_raw(events_experiment(), LocalFileSystem(), str(tmp_path / "exp"))
    assert list(tmp_path.iterdir()) == []


def test_a_later_day_only_adds_rows_and_the_last_writes_what_was_always_written(tmp_path: Path) -> None:
    experiment = synthetic(300, late_share=0.2)
    days = [datetime(2026, 1, day, tzinfo=UTC) for day in (5, 6, 12, 19)]
    seen: list[set[str]] = []
    for until in [*days, None]:
        write_raw(experiment, LocalFileSystem(), str(tmp_path / "exp"), until=until)
        tables = [pq.read_table(tmp_path / "exp" / name) for name in files.TABLES]
        seen.append({str(row) for table in tables for row in table.to_pylist()})
        assert until is None or all(
            row[column] < until
            for table, column in zip(tables, ("exposed_at", "occurred_at"), strict=True)
            for row in table.to_pylist()
        )
    assert all(before < after for before, after in pairwise(seen[:4]))
    assert seen[3] == seen[4]
