"""Days of a source through ingest and publish: whatever comes is added where that gives what reading everything gives."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pytest
from pyiceberg.types import StringType

from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import DayWindow, Measure
from exp_platform.config.sources import EventsSource
from exp_platform.errors import DataError
from exp_platform.results.reader import Results
from exp_platform.stages import plan_files, rounds, workers
from exp_platform.tables import maintenance
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.files import BucketFiles, plan_buckets
from exp_platform.tables.maintenance import maintain
from exp_platform.tables.selection import selection
from exp_platform.tables.write import delete_rows
from stages.days import DAYS, deliver_day, of_day, require_as_if_read_at_once, run_once, stands
from stages.raw_data import (
    events_experiment,
    exposures,
    metric,
    outcomes,
    units,
    units_experiment,
    write_csv,
    write_parquet,
)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Buckets of few users."""
    monkeypatch.setattr(rounds, "BUCKET_USERS", 20)


@pytest.mark.usefixtures("few")
def test_days_are_added_one_after_another_in_buckets_of_users(
    environment: Environment, tmp_path: Path
) -> None:
    shop = events_experiment(tmp_path)
    deliver_day(tmp_path, 0)
    deliver_day(tmp_path, 1)
    assert run_once(environment, shop, "r0") == {"kind": "full", "why": "nothing was published before"}
    for day in range(2, DAYS):
        deliver_day(tmp_path, day)
        told = run_once(environment, shop, f"r{day}")
        stand = f"{2 * day} files of before stand"
        assert told == {"kind": "incremental", "why": f"2 new files, 120 rows; {stand}"}
        require_as_if_read_at_once(environment, shop, f"r{day}")


