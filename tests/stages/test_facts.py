"""Facts that hold everybody's rows, through `ingest` and `quality`: who counts, what is told, and what is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from end_to_end.shared_lake import KEY, Lake, lake, spec, write
from exp_platform.config.environment import Environment, load_environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.privacy import Key
from exp_platform.config.spec import ExperimentSpec
from exp_platform.errors import DataError
from exp_platform.kernels.measured import Measured
from exp_platform.kernels.privacy import Privacy
from exp_platform.stages import ingest, quality, rounds, workers
from exp_platform.stages.fingerprint import input_fingerprint
from exp_platform.stages.quality import read_checks
from exp_platform.stages.run import Run
from exp_platform.stages.sources import plan_reading
from stages.raw_data import frozen


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXP_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield load_environment("embedded")


@pytest.fixture
def made() -> Lake:
    return lake(people=600, share=0.5)


def resolved(content: dict[str, Any]) -> Experiment:
    return ExperimentSpec.model_validate(content).resolve("specs/checkout.yaml")


def taken_in(place: Environment, made: Lake, folder: Path, **source: Any) -> tuple[Run, Measured]:
    """The lake is written, and its experiment staged by ingest; keys of the source may be other ones."""
    write(made, folder / "lake")
    content = spec(folder / "lake")
    content["source"] |= source
    run = frozen(place, resolved(content), folder.name)
    ingest.run(run)
    return run, Measured.from_json(json.loads((run.path / "ingest.json").read_text())["measured"])


def staged(run: Run, name: str = "outcomes") -> pd.DataFrame:
    paths = json.loads((run.path / "ingest.json").read_text())["staged"][name]
    tables = [pq.read_table(path.removeprefix("file://"), partitioning=None) for path in paths]
    return pa.concat_tables(tables).to_pandas() if tables else pd.DataFrame({"event": []})


def told(run: Run, check: str) -> str:
    """What a check says, `failed: ` before it where it failed."""
    with suppress(DataError):
        quality.run(run)
    (found,) = (one for one in read_checks(run.path / "quality.json") if one.check == check)
    return ("failed: " if found.status == "failed" else "") + found.message


def failed(run: Run) -> set[str]:
    told(run, "schema")
    return {one.check for one in read_checks(run.path / "quality.json") if one.status == "failed"}


def mine(made: Lake) -> set[str]:
    return set(made.exposures.uid[made.exposures.exp_key == KEY])


def series(rows: pd.DataFrame) -> dict[str, int]:
    return rows.groupby("event").size().to_dict()


def test_a_good_lake_passes_and_only_members_rows_are_staged(
    place: Environment, made: Lake, tmp_path: Path
) -> None:
    run, measured = taken_in(place, made, tmp_path)
    assert failed(run) == set()
    rows = staged(run)
    assert set(rows.user_id) <= mine(made)
    assert set(staged(run, "exposures").variant_id) == {"control", "v1"}
    orders = made.orders[made.orders.uid.isin(mine(made))].drop_duplicates("eid")
    shoes = orders[orders.category.isin(["shoes", "bags"]) & (orders.quantity >= 2)]
    counted = series(rows)
    assert (
        counted["orders"] == counted["orders.revenue"] < len(orders)
    )  # older and later ones are not reached
    assert 0 < counted["orders.revenue where category is bags or shoes and items is at least 2"] <= len(shoes)
    assert measured.rows_in["orders"] == len(made.orders)
    assert "of orders" in told(run, "unexposed_outcomes")


def test_other_peoples_faults_are_nobodys_business(place: Environment, made: Lake, tmp_path: Path) -> None:
    """Rows of others, and of nobody, may lack a time, a value and an id, and be spelled as they like."""
    strangers = ~made.orders.uid.isin(mine(made))
    made.orders["revenue"] = made.orders.revenue.astype(str).mask(strangers, "a lot")
    made.orders["ts"] = made.orders.ts.mask(strangers)
    nobody = made.orders[strangers].assign(uid=None)
    made = Lake(made.exposures, pd.concat([made.orders, nobody]), made.visits)
    run, measured = taken_in(place, made, tmp_path)
    assert failed(run) == set()
    assert measured.left_out["orders"]["without a required value"] == len(nobody)


def test_members_faults_are_shares_of_members_rows(place: Environment, made: Lake, tmp_path: Path) -> None:
    members = made.orders.uid.isin(mine(made))
    revenue = made.orders.revenue.astype(str)
    made.orders["revenue"] = revenue.mask(members & (made.orders.index % 2 == 0), "a lot")
    write(made, tmp_path / "lake")
    run = frozen(place, resolved(spec(tmp_path / "lake", quality={"max_null_share": 0.2})), tmp_path.name)
    ingest.run(run)
    measured = Measured.from_json(json.loads((run.path / "ingest.json").read_text())["measured"])
    assert measured.malformed["orders.revenue"] < 0.2 * measured.rows_in["orders"]
    message = told(run, "malformed")
    assert message.startswith("failed: ")
    assert "orders.revenue" in message
    assert "'a lot'" in message
    assert measured.malformed["orders.revenue"] > 0.1 * members.sum()


def test_a_row_that_is_delivered_twice_counts_once_in_each_series(
    place: Environment, made: Lake, tmp_path: Path
) -> None:
    twice = Lake(made.exposures, pd.concat([made.orders, made.orders]), made.visits)
    one, _ = taken_in(place, made, tmp_path / "one")
    two, measured = taken_in(place, twice, tmp_path / "two")
    assert series(staged(one)) == series(staged(two))
    assert measured.duplicates["outcomes"] > 0
    assert "duplicates" in failed(two)


def test_whole_rows_are_duplicates_where_all_that_the_fact_names_is_equal(
    place: Environment, made: Lake, tmp_path: Path
) -> None:
    """Two orders of one instant and value that differ in a column which no metric of theirs reads are two orders."""
    first = made.orders.drop_duplicates("eid")
    other = first.assign(quantity=first.quantity + 10)

    def staged_rows(orders: pd.DataFrame, folder: Path) -> int:
        write(Lake(made.exposures, orders, made.visits), folder / "lake")
        content = spec(folder / "lake")
        content["source"]["dedupe"] = "whole_row"
        content["metrics"] = [one for one in content["metrics"] if one["id"] == "revenue"]
        run = frozen(
            place, resolved(content | {"metrics": [content["metrics"][0] | {"role": "primary"}]}), folder.name
        )
        ingest.run(run)
        return series(staged(run))["orders.revenue"]

    assert staged_rows(pd.concat([first, first, other]), tmp_path / "two") == 2 * staged_rows(
        first, tmp_path / "one"
    )


def test_event_ids_of_two_facts_do_not_meet(place: Environment, made: Lake, tmp_path: Path) -> None:
    made.visits["eid"] = [f"o{i}" for i in range(len(made.visits))]
    write(made, tmp_path / "lake")
    content = spec(tmp_path / "lake")
    content["source"]["facts"]["visits"]["columns"]["event_id"] = "eid"
    run = frozen(place, resolved(content), tmp_path.name)
    ingest.run(run)
    one, _ = taken_in(place, made, tmp_path / "one")
    assert series(staged(run))["visits.visit"] == series(staged(one))["visits.visit"]


def test_a_key_that_no_row_has_is_told_with_those_there_are(
    place: Environment, made: Lake, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as refused:
        taken_in(place, made, tmp_path, key="checkout_v3")
    assert (
        "specs/checkout.yaml: source.key: no row of exposures has 'checkout_v3' in its column exp_key; there are "
        f"'checkout_v2' ({len(mine(made))} rows), 'search_ranking'"
    ) in str(refused.value)


def test_variants_that_no_row_has_are_told_with_the_values_there_are(
    place: Environment, made: Lake, tmp_path: Path
) -> None:
    made.exposures["arm"] = made.exposures.arm.replace("Variant 1", "variant-1")
    run, _ = taken_in(place, made, tmp_path)
    missing = told(run, "missing_arm")
    assert missing.startswith("failed: no users in v1 ('Variant 1' or 'Variant one'), ")
    assert "the column of variants also has 'variant-1' (" in missing
    assert "the spec has control ('Control'), v1 ('Variant 1' or 'Variant one')" in told(
        run, "unknown_variants"
    )


def test_a_fact_whose_rows_are_all_of_others_is_told(place: Environment, tmp_path: Path) -> None:
    made = lake(people=2000, share=0.5)
    for frame in (made.orders, made.visits):
        frame["uid"] = "x" + frame.uid
    run, _ = taken_in(place, made, tmp_path)
    message = told(run, "outcomes_found")
    assert message.startswith(f"failed: 0 of {len(mine(made)):,} exposed users")
    assert "seem to have different ids" in message
    assert len(staged(run)) == 0


def test_the_same_ids_spelled_otherwise_are_told(place: Environment, made: Lake, tmp_path: Path) -> None:
    for frame in (made.orders, made.visits):
        frame["uid"] = frame.uid.str.lower().str.replace("-", "")
    run, _ = taken_in(place, made, tmp_path)
    message = told(run, "outcomes_found")
    assert message.startswith("failed: ")
    assert "their id spelled otherwise has (such as 'p" in message


def test_a_fact_without_rows_is_refused_by_its_name(place: Environment, made: Lake, tmp_path: Path) -> None:
    empty = Lake(made.exposures, made.orders, made.visits.iloc[:0])
    run, _ = taken_in(place, empty, tmp_path)
    assert told(run, "empty").startswith("failed: no rows in visits: ")


@pytest.mark.parametrize(
    ("where", "fault"),
    [
        (
            {"category": {"min": 10}},
            "column category is string, and `where` compares category with numbers (category is at least 10): write the values "
            "in quotes, or read it as numbers: {path: category, as: number}",
        ),
        (
            {"items": ["1", "2"]},
            "column quantity is int64, and `where` compares items with texts (items is 1 or 2): write the values without "
            "quotes, or read it as text: {path: quantity, as: text}",
        ),
        ({"items": {"is": "missing"}}, None),
        ({"category": {"starts_with": "1"}}, None),
    ],
)
def test_a_filter_on_a_column_of_another_type_is_refused(
    where: dict[str, Any], fault: str | None, place: Environment, made: Lake, tmp_path: Path
) -> None:
    write(made, tmp_path / "lake")
    content = spec(tmp_path / "lake")
    content["metrics"].append({"id": "odd", "type": "count", "of": "orders", "where": where})
    if "items" in where:  # which is a value, and as such a number; as a dimension it is what the column is
        orders = content["source"]["facts"]["orders"]
        orders["values"], orders["dimensions"] = (
            {"revenue": "revenue"},
            {"category": "category", "items": "quantity"},
        )
    content["metrics"] = [one for one in content["metrics"] if one["id"] != "shoes"]
    found = [one.message for one in plan_reading(resolved(content), place).problems]
    assert all(fault and message.endswith(fault) for message in found)
    assert len(found) == (3 if fault else 0)  # a file each


def test_the_fingerprint_covers_every_fact(place: Environment, made: Lake, tmp_path: Path) -> None:
    write(made, tmp_path / "lake")
    experiment = resolved(spec(tmp_path / "lake"))
    before = input_fingerprint(experiment, place, generate_synth=False)
    made.visits.iloc[:5].to_parquet(tmp_path / "lake" / "visits" / "more.parquet", index=False)
    assert input_fingerprint(experiment, place, generate_synth=False) != before


# ---- ids of two spaces


def with_devices(folder: Path, made: Lake, people: int, **columns: Any) -> dict[str, Any]:
    """The source with an identity map: each user has two devices; orders are of accounts, visits of devices."""
    write(made, folder)
    users = [f"P-{i}" for i in range(people)]
    rows = {
        "device": [f"{u}/{n}" for u in users for n in (1, 2)],
        "account": [u for u in users for _ in (1, 2)],
    }
    rows = {name: [*values, *columns.get(name, [])] for name, values in rows.items()}
    (folder / "devices").mkdir()
    pq.write_table(pa.table(rows), folder / "devices" / "part.parquet")
    content = spec(folder)["source"]
    content["identities"] = {
        "path": str(folder / "devices"),
        "columns": {"user_id": "account", "other_id": "device"},
    }
    for table in (content["exposures"], content["facts"]["visits"]):
        columns_of = table["columns"]
        columns_of["other_id"] = columns_of.pop("user_id")
    return content


def on_devices(made: Lake) -> Lake:
    devices = made.visits.assign(uid=made.visits.uid + "/" + (made.visits.index % 2 + 1).astype(str))
    return Lake(made.exposures.assign(uid=made.exposures.uid + "/1"), made.orders, devices)


@pytest.mark.parametrize(("bucket_users", "where"), [(300_000, "here"), (100, "processes"), (100, "spark")])
def test_devices_are_users_by_the_identity_map(
    bucket_users: int,
    where: str,
    place: Environment,
    made: Lake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exposed on one device, a user's visits on the other count, and orders of his account."""
    plain, _ = taken_in(place, made, tmp_path / "plain")
    content = spec(tmp_path) | {"source": with_devices(tmp_path / "lake", on_devices(made), 600)}
    run = frozen(place, resolved(content), f"devices-{where}")
    monkeypatch.setattr(rounds, "BUCKET_USERS", bucket_users)
    if where == "processes":
        monkeypatch.setattr(workers, "FEW_ROWS", 0)
    if where == "spark":
        monkeypatch.setattr(rounds, "workers", partial(workers.workers, by_spark=True))
    ingest.run(run)
    assert json.loads((run.path / "ingest.json").read_text())["buckets"] == -(
        -len(mine(made)) // bucket_users
    )
    names = ["user_id", "event", "occurred_at", "value"]
    one, two = (staged(r)[names].sort_values(names).reset_index(drop=True) for r in (plain, run))
    pd.testing.assert_frame_equal(one, two)
    assert told(run, "identities").startswith("without a user are 0 of ")


