"""Data of the field through a whole run: ids of other types, ids that name nobody, times that stand for never.

The right numbers are counted here by pandas from the same files. Skipped where the data of the field are absent.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from end_to_end.field import FIELD, NEEDED, written
from end_to_end.installation import Installation
from exp_platform.pipelines.runner import Outcome, StageFailedError
from exp_platform.tables.catalog import open_catalog

pytestmark = NEEDED


class Case:
    """A spec of the field with its data, either of which may be changed before it is run."""

    def __init__(self, place: Installation, name: str, new_id: str | None = None) -> None:
        self.place, self.name = place, name
        self.spec: dict[str, Any] = {**written(name), "id": new_id or name}
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


def results(place: Installation, experiment_id: str) -> dict[tuple[str, ...], tuple[Any, ...]]:
    """Users, buyers and mean by metric, arm and segment, as the results have them."""
    keys = ("metric_id", "variant_id", "segment", "segment_value")
    return {
        tuple(row[key] for key in keys): (row["n"], row["successes"], *row["mean"])
        for row in place.rows("metric_aggregates_overall", experiment_id)
        if row["kind"] == "total"
    }


@dataclass(frozen=True)
class Plain:
    spec: dict[str, Any]
    exposures: pa.Table
    outcomes: pd.DataFrame
    results: dict[tuple[str, ...], Any]

    def case(self, place: Installation, new_id: str) -> Case:
        case = Case(place, "float_ids", new_id)
        case.spec = {**self.spec, "id": new_id, "source": dict(self.spec["source"])}
        return case


@pytest.fixture(scope="module")
def plain(place: Installation) -> Plain:
    """The data of `float_ids` with ids that are integers, text for all else, an event id and an attribute."""
    case = Case(place, "float_ids", "plain_ids")
    case.spec["segments"] = ["plan"]
    users = case.exposures["user_id"].to_pylist()
    exposures = case.exposures.append_column(
        "plan", pa.array([None if user % 7 == 0 else str(user % 3) for user in users])
    )
    outcomes = case.outcomes.assign(user_id=case.outcomes.user_id.astype("int64"))
    outcomes["event_id"] = range(10**12, 10**12 + len(outcomes))
    case.exposures, case.outcomes = exposures, outcomes
    case.deliver(exposures=exposures, outcomes=pa.Table.from_pandas(outcomes, preserve_index=False))
    case.run()
    assert case.stored() == case.counted()
    found = results(place, "plain_ids")
    assert {key[-1] for key in found} == {"all", "0", "1", "2", "unknown"}
    expected = {key: pytest.approx(values, rel=1e-12) for key, values in found.items()}
    return Plain(case.spec, exposures, outcomes, expected)


def typed(rows: pd.DataFrame, **columns: pa.Array) -> pa.Table:
    table = pa.Table.from_pandas(rows, preserve_index=False)
    for name, values in columns.items():
        table = changed(table, name, values)
    return table


def uuid_of(user: int) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, str(user))


def uuid_array(users: list[int]) -> pa.Array:
    return pa.ExtensionArray.from_storage(
        pa.uuid(), pa.array([uuid_of(u).bytes for u in users], pa.binary(16))
    )


AS_IDS: dict[str, Callable[[list[int]], Any]] = {
    "decimal": lambda users: pa.array(users).cast(pa.decimal128(38, 9)),
    "text": lambda users: pa.array([f" {user}  " for user in users]).cast(pa.large_string()),
    "dictionary": lambda users: pa.array([str(user) for user in users]).dictionary_encode(),
    "float": lambda users: pa.array([float(user) for user in users]),
    "bytes": lambda users: pa.array([str(user).encode() for user in users], pa.binary()),
    "uuid": uuid_array,
    "16 bytes": lambda users: uuid_array(users).storage,
    "uuid in capitals": lambda users: pa.array([str(uuid_of(user)).upper() for user in users]),
}


@pytest.mark.parametrize(
    ("exposed", "bought"),
    [("decimal", "text"), ("dictionary", "float"), ("uuid", "16 bytes"), ("uuid in capitals", "uuid")],
)
def test_the_type_of_an_id_does_not_matter(
    place: Installation, plain: Plain, exposed: str, bought: str
) -> None:
    """What integers gave once, whichever type either table has."""
    case = plain.case(place, f"ids_{exposed}_{bought}".replace(" ", "_"))
    users = plain.exposures["user_id"].to_pylist()
    case.deliver(
        exposures=changed(plain.exposures, "user_id", AS_IDS[exposed](users)),
        outcomes=typed(plain.outcomes, user_id=AS_IDS[bought](plain.outcomes.user_id.tolist())),
    )
    case.run()
    assert results(place, case.spec["id"]) == plain.results


def test_a_csv_that_pandas_wrote_of_floats_has_the_same_ids(place: Installation, plain: Plain) -> None:
    case = plain.case(place, "ids_in_csv")
    floats = plain.outcomes.assign(user_id=plain.outcomes.user_id.astype("float64"))
    case.deliver(exposures=plain.exposures.to_pandas(), outcomes=floats)
    assert ".0," in Path(case.spec["source"]["outcomes"]["path"]).read_text()
    case.run()
    assert results(place, case.spec["id"]) == plain.results


def test_files_of_one_table_may_differ_in_type_and_repeat_each_others_events(
    place: Installation, plain: Plain
) -> None:
    """Five files, each of another type, event ids too; 30 events of the first stand in the second again."""
    case = plain.case(place, "ids_by_file")
    folder = place.folder / "by file"
    folder.mkdir()
    size = -(-len(plain.outcomes) // 5)
    kinds = ("float", "decimal", "text", "dictionary", "bytes")
    for number, kind in enumerate(kinds):
        rows = plain.outcomes.iloc[number * size : (number + 1) * size]
        if number == 1:
            rows = pd.concat([plain.outcomes.iloc[:30], rows])
        ids = {name: AS_IDS[kind](rows[name].tolist()) for name in ("user_id", "event_id")}
        pq.write_table(typed(rows, **ids), folder / f"{number}.parquet")
    columns = {**case.spec["source"]["outcomes"]["columns"], "event_id": "event_id"}
    case.spec["source"] |= {"outcomes": {"path": str(folder), "columns": columns}, "dedupe": "event_id"}
    case.spec["quality"] = {"max_duplicate_share": 0.2}
    case.run()
    assert results(place, case.spec["id"]) == plain.results


def test_variants_events_and_attributes_have_one_text_too(place: Installation, plain: Plain) -> None:
    """Parquet's dictionaries, bytes and floats, and an Iceberg table, against text and integers."""
    case = plain.case(place, "all_of_other_types")
    plans = [None if plan is None else float(plan) for plan in plain.exposures["plan"].to_pylist()]
    arms = pa.array([arm.encode() for arm in plain.exposures["variant_id"].to_pylist()], pa.binary())
    exposures = changed(plain.exposures, "plan", pa.array([float("nan") if p is None else p for p in plans]))
    case.deliver(exposures=changed(exposures, "variant_id", arms))
    events = pa.array([f"{event} " for event in plain.outcomes.event])
    ids = AS_IDS["decimal"](plain.outcomes.user_id.tolist())
    at = typed(plain.outcomes)["occurred_at"].cast(pa.timestamp("us", "UTC"))
    rows = typed(plain.outcomes, user_id=ids, event=events, occurred_at=at)
    catalog = open_catalog(place.environment)
    catalog.create_namespace_if_not_exists("lake")
    catalog.create_table("lake.outcomes", rows.schema).append(rows)
    columns = case.spec["source"]["outcomes"]["columns"]
    case.spec["source"]["outcomes"] = {"table": "lake.outcomes", "columns": columns}
    case.run()
    assert results(place, case.spec["id"]) == plain.results


