"""Within a command a table's files are read once; what others commit meanwhile is seen all the same."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import FromInputFile

from exp_platform.config.environment import Environment
from exp_platform.report.content import load_report
from exp_platform.results.reader import Results
from exp_platform.tables import scans
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.damage import DamagedTableError
from exp_platform.tables.read_once import read_once
from exp_platform.tables.write import replace_rows
from stages.frozen_runs import D3, a_run, carry_out

NAME = "did_results"


@pytest.fixture
def catalog(environment: Environment) -> Catalog:
    return open_catalog(environment)


@pytest.fixture
def unfolded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The metadata files that are read from now on."""
    found: list[str] = []
    read = FromInputFile.table_metadata

    def reading(file: Any) -> Any:
        found.append(file.location)
        return read(file)

    monkeypatch.setattr(FromInputFile, "table_metadata", staticmethod(reading))
    return found


def add(catalog: Catalog, run_id: str) -> int:
    rows = [{"as_of_date": date(2026, 3, 1), "metric_id": "m", "status": "OK"}]
    return replace_rows(catalog, NAME, {"experiment_id": "e", "run_id": run_id}, rows, run_id)


def runs(catalog: Catalog) -> list[str]:
    return sorted(row["run_id"] for row in table(catalog, NAME).scan().to_arrow().to_pylist())


def test_metadata_are_read_once_in_a_command_and_each_time_beside_one(
    catalog: Catalog, unfolded: list[str]
) -> None:
    with read_once():
        for number in range(3):
            add(catalog, f"r{number}")
            assert runs(catalog) == [f"r{i}" for i in range(number + 1)]
    assert len(unfolded) == 1
    runs(catalog)
    runs(catalog)
    assert len(unfolded) == 3


def test_what_is_remembered_of_a_commit_is_what_its_file_holds(catalog: Catalog) -> None:
    with read_once():
        add(catalog, "r1")
        first = table(catalog, NAME)
        before = first.metadata.model_dump_json()
        add(catalog, "r2")
        remembered = table(catalog, NAME)
        assert first.metadata.model_dump_json() == before
    read = table(catalog, NAME)
    assert (remembered.metadata_location, remembered.metadata) == (read.metadata_location, read.metadata)
    assert remembered.name() == read.name()
    assert type(remembered.io) is type(read.io)


def test_another_process_commits_and_is_seen_and_built_upon(catalog: Catalog) -> None:
    with read_once():
        add(catalog, "r1")
        with read_once():  # a command that knows nothing of this one
            add(catalog, "r2")
        assert runs(catalog) == ["r1", "r2"]
        with read_once():
            add(catalog, "r3")
        add(catalog, "r4")
        assert runs(catalog) == ["r1", "r2", "r3", "r4"]


def test_a_report_is_read_once_and_anew_once_it_was_superseded(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = scans._columns_of
    opened: list[str] = []

    def reading(files: Any, path: str, *of: Any, **more: Any) -> Any:
        opened.append(path)
        return read(files, path, *of, **more)

    carry_out(a_run(environment, "r1", (D3,)))
    monkeypatch.setattr(scans, "_columns_of", reading)
    experiment = a_run(environment, "r1", (D3,)).experiment
    with read_once():
        first = load_report(Results(environment), experiment)
        n = len(opened)
        assert n > 3
        assert load_report(Results(environment), experiment) == first
        assert len(opened) == n
        with read_once():
            carry_out(a_run(environment, "r2", (D3,)))
        second = load_report(Results(environment), experiment)
    assert (first.stored.run_id, second.stored.run_id) == ("r1", "r2")
    assert load_report(Results(environment), experiment) == second


def test_after_a_command_a_lost_file_is_told(catalog: Catalog) -> None:
    with read_once():
        add(catalog, "r1")
        Path(table(catalog, NAME).metadata_location.removeprefix("file://")).unlink()
        assert table(catalog, NAME).current_snapshot() is not None
    with pytest.raises(DamagedTableError, match="metadata file"):
        table(catalog, NAME)
