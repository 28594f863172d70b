"""Data of the field through a whole run: ids of other types, ids that name nobody, times that stand for never.

The right numbers are counted here by pandas from the same files. Skipped where the data of the field are absent.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from end_to_end.installation import DATA, Installation
from exp_platform.pipelines.runner import Outcome, StageFailedError

FIELD = DATA / "field"
pytestmark = pytest.mark.skipif(not FIELD.is_dir(), reason=f"the field data are not in {FIELD}")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return Installation(tmp_path_factory.mktemp("field"))


class Case:
    """A spec of the field with its data, either of which may be changed before it is run."""

    def __init__(self, place: Installation, name: str, new_id: str | None = None) -> None:
        self.place, self.name = place, name
        written = (FIELD / name / f"{name}.yaml").read_text().replace("${FIELD_DIR}", str(FIELD))
        self.spec: dict[str, Any] = {**yaml.safe_load(written), "id": new_id or name}
        self.exposures = pq.read_table(FIELD / name / "exposures.parquet")
        outcomes = FIELD / name / "outcomes"
        files = (
            sorted(outcomes.glob("*.parquet")) if outcomes.is_dir() else [outcomes.with_suffix(".parquet")]
        )
        self.outcomes = pd.concat([pd.read_parquet(file) for file in files])

    def deliver(self, **tables: pa.Table | pd.DataFrame) -> None:
        """Put other tables in the place of the spec's: Arrow as Parquet, pandas as CSV."""
        for name, rows in tables.items():
            path = (
                self.place.folder
                / f"{self.spec['id']}-{name}.{'parquet' if isinstance(rows, pa.Table) else 'csv'}"
            )
            pq.write_table(rows, path) if isinstance(rows, pa.Table) else rows.to_csv(path, index=False)
            self.spec["source"][name] = {**self.spec["source"][name], "path": str(path)}

    def run(self) -> Outcome:
        return self.place.run(self.place.spec(**self.spec))

    def counted(self) -> dict[str, tuple[int, int]]:
        """By arm the users and how many of them bought at or after their exposure, by pandas."""
        exposed = with_numbers(self.exposures.to_pandas())
        both = with_numbers(self.outcomes).merge(exposed, on="user")
        buyers = set(both.user[both.occurred_at >= both.exposed_at])
        arms = exposed.groupby("variant_id").user
        return {arm: (len(users), sum(user in buyers for user in users)) for arm, users in arms}

    def stored(self, segment: str = "all", value: str = "all") -> dict[str, tuple[int, int]]:
        """The same as the results have it."""
        wanted = {"kind": "total", "metric_id": "conv", "segment": segment, "segment_value": value}
        rows = self.place.rows("metric_aggregates_overall", self.spec["id"])
        return {
            row["variant_id"]: (row["n"], row["successes"]) for row in rows if wanted.items() <= row.items()
        }


