"""Tables of the field that do not fit together, through a whole run: what is said of them, and that every row is told of.

The right numbers are counted here by pandas from the same files. Skipped where the data of the field are absent.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from end_to_end.field import FIELD, NEEDED, spec_of
from end_to_end.installation import Installation
from exp_platform.pipelines.runner import StageFailedError

pytestmark = NEEDED
START, END = pd.Timestamp("2026-03-02", tz="UTC"), pd.Timestamp("2026-03-16", tz="UTC")


def decided(place: Installation, name: str) -> dict[str, Any]:
    (decision,) = place.rows("decisions", name)
    return decision


def reasons(decision: dict[str, Any]) -> dict[str, str]:
    return {r["data"].get("check", r["code"]): r["text"] for r in json.loads(decision["reasons"])}


def test_users_exposed_outside_the_window_are_told_of(place: Installation) -> None:
    place.run(spec_of(place, "units_outside"))
    seen = pd.to_datetime(pd.read_csv(FIELD / "units_outside" / "units.csv").seen, utc=True)
    late = int((seen >= END).sum())
    assert (len(seen), late) == (2000, 612)
    told = json.loads(decided(place, "units_outside")["rows"])
    assert told["units"] == {
        "read": 2000,
        "counted": {"a user's first exposure": 2000 - late},
        "left_out": {"from after the window": late},
    }
    memo = (place.state / "memos" / "units_outside" / "appendix.md").read_text()
    assert "| units | 2,000 | 1,388 a user's first exposure | 612 from after the window |" in memo


def test_dates_beside_times_of_day_are_refused_until_a_rule_is_declared(place: Installation) -> None:
    with pytest.raises(StageFailedError, match=r"2,454 of 2,454 rows of .* stand at midnight"):
        place.run(spec_of(place, "date_outcomes"))
    assert place.rows("experiment_registry", "date_outcomes") == []


@pytest.mark.parametrize("rule", ["after", "before"])
def test_an_outcome_dated_on_the_day_of_exposure_counts_as_declared(tmp_path: Path, rule: str) -> None:
    place = Installation(tmp_path)
    place.run(spec_of(place, "date_outcomes", same_day=rule))
    users = pd.read_parquet(FIELD / "date_outcomes" / "exposures.parquet").set_index("user_id")
    events = pd.read_parquet(FIELD / "date_outcomes" / "outcomes.parquet").join(
        users, on="user_id", how="inner"
    )
    day, exposed = (pd.to_datetime(events[c], utc=True).dt.floor("D") for c in ("occurred_at", "exposed_at"))
    counts = events[((day >= exposed) if rule == "after" else (day > exposed)) & (day < END)]
    rows = place.rows("metric_aggregates_overall", "date_outcomes")
    found = {
        r["variant_id"]: r["successes"] for r in rows if (r["metric_id"], r["segment"]) == ("conv", "all")
    }
    assert found == counts.groupby("variant_id").user_id.nunique().to_dict()


def test_conversions_logged_just_before_their_exposure_cost_trust(place: Installation) -> None:
    place.run(spec_of(place, "second_before"))
    decision = decided(place, "second_before")
    assert decision["action"] == "investigate"
    assert "in the last second before their user's exposure" in reasons(decision)["just_before_exposure"]


def test_a_companys_whole_event_table_is_no_reason_for_doubt(place: Installation, tmp_path: Path) -> None:
    """The outcomes of an experiment among twenty times as many of users who are not in it; then of one arm's ids only."""
    exposures = pd.read_parquet(FIELD / "float_ids" / "exposures.parquet")
    outcomes = pd.read_parquet(FIELD / "float_ids" / "outcomes.parquet")
    outcomes["user_id"] = outcomes["user_id"].astype("int64").astype(str)
    exposures["user_id"] = exposures["user_id"].astype("int64").astype(str)
    others = pd.concat([outcomes.assign(user_id=f"other-{i}-" + outcomes.user_id) for i in range(20)])
    of_control = exposures.user_id[exposures.variant_id == "control"]
    renamed = outcomes.user_id.where(outcomes.user_id.isin(of_control), "account-" + outcomes.user_id)
    for name, delivered in {
        "company": pd.concat([outcomes, others]),
        "one_arm": pd.concat([outcomes.assign(user_id=renamed), others]),
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        exposures.to_parquet(folder / "exposures.parquet", index=False)
        delivered.to_parquet(folder / "outcomes.parquet", index=False)
        written = yaml.safe_load((FIELD / "float_ids" / "float_ids.yaml").read_text())
        written["id"] = name
        for table in ("exposures", "outcomes"):
            written["source"][table]["path"] = str(folder / f"{table}.parquet")
        place.run(place.spec(**written))
    company, one_arm = decided(place, "company"), decided(place, "one_arm")
    assert "CHECK_FAILED" not in company["reasons"]
    assert one_arm["action"] == "investigate"
    assert "do not find their outcomes alike" in reasons(one_arm)["outcomes_found"]