def test_ids_that_the_map_does_not_have_or_has_twice_are_told(
    place: Environment, made: Lake, tmp_path: Path
) -> None:
    members = sorted(mine(made))
    shared = {"device": [f"{members[0]}/1", None], "account": [members[1], "P-3"]}
    moved = on_devices(made)
    moved.exposures.loc[moved.exposures.uid == f"{members[2]}/1", "uid"] = "unheard-of"
    content = spec(tmp_path) | {"source": with_devices(tmp_path / "lake", moved, 600, **shared)}
    run = frozen(place, resolved(content), "lost")
    ingest.run(run)
    exposures = staged(run, "exposures")
    assert set(exposures.user_id) == set(members) - {members[0], members[2]}
    message = told(run, "identities")
    assert f"2 of {len(made.exposures)} rows of exposures" in message
    assert "1,200 ids, 1 of several users, and 1 rows without one of both ids" in message
    measured = json.loads((run.path / "ingest.json").read_text())["measured"]
    left_out = measured["left_out"]["exposures"]
    assert left_out["of ids that the identity map does not have"] == 1
    assert left_out["of ids that stand for several users"] == 1


# ---- people who are to be forgotten, and pseudonyms


@pytest.fixture
def forgetting(place: Environment, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs get these keys and this list."""

    def set_to(**privacy: Any) -> None:
        monkeypatch.setattr(ingest, "privacy_of", lambda *_: Privacy(**privacy))

    return set_to


def test_forgotten_users_leave_no_row_and_no_example(
    place: Environment, made: Lake, tmp_path: Path, forgetting: Callable[..., None]
) -> None:
    gone = sorted(mine(made))[0]
    revenue = made.orders.revenue.astype(str)
    made.orders["revenue"] = revenue.mask(made.orders.uid == gone, "my secret")
    key = Key(b"of forgotten users")
    forgetting(forgotten_by=key, forgotten=frozenset(key.hashes([gone])))
    run, measured = taken_in(place, made, tmp_path)
    assert gone not in set(staged(run).user_id)
    assert gone not in set(staged(run, "exposures").user_id)
    assert "secret" not in (run.path / "ingest.json").read_text()
    assert measured.left_out["exposures"]["of users who are to be forgotten"] == 1


def test_pseudonyms_stand_for_ids_and_event_ids_are_gone(
    place: Environment, made: Lake, tmp_path: Path, forgetting: Callable[..., None]
) -> None:
    plain, _ = taken_in(place, made, tmp_path / "plain")
    key = Key(b"of pseudonyms")
    forgetting(pseudonyms=key)
    run, _ = taken_in(place, made, tmp_path / "pseudonyms")
    assert series(staged(run)) == series(staged(plain))
    assert set(staged(run).user_id) == set(key.hashes(sorted(set(staged(plain).user_id))))
    assert staged(run).event_id.isna().all()
    assert "P-" not in (run.path / "ingest.json").read_text().replace(str(tmp_path), "")
