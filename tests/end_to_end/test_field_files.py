"""Files of the field through a whole run: table formats, headers, encodings, quotes, names; and odd state folders.

The right numbers are counted here by pandas from the same files. Skipped where the data of the field are absent.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from end_to_end.field import FIELD, NEEDED, spec_of
from end_to_end.installation import Installation, shipped
from exp_platform.pipelines.runner import StageFailedError

pytestmark = NEEDED


def refused(place: Installation, name: str) -> str:
    """Why the run was refused, before anything was published."""
    with pytest.raises(StageFailedError) as failed:
        place.run(spec_of(place, name))
    assert str(failed.value).startswith("ingest: ")
    assert place.rows("experiment_registry", name) == []
    said = str(failed.value)
    assert "\n" not in said
    assert "Traceback" not in said
    return said


def stored(place: Installation, experiment_id: str) -> dict[str, tuple[int, int, float]]:
    """By arm users, those who converted, and the mean of revenue, as the results have them."""
    rows = place.rows("metric_aggregates_overall", experiment_id)
    rows = [row for row in rows if (row["kind"], row["segment"]) == ("total", "all")]
    conv = {row["variant_id"]: row for row in rows if row["metric_id"] == "conv"}
    revenue = {row["variant_id"]: row for row in rows if row["metric_id"] == "revenue"}
    return {arm: (conv[arm]["n"], conv[arm]["successes"], revenue[arm]["mean"][0]) for arm in conv}


def counted(users: pd.DataFrame) -> dict[str, tuple[int, int, float]]:
    return {
        str(arm): (len(rows), int((rows.conv != 0).sum()), pytest.approx(rows.revenue.mean(), rel=1e-12))
        for arm, rows in users.groupby("arm")
    }


def test_a_delta_tables_deleted_rows_are_not_read(place: Installation) -> None:
    assert f"outcomes: {FIELD}/delta/outcomes is a Delta table" in refused(place, "delta")


def test_a_column_that_stands_twice_is_not_guessed(place: Installation) -> None:
    assert "units.csv has 2 columns revenue (for outcome.revenue)" in refused(place, "dup_header")


def test_an_encoding_is_told_and_once_declared_every_user_counts(place: Installation) -> None:
    assert "units.csv cannot be read: it is written in UTF-16: say `encoding: utf-16`" in refused(
        place, "utf16"
    )
    place.run(spec_of(place, "utf16", encoding="utf-16"))
    assert stored(place, "utf16") == counted(pd.read_csv(FIELD / "utf16" / "units.csv", encoding="utf-16"))


def test_a_folder_with_brackets_in_its_name_is_read(place: Installation) -> None:
    place.run(spec_of(place, "odd_glob"))
    (path,) = (FIELD / "odd_glob").glob("data*/units.csv")
    assert stored(place, "odd_glob") == counted(pd.read_csv(path))


def test_sparks_backslashes_in_an_unread_column_refuse_no_row(place: Installation) -> None:
    place.run(spec_of(place, "spark_json"))
    users = pd.read_csv(FIELD / "spark_json" / "units.csv", escapechar="\\", doublequote=False)
    assert stored(place, "spark_json") == counted(users)


def test_a_tag_over_airflows_limit_is_a_fault_of_the_spec(place: Installation) -> None:
    from exp_platform.cli import main

    (copy := place.configs / "experiments" / "longtag.yaml").write_text(
        (FIELD / "longtag" / "longtag.yaml").read_text()
    )
    try:
        said = place.call(main, "validate")
    finally:
        copy.unlink()
    assert said.code == 1
    assert "tags[0]: found 'xxx" in said.out
    assert "allowed: at most 100 characters, found 101" in said.out


@pytest.mark.parametrize("name", ["100%20", "%2e%2e", "a b'c\"d[e];&=+", "ünï日本"])
def test_a_state_folder_of_any_name_holds_all_that_is_written(tmp_path: Path, name: str) -> None:
    """What libraries read as a URL writes elsewhere: `%2e%2e` was the folder above."""
    place = Installation(tmp_path / "here")
    place.state = tmp_path / "here" / "states" / name
    place.entries(tiny={**shipped("exp_checkout_button_001"), "days": 3, "n_users": 300})
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    place.run("tiny")
    written = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert written
    assert [path for path in written if not path.is_relative_to(place.state)] == []
    assert {path.relative_to(place.state).parts[0] for path in written} >= {
        "catalog.db",
        "memos",
        "warehouse",
    }
    assert place.decision("tiny")["action"]
    shutil.rmtree(place.state)
