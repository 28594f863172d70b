"""A segment of many values, by `exp run`: every user against pandas, whatever day is run again, and told in memo and results."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

from end_to_end.installation import Installation
from exp_platform.analyses.rows import ResultRow
from exp_platform.cli import main as exp
from exp_platform.kernels.pools import MOST_STRATA, MOST_VALUES, RARER

ID = "cities"
EARLY, LATE = date(2026, 3, 6), date(2026, 3, 15)
ARMS = ("control", "blue", "red")


def people(users: int = 6000, cities: int = 400) -> pd.DataFrame:
    """Customers of 400 cities and 30 plans; what they spend depends on both, and a city may be named like the pool."""
    rng = np.random.default_rng(11)
    city = np.minimum(rng.zipf(1.3, users), rng.integers(1, cities, users))
    plan = rng.integers(0, 30, users)
    seconds = rng.integers(0, 13 * 86_400, users)
    return pd.DataFrame(
        {
            "user_id": [f"u{i}" for i in range(users)],
            "variant_id": rng.choice(ARMS, users),
            "exposed_at": pd.Timestamp("2026-03-02") + pd.to_timedelta(seconds, unit="s"),
            "city": np.where(city == 2, RARER, np.char.add("city ", city.astype(str))),
            "plan": np.char.add("plan ", plan.astype(str)),
            "spend": rng.gamma(2.0, 5.0, users) + 3 * np.log(city) + plan,
        }
    )


class Crowded:
    """The installation after the late day, the early one, and the late one again, with what was stored each time."""

    def __init__(self, made: Installation) -> None:
        self.made, self.people = made, people()
        path = made.folder / "people.csv"
        self.people.to_csv(path, index=False)
        made.spec(
            id=ID,
            owner="shop",
            hypothesis="It sells more.",
            variants=[{"id": v, "control": v == "control"} for v in ARMS],
            window={"start": date(2026, 3, 2), "days": 14},
            source={"kind": "units", "path": str(path), "columns": {"exposed_at": "exposed_at"}},
            metrics=[{"id": "spend", "type": "mean", "column": "spend", "role": "primary"}],
            segments=["city", "plan"],
            analyses={"strata": ["city", "plan"]},
        )
        for day in (LATE, EARLY):
            made.run(ID, as_of_dates=[day], force=True)
        self.first = made.content(ID)
        made.run(ID, as_of_dates=[EARLY, LATE], force=True)
        self.again = made.content(ID)

    def here(self, day: date) -> pd.DataFrame:
        return self.people[self.people.exposed_at < pd.Timestamp(day) + pd.Timedelta(days=1)]

    def kept(self, day: date, attribute: str, most: int) -> set[str]:
        users = self.here(day)[attribute].value_counts().rename_axis("value").reset_index(name="n")
        return set(users.sort_values(["n", "value"], ascending=[False, True]).value[: most - 1])

    def rows(self, day: date, method: str) -> list[Any]:
        return self.made.results.rows(ResultRow, ID, day, method=method)


@pytest.fixture(scope="module", name="crowded")
def _crowded(tmp_path_factory: pytest.TempPathFactory) -> Crowded:
    return Crowded(Installation(tmp_path_factory.mktemp("cities")))


@pytest.mark.parametrize("day", [EARLY, LATE])
def test_kept_and_pooled_users_are_those_that_pandas_counts(crowded: Crowded, day: date) -> None:
    here, kept = crowded.here(day), crowded.kept(day, "city", MOST_VALUES)
    assert RARER in kept  # a city of this name is frequent, so the pool has another
    city = here.city.where(here.city.isin(kept), f"({RARER})")
    rows = [r for r in crowded.rows(day, "segments") if r.segment == "city" and r.test != "interaction"]
    assert {r.segment_value for r in rows} == set(city)
    for row in rows:
        arm = here.variant_id[city == row.segment_value]
        assert (row.n_control, row.n_treatment) == (
            (arm == "control").sum(),
            (arm == row.treatment_id).sum(),
        )
    stored = crowded.made.results.latest_decision(ID, day)
    assert stored is not None
    told = stored.pooled["city"]["city"]
    assert (told.value, told.kept) == (f"({RARER})", MOST_VALUES - 1)
    assert told.users == (~here.city.isin(kept)).sum()
    assert told.values == here.city.nunique() - told.kept


@pytest.mark.parametrize("day", [EARLY, LATE])
def test_the_split_is_tested_within_kept_and_pooled_values(crowded: Crowded, day: date) -> None:
    (row,) = [r for r in crowded.rows(day, "srm") if r.segment == "city"]
    assert row.verdict == "ok"
    assert row.n_control == (crowded.here(day).variant_id == "control").sum()
    values = {r.segment_value for r in crowded.rows(day, "segments") if r.segment == "city"} - {"all"}
    assert row.degrees_of_freedom == (len(ARMS) - 1) * len(values)


def test_strata_of_pooled_values_take_variance_off(crowded: Crowded) -> None:
    rows = crowded.rows(LATE, "post_stratified")
    assert {r.stratified_by for r in rows} == {"city × plan"}
    for row in rows:
        assert row.strata <= MOST_STRATA
        assert row.variance_reduction > 0.2
        assert "of city the 13 most frequent values" in row.message
        assert "of plan the 13 most frequent values" in row.message


def test_any_day_that_is_run_again_has_the_same_values_to_the_last_bit(crowded: Crowded) -> None:
    for name in ("metric_aggregates_overall", "analysis_results"):
        assert crowded.again[name] == crowded.first[name]


def test_memo_and_results_say_what_was_pooled(crowded: Crowded) -> None:
    memo = (crowded.made.state / "memos" / ID / "appendix.md").read_text()
    twin = json.loads((crowded.made.state / "memos" / f"{ID}.json").read_text())
    said = crowded.made.call(exp, "results", ID, "--method", "segments")
    users = twin["pooled"]["city"]["city"]["users"]
    assert said.code == 0
    for text in (memo, said.out):
        assert f"of {users:,} users are pooled as (({RARER[1:-1]}))" in " ".join(text.split())
    assert "Shown are 50 of" in memo