def test_only_what_is_new_is_opened_and_all_where_everything_is_read(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    shape = plan_files.parquet_shape
    monkeypatch.setattr(
        plan_files, "parquet_shape", lambda files, path: opened.append(Path(path).stem) or shape(files, path)
    )

    def opens(run_id: str) -> list[str]:
        opened.clear()
        run_once(environment, shop, run_id)
        return sorted(opened)

    shop = events_experiment(tmp_path)
    deliver_day(tmp_path, 0)
    assert opens("r0") == ["day-0"] * 2
    deliver_day(tmp_path, 1)
    assert opens("r1") == ["day-1"] * 2
    assert opens("r2") == []
    deliver_day(tmp_path, 1)  # again: another file as far as a listing tells
    assert opens("r3") == ["day-0"] * 2 + ["day-1"] * 4
    require_as_if_read_at_once(environment, shop, "r3")


def test_the_same_in_processes_of_our_own(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "FEW_ROWS", 0)
    shop = events_experiment(tmp_path)
    deliver_day(tmp_path, 0)
    run_once(environment, shop, "r0")
    deliver_day(tmp_path, 1)
    assert run_once(environment, shop, "r1")["kind"] == "incremental"
    require_as_if_read_at_once(environment, shop, "r1")


@pytest.mark.usefixtures("few")
def test_a_metric_on_staged_events_is_a_run_that_reads_nothing(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the source nor, where it looks for nothing that was not counted, a row of what is published."""
    shop = events_experiment(tmp_path)
    deliver_day(tmp_path, 0)
    run_once(environment, shop, "r0")
    views = metric("views", "mean", Measure("view", "count"), window=DayWindow(0, 30))
    more = replace(shop, metrics=(*shop.metrics, views))
    with monkeypatch.context() as patch:
        patch.setattr(BucketFiles, "read", lambda *_, **__: pytest.fail("read what is published"))
        told = run_once(environment, more, "r1")
    assert told == {"kind": "incremental", "why": "no new file; 2 files of before stand"}
    require_as_if_read_at_once(environment, more, "r1")
    worth = metric("worth", "mean", Measure("view", "sum"))
    other = replace(more, metrics=(*more.metrics, worth))  # whose event is looked for before exposure too
    assert run_once(environment, other, "r2") == told
    require_as_if_read_at_once(environment, other, "r2")
    deliver_day(tmp_path, 1)
    assert run_once(environment, other, "r3")["kind"] == "incremental"
    require_as_if_read_at_once(environment, other, "r3")


def touched(folder: Path) -> None:
    os.utime(folder / "outcomes" / "day-0.parquet", (0, 0))


def renamed(folder: Path) -> None:
    (folder / "outcomes" / "day-0.parquet").rename(folder / "outcomes" / "other.parquet")


def corrected(folder: Path) -> None:
    write_parquet(folder / "outcomes" / "day-0.parquet", of_day(outcomes(), 3))


def deleted(folder: Path) -> None:
    (folder / "exposures" / "day-0.parquet").unlink()


@pytest.mark.parametrize(
    ("happens", "why"),
    [(touched, "changed"), (renamed, "is gone"), (corrected, "changed"), (deleted, "is gone")],
)
def test_what_happens_to_a_file_that_was_read_makes_the_refresh_full(
    environment: Environment, tmp_path: Path, happens: Callable[[Path], None], why: str
) -> None:
    shop = events_experiment(tmp_path)
    deliver_day(tmp_path, 0)
    deliver_day(tmp_path, 1)
    run_once(environment, shop, "r0")
    happens(tmp_path)
    told = run_once(environment, shop, "r1")
    assert told["kind"] == "full"
    assert told["why"].endswith(f"day-0.parquet {why}")
    require_as_if_read_at_once(environment, shop, "r1")
    assert run_once(environment, shop, "r2")["kind"] == "incremental"


def test_a_day_that_comes_twice_under_two_names_and_an_empty_file_count_as_when_read_at_once(
    environment: Environment, tmp_path: Path
) -> None:
    shop = events_experiment(tmp_path)
    deliver_day(tmp_path, 0)
    run_once(environment, shop, "r0")
    deliver_day(tmp_path, 0, "day-0-again")
    write_parquet(tmp_path / "outcomes" / "empty.parquet", {name: [] for name in outcomes()})
    told = run_once(environment, shop, "r1")
    assert told["kind"] == "incremental"
    require_as_if_read_at_once(environment, shop, "r1")


def test_a_broken_new_file_is_refused_and_once_it_is_mended_it_is_added(
    environment: Environment, tmp_path: Path
) -> None:
    shop = events_experiment(tmp_path)
    deliver_day(tmp_path, 0)
    run_once(environment, shop, "r0")
    before = Results(environment).experiments()
    deliver_day(tmp_path, 1)
    broken = tmp_path / "outcomes" / "day-1.parquet"
    content = broken.read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"day-1\.parquet"):
        run_once(environment, shop, "r1")
    assert Results(environment).experiments() == before
    broken.write_bytes(content)
    assert run_once(environment, shop, "r2")["kind"] == "incremental"
    require_as_if_read_at_once(environment, shop, "r2")


@pytest.mark.parametrize("news", [True, False])
@pytest.mark.parametrize("dedupe", ["event_id", "none"])
@pytest.mark.parametrize("name", ["exposures", "outcomes", "outcomes_seen", "ingested_files"])
def test_a_published_file_that_is_gone_makes_the_refresh_full(
    environment: Environment, tmp_path: Path, name: str, dedupe: Literal["event_id", "none"], news: bool
) -> None:
    shop = events_experiment(tmp_path)
    assert isinstance(shop.source, EventsSource)
    shop = replace(shop, source=replace(shop.source, dedupe=dedupe))
    deliver_day(tmp_path, 0)
    run_once(environment, shop, "r0")
    (lost,) = table(open_catalog(environment), name).scan().plan_files()
    Path(lost.file.file_path.removeprefix("file://")).unlink()
    if news:
        deliver_day(tmp_path, 1)
    assert run_once(environment, shop, "r1") == {"kind": "full", "why": "a published file is damaged"}
    require_as_if_read_at_once(environment, shop, "r1")


def test_a_row_that_would_displace_a_published_one_makes_the_same_run_read_everything(
    environment: Environment, tmp_path: Path
) -> None:
    shop = events_experiment(tmp_path)
    deliver_day(tmp_path, 0)
    run_once(environment, shop, "r0")
    earlier = of_day(outcomes(), 0)
    earlier["at"] = [at.replace(hour=0) for at in earlier["at"]]
    write_parquet(tmp_path / "outcomes" / "day-1.parquet", earlier)
    told = run_once(environment, shop, "r1")
    assert told["kind"] == "full"
    assert "earlier" in told["why"]
    require_as_if_read_at_once(environment, shop, "r1")


def test_it_is_full_where_it_is_asked_for_and_where_rows_went(
    environment: Environment, tmp_path: Path
) -> None:
    shop = events_experiment(tmp_path)
    deliver_day(tmp_path, 0)
    run_once(environment, shop, "r0")
    told = run_once(environment, shop, "r1", full=True)
    assert told == {"kind": "full", "why": "it was asked for"}
    assert run_once(environment, shop, "r2")["kind"] == "incremental"
    catalog = open_catalog(environment)
    delete_rows(catalog, "experiment_registry", selection({"experiment_id": shop.id}), "delete")
    assert run_once(environment, shop, "r3")["why"] == "nothing was published before"


def test_a_table_of_users_grows_by_files(environment: Environment, tmp_path: Path) -> None:
    rows = units() | {"uid": [f"u{i}" for i in range(len(units()["arm"]))]}
    mailing = units_experiment(tmp_path / "units", columns={"user_id": "uid"})
    for day in range(2):
        write_csv(tmp_path / "units" / f"{day}.csv", of_day(rows, day))
        told = run_once(environment, mailing, f"r{day}")
    assert told == {"kind": "incremental", "why": "1 new file, 30 rows; 1 file of before stands"}
    require_as_if_read_at_once(environment, mailing, "r1")


def test_what_lies_aside_is_staged_and_no_more_than_that(environment: Environment, tmp_path: Path) -> None:
    """Outcomes of users who are exposed later wait, and come to count with their exposure."""
    shop = events_experiment(tmp_path)
    write_parquet(tmp_path / "outcomes" / "all.parquet", outcomes())
    write_parquet(tmp_path / "exposures" / "day-0.parquet", of_day(exposures(), 0))
    run_once(environment, shop, "r0")
    lying = [rows_aside(environment)]
    for day in range(1, DAYS):
        write_parquet(tmp_path / "exposures" / f"day-{day}.parquet", of_day(exposures(), day))
        assert run_once(environment, shop, f"r{day}")["kind"] == "incremental"
        lying.append(rows_aside(environment))
    quarter = len(outcomes()["uid"]) // 4
    assert lying == [3 * quarter, 3 * quarter, quarter, 0]  # written anew once most of them count
    require_as_if_read_at_once(environment, shop, "r3")


def rows_aside(place: Environment) -> int:
    """How many outcomes wait, or lie beside those that wait, of all experiments."""
    return len(table(open_catalog(place), "outcomes_aside").scan().to_arrow())


def test_maintenance_makes_few_files_of_many_and_the_next_run_is_an_increment_all_the_same(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "MAX_FILES", 2)
    shop = events_experiment(tmp_path)
    for day in range(3):
        deliver_day(tmp_path, day)
        run_once(environment, shop, f"r{day}")
    assert max(files_of_buckets(environment, shop)) == 3
    before = stands(environment, shop, "r2")
    assert maintain(environment).compacted > 0
    assert max(files_of_buckets(environment, shop)) == 1
    assert stands(environment, shop, "r2") == before
    deliver_day(tmp_path, 3)
    assert run_once(environment, shop, "r3")["kind"] == "incremental"
    require_as_if_read_at_once(environment, shop, "r3")


def files_of_buckets(place: Environment, experiment: Experiment) -> list[int]:
    """How many published files each bucket has."""
    row = Results(place).registered(experiment.id)
    assert row is not None
    plans = [
        plan_buckets(place, n, experiment.id, row[f"{n}_snapshot"], ["user_id"])
        for n in ("exposures", "outcomes")
    ]
    return [len(files.tasks) for plan in plans for files in plan.values()]


def test_an_iceberg_table_grows_by_its_data_files_and_rows_that_go_make_the_refresh_full(
    environment: Environment, tmp_path: Path
) -> None:
    shop = events_experiment(tmp_path)
    source = shop.source
    assert isinstance(source, EventsSource)
    named = {
        n: replace(getattr(source, n), format="iceberg", location=f"lake.{n}")
        for n in ("exposures", "outcomes")
    }
    shop = replace(shop, source=replace(source, **named))
    catalog = open_catalog(environment)
    catalog.create_namespace("lake")
    rows = {"exposures": exposures(), "outcomes": outcomes()}
    lake = {n: catalog.create_table(f"lake.{n}", pa.table(found).schema) for n, found in rows.items()}
    for day in range(2):
        for name, found in rows.items():
            lake[name].append(pa.table(of_day(found, day)))
        told = run_once(environment, shop, f"r{day}")
    assert told == {"kind": "incremental", "why": "2 new files, 120 rows; 2 files of before stand"}
    require_as_if_read_at_once(environment, shop, "r1")
    lake["outcomes"].delete("uid == 'user 5'")
    told = run_once(environment, shop, "r2")
    assert (told["kind"], told["why"].endswith("is gone")) == ("full", True)
    require_as_if_read_at_once(environment, shop, "r2")
    with lake["outcomes"].update_schema() as change:
        change.add_column("note", StringType())
    assert run_once(environment, shop, "r3")["kind"] == "incremental"
    require_as_if_read_at_once(environment, shop, "r3")
