"""What a run waits for follows from the spec: its marker, else the source's own files, and only what lies on S3."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from exp_platform.config import awaited as module
from exp_platform.config.awaited import Awaited
from exp_platform.config.experiment import Experiment, Variant, Window
from exp_platform.config.hashing import config_hash
from exp_platform.config.plans import Schedule
from exp_platform.config.source_rules import NOTHING_DECLARED, SourceRules
from exp_platform.config.sources import EventsSource, SyntheticSource, TableSource, UnitsSource


def table(location: str, kind: Any = "parquet") -> TableSource:
    return TableSource(kind, location, {})


def events(exposures: TableSource, outcomes: TableSource) -> EventsSource:
    return EventsSource(exposures, outcomes, {}, "none")


def experiment(source: Any, **schedule: Any) -> Experiment:
    return Experiment(
        id="x",
        owner="someone",
        hypothesis="Something happens.",
        variants=(Variant("a", 0.5), Variant("b", 0.5)),
        window=Window(date(2026, 1, 5), date(2026, 1, 18)),
        source=source,
        metrics=(),
        schedule=Schedule(**schedule),
        spec_file="configs/experiments/x.yaml",
    )


def awaited(spec: Experiment, rules: SourceRules = NOTHING_DECLARED) -> tuple[Awaited, ...]:
    return module.awaited(spec, rules)


LAKE = events(table("s3://lake/exposures/"), table("s3a://lake/outcomes/*.csv", "csv"))


def test_by_default_the_files_of_the_source_as_the_spec_names_them() -> None:
    assert awaited(experiment(LAKE)) == (
        Awaited("exposures", "s3://lake/exposures/", "parquet", "s3://lake/exposures/"),
        Awaited("outcomes", "s3a://lake/outcomes/*.csv", "csv", "s3a://lake/outcomes/*.csv"),
    )
    units = UnitsSource(table("s3://lake/units.parquet"), {}, (), (), {})
    assert awaited(experiment(units)) == (
        Awaited("units", "s3://lake/units.parquet", "parquet", "s3://lake/units.parquet"),
    )


def test_neither_local_files_nor_tables_nor_generated_data() -> None:
    half = events(table("lake.exposures", "iceberg"), table("s3://lake/outcomes"))
    assert awaited(experiment(half)) == (
        Awaited("outcomes", "s3://lake/outcomes", "parquet", "s3://lake/outcomes"),
    )
    for place in ("/data/exposures", "exposures", "s3/exposures", "https://lake/exposures", "file:///data"):
        assert awaited(experiment(events(table(place), table(place)))) == ()
    assert awaited(experiment(SyntheticSource(10, 1, 3, 0, 1.0, 0.1, (0.0,), (0.0,), 1.0, 1.0))) == ()


def test_a_marker_stands_for_the_files_whatever_the_source() -> None:
    marked = (Awaited("schedule.wait_for", "s3://lake/{as_of}/_SUCCESS", None, "s3://lake/{as_of}/_SUCCESS"),)
    wait_for = ("s3://lake/{as_of}/_SUCCESS",)
    assert awaited(experiment(LAKE, wait_for=wait_for)) == marked
    assert awaited(experiment(events(table("a", "iceberg"), table("/b")), wait_for=wait_for)) == marked
    assert awaited(experiment(LAKE, wait_for=())) == ()
    assert module.files_on_s3(experiment(LAKE, wait_for=()), NOTHING_DECLARED) == awaited(experiment(LAKE))


@pytest.mark.parametrize(
    ("lake", "found"),
    [("s3://lake", ["s3://lake/exposures"]), ("/data", []), (None, [])],
    ids=["on S3", "on this machine", "not set: ingest says so"],
)
def test_a_variable_decides_where_the_data_are(
    lake: str | None, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EXP_LAKE", raising=False)
    if lake:
        monkeypatch.setenv("EXP_LAKE", lake)
    source = UnitsSource(table("${EXP_LAKE}/exposures"), {}, (), (), {})
    assert [item.location for item in awaited(experiment(source))] == found
    marked = experiment(source, wait_for=("${EXP_LAKE}/exposures",))
    assert [item.location for item in awaited(marked)] == found


def test_the_day_stands_in_the_name_of_a_marker_and_nowhere_else() -> None:
    marker = Awaited(
        "schedule.wait_for", "s3://lake/{as_of}/day={as_of}", None, "s3://lake/{as_of}/day={as_of}"
    )
    assert marker.at(date(2026, 1, 5)) == replace(
        marker, location="s3://lake/2026-01-05/day=2026-01-05", written="s3://lake/2026-01-05/day=2026-01-05"
    )
    # A folder of that odd name: ingest reads it
    data = Awaited("exposures", "s3://lake/{as_of}", "parquet", "s3://lake/{as_of}")
    assert data.at(date(2026, 1, 5)) == data


def test_waiting_changes_no_number() -> None:
    waiting = experiment(LAKE, wait_for=("s3://lake/x",), wait_hours=1.0)
    assert config_hash(waiting) == config_hash(experiment(LAKE))