def with_numbers(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with a user, whose id is a whole number."""
    return rows.dropna(subset=["user_id"]).assign(user=lambda found: found.user_id.astype("int64"))


def refused(case: Case) -> str:
    """Why the run was refused."""
    with pytest.raises(StageFailedError) as failed:
        case.run()
    return str(failed.value)


def changed(rows: pa.Table, column: str, values: Any) -> pa.Table:
    return rows.set_column(rows.column_names.index(column), column, values)


@pytest.mark.parametrize("name", ["float_ids_partly", "float_ids"])
def test_orders_of_users_whose_id_is_a_float_in_one_file_are_not_lost(place: Installation, name: str) -> None:
    """20 late orders came as float64: 1.700000000069e+12 was another user, p .041 became .147 and all checks passed."""
    case = Case(place, name)
    case.run()
    assert case.stored() == case.counted()
    (row,) = [
        row
        for row in place.rows("analysis_results", name)
        if (row["metric_id"], row["method"], row["segment"]) == ("conv", "ab", "all")
    ]
    assert row["p_value"] == pytest.approx(0.041, abs=0.0005)


DECIMAL = pa.decimal128(38, 9)


@pytest.mark.parametrize("form", ["decimal", "csv of floats"])
def test_the_form_of_an_id_does_not_matter(place: Installation, form: str) -> None:
    """The same 20 late orders: as Spark's decimals, and as a CSV that pandas wrote of floats."""
    case = Case(place, "float_ids_partly", "ids_as_" + form.replace(" ", "_"))
    if form == "csv of floats":
        case.deliver(outcomes=case.outcomes.assign(user_id=case.outcomes.user_id.astype("float64")))
    else:
        ids = pa.array(case.outcomes.user_id.astype("int64")).cast(DECIMAL)
        rows = pa.Table.from_pandas(case.outcomes, preserve_index=False)
        case.deliver(outcomes=changed(rows, "user_id", ids))
    case.run()
    assert case.stored() == case.counted()


def test_floats_in_which_users_cannot_be_told_apart_are_refused(place: Installation) -> None:
    case = Case(place, "float_ids", "large_float_ids")
    ids = pc.add(case.exposures["user_id"], 2**60)
    case.deliver(exposures=changed(case.exposures, "user_id", ids.cast(pa.float64(), safe=False)))
    assert "column user_id (for user_id) holds the id 1" in (message := refused(case))
    assert "deliver ids as integers or text" in message


def test_missing_ids_and_attributes_are_no_user_and_no_segment_called_nan(place: Installation) -> None:
    """40 of 2,000 rows have no user, 400 no age: refused, and where allowed left out and `unknown`."""
    case = Case(place, "nan_ids")
    message = refused(case)
    assert "40 rows of exposures.user_id (2.00%) are null" in message
    assert "5 rows of outcomes.user_id" in message
    case.spec["quality"] = {"max_null_share": 0.05}
    case.run()
    assert case.stored() == case.counted()
    exposed = with_numbers(case.exposures.to_pandas())
    ages = {"unknown" if pd.isna(age) else f"{age:.0f}" for age in exposed.age}
    rows = place.rows("metric_aggregates_overall", "nan_ids")
    assert {row["segment_value"] for row in rows if row["segment"] == "age"} == ages
    unknown = exposed[exposed.age.isna()].groupby("variant_id").size().to_dict()
    assert {arm: n for arm, (n, _) in case.stored("age", "unknown").items()} == unknown


@pytest.mark.parametrize("word", ["undefined", "0", "00000000-0000-0000-0000-000000000000", " "])
def test_a_word_that_many_share_is_nobody(place: Installation, word: str) -> None:
    case = Case(place, "float_ids", "nobody_" + word.encode().hex()[:40])
    users = case.exposures["user_id"].to_pylist()
    ids = pa.array([word if i < 300 else str(user) for i, user in enumerate(users)])
    case.deliver(exposures=changed(case.exposures, "user_id", ids))
    message = refused(case)
    assert "300 rows of exposures.user_id (15.00%) are null" in message
    assert word.strip() in message


def test_one_user_with_an_absurd_share_of_the_rows_costs_trust(place: Installation) -> None:
    case = Case(place, "float_ids", "a_machine")
    rows = case.outcomes.assign(user_id=case.outcomes.user_id.astype("int64"))
    machine = rows[rows.user_id == rows.user_id.iloc[0]].iloc[:1]
    case.deliver(outcomes=pd.concat([rows, *[machine] * 400]))
    outcome = case.run()
    (told,) = [
        w
        for m in outcome.manifests
        if m.stage == "quality"
        for w in m.warnings
        if w.startswith("dominant_user")
    ]
    assert f"{machine.user_id.iloc[0]}' has 40" in told
    assert place.decision("a_machine")["action"] == "investigate"


def test_times_that_stand_for_never_are_malformed(place: Installation) -> None:
    """Year 1 ended in an OverflowError at publish."""
    case = Case(place, "sentinel_exposure")
    at = case.exposures["exposed_at"].to_pylist()
    bad = sum(not "1990" <= t <= "2200" for t in at)
    message = refused(case)
    assert f"{bad} rows of exposures.exposed_at" in message
    assert "'0001-01-01 00:00:00'" in message
    case.spec["quality"] = {"max_null_share": 0.05}
    case.run()
    arms = case.exposures.to_pandas()
    kept = (
        arms[(arms.exposed_at > "1990") & (arms.exposed_at < "2200")].groupby("variant_id").size().to_dict()
    )
    assert {arm: n for arm, (n, _) in case.stored().items()} == kept


@pytest.mark.parametrize("unit", ["s", "us"])
def test_sentinels_as_timestamps_are_malformed_too(place: Installation, unit: str) -> None:
    """1970, 1, 9999, and Spark's old INT96, in which 2600 would be read as 2015."""
    case = Case(place, "float_ids", f"sentinels_{unit}")
    at = case.exposures["exposed_at"].cast(pa.timestamp(unit)).combine_chunks().to_pylist()
    at[:4] = [datetime(year, 1, 1) for year in (1, 1970, 2600, 9999)]  # noqa: DTZ001
    rows = changed(case.exposures, "exposed_at", pa.array(at, pa.timestamp(unit)))
    case.deliver(exposures=rows)
    if unit == "us":
        pq.write_table(rows, case.spec["source"]["exposures"]["path"], use_deprecated_int96_timestamps=True)
    assert "4 rows of exposures.exposed_at (0.20%) cannot be read" in refused(case)