@pytest.mark.parametrize(
    ("column", "written"),
    [("value", "1_000"), ("value", "1,000"), ("occurred_at", "2026-03-05T10:00:00+25:00")],
)
def test_what_no_grammar_allows_is_refused_and_shown(
    place: Installation, plain: Plain, column: str, written: str
) -> None:
    """1_000 was 1000, and +25:00 an hour more than a day."""
    case = plain.case(place, "malformed")
    rows = plain.outcomes.astype({column: str})
    rows.loc[rows.index[:5], column] = written
    case.deliver(outcomes=rows)
    message = refused(case)
    assert f"5 rows of outcomes.{column}" in message
    assert f"cannot be read (such as '{written}')" in message


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
    assert "40 rows of exposures.user_id (2.00 %) are null" in message
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
    assert "300 rows of exposures.user_id (15.00 %) are null" in message
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
    assert "4 rows of exposures.exposed_at (0.20 %) cannot be read" in refused(case)


def test_one_huge_value_takes_its_metric_and_no_other(place: Installation) -> None:
    """A revenue of 1e200 has no finite variance; the run ended at its JSON."""
    spec = yaml.safe_load(
        (FIELD / "huge200" / "huge200.yaml").read_text().replace("${FIELD_DIR}", str(FIELD))
    )
    place.run(place.spec(**spec))
    rows = {
        row["metric_id"]: row for row in place.rows("analysis_results", "huge200") if row["method"] == "ab"
    }
    users = pd.read_csv(FIELD / "huge200" / "units.csv")
    largest = f"{users.revenue.max():.6g}"
    assert rows["revenue"]["status"] == "DEGENERATE"
    assert f"value (or covariate) is {largest}, too large" in rows["revenue"]["message"]
    means = users.groupby("arm").conv.mean()
    assert rows["conv"]["mean_control"] == pytest.approx(means["control"], rel=1e-12)
    assert rows["conv"]["mean_treatment"] == pytest.approx(means["treatment"], rel=1e-12)
    assert largest in (place.state / "memos" / "huge200" / "appendix.md").read_text()
