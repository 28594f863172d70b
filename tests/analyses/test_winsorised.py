"""Winsorised means from kernels to rows: SciPy's numbers, who was capped, and caps that leave nothing to compare."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from exp_platform.aggregates import Aggregates
from exp_platform.analyses import ab, cuped
from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.config.environment import project_root
from exp_platform.config.experiment import Experiment, Variant
from exp_platform.config.metrics import Covariate, Measure, Winsorise
from exp_platform.config.plans import DecisionPlan
from kernels.cases import Data, Exposure, Outcome, aggregates_of, events_experiment, local, metric

REFERENCE = json.loads((Path(__file__).parents[1] / "references/winsorised_means/values.json").read_text())
CAPS = {"both": Winsorise(0.02, 0.98), "upper": Winsorise(upper=0.98), "lower": Winsorise(lower=0.02)}


def winsorised(winsorise: Winsorise, *arms: str) -> Experiment:
    """One metric, one look at its end, so that intervals have the plain level."""
    spend = metric(
        "spend",
        "mean",
        Measure("spend", "sum"),
        winsorise=winsorise,
        covariates=(Covariate("pre_spend", Measure("spend", "sum")),),
    )
    return events_experiment(
        metrics=(spend,),
        segments=(),
        variants=tuple(Variant(arm, 1 / len(arms)) for arm in arms),
        decision=DecisionPlan(sequential_share=0),
    )


def aggregated(spec: Experiment, arms: dict[str, np.ndarray], buckets: int = 3) -> Aggregates:
    """Both rounds over users that spend so much each; zeros buy nothing."""
    data, at = Data(), local(spec, 0)
    for arm, values in arms.items():
        for i, value in enumerate(values):
            data.exposures.append(Exposure(f"{arm}{i}", arm, at))
            if value != 0:
                data.outcomes.append(Outcome(f"{arm}{i}", "spend", at, float(value)))
    (day,) = aggregates_of(data, spec, [spec.window.end], buckets)
    return day


@pytest.mark.parametrize("side", CAPS)
def test_rows_are_scipys_on_values_winsorised_by_scipy(side: str) -> None:
    arms = {name: np.array(values) for name, values in REFERENCE["arms"].items()}
    spec = winsorised(CAPS[side], "control", "blue")
    (row,) = ab.analyse(spec, aggregated(spec, arms))
    assert isinstance(row, ResultRow)
    assert row.status is Status.OK
    for column, value in REFERENCE["expected"][side].items():
        assert getattr(row, column) == pytest.approx(value, rel=1e-9, abs=0), column


def test_the_uncapped_side_has_no_capped_users_and_the_shares_add_up() -> None:
    arms = {name: np.array(values) for name, values in REFERENCE["arms"].items()}
    spec = winsorised(CAPS["upper"], "control", "blue")
    (row,) = ab.analyse(spec, aggregated(spec, arms))
    assert isinstance(row, ResultRow)
    assert (row.capped_lower_control, row.capped_lower_treatment) == (0.0, 0.0)
    n0, n1 = len(arms["control"]), len(arms["blue"])
    assert row.capped_upper_control is not None
    assert row.capped_upper_treatment is not None
    together = (row.capped_upper_control * n0 + row.capped_upper_treatment * n1) / (n0 + n1)
    assert row.capped_share == pytest.approx(together, rel=1e-12) == pytest.approx(12 / 605, rel=1e-12)


def test_a_cap_within_a_tie_of_zeros_is_degenerate_with_and_without_cuped() -> None:
    """98 of 100 users buy nothing: the 0.95 quantile is 0, so that every user is capped to 0."""
    arms = {name: np.array([0.0] * 98 + [5.0, 9.0]) for name in ("control", "blue")}
    spec = winsorised(Winsorise(upper=0.95), "control", "blue")
    for row in (*ab.analyse(spec, aggregated(spec, arms)), *cuped.analyse(spec, aggregated(spec, arms))):
        assert isinstance(row, ResultRow)
        assert row.status is Status.DEGENERATE
        assert (row.estimate, row.p_value, row.ci_low, row.capped_share) == (None, None, None, None)
        assert row.message == (
            "the metric does not vary within an arm once it is winsorised at 0.95: 0 in control, 0 in treatment; "
            "choose caps closer to 0 and 1, or none"
        )


def test_an_arms_own_quantile_would_have_been_another_cap() -> None:
    """A treatment that makes the largest values larger moves a pooled cap alike in both arms, never its own alone."""
    rng = np.random.default_rng(7)
    arms = {"control": rng.normal(10, 1, 400), "blue": rng.normal(10, 1, 400)}
    arms["blue"][arms["blue"] > 11] += 100
    spec = winsorised(Winsorise(upper=0.95), "control", "blue")
    day = aggregated(spec, arms)
    cap = np.quantile(np.concatenate(list(arms.values())), 0.95, method="inverted_cdf")
    assert day.caps == {"spend": (None, cap)}
    assert cap > 100 > arms["control"].max()
    (row,) = ab.analyse(spec, day)
    assert isinstance(row, ResultRow)
    assert row.mean_control == pytest.approx(arms["control"].mean(), rel=1e-12)
    assert (row.capped_upper_control, row.capped_upper_treatment) == (0.0, (arms["blue"] > cap).mean())


@pytest.fixture(name="emails", scope="module")
def _emails() -> dict[str, np.ndarray]:
    """Hillstrom's e-mail test: what 64,000 customers spent, by arm."""
    data = Path(os.environ.get("EXP_DATA_DIR") or project_root().parent / "shared" / "data")
    file = data / "hillstrom.csv.gz"
    if not file.is_file():
        pytest.skip(f"there is no {file}; set EXP_DATA_DIR to where it is")
    found = pd.read_csv(file, usecols=["treatment", "spend"])
    names = {"No E-Mail": "control", "Mens E-Mail": "mens", "Womens E-Mail": "womens"}
    return {names[arm]: part.spend.to_numpy() for arm, part in found.groupby("treatment", sort=False)}


def test_hillstroms_spend_capped_at_its_99th_percentile_is_degenerate(emails: dict[str, np.ndarray]) -> None:
    everybody = np.concatenate(list(emails.values()))
    assert np.quantile(everybody, 0.99) == 0.0  # nine customers in a thousand bought anything
    spec = winsorised(Winsorise(upper=0.99), "control", "mens", "womens")
    rows = ab.analyse(spec, aggregated(spec, emails))
    assert [row.status for row in rows] == [Status.DEGENERATE] * 2


def test_hillstroms_spend_capped_among_its_buyers_is_compared(emails: dict[str, np.ndarray]) -> None:
    everybody = np.concatenate(list(emails.values()))
    cap = np.quantile(everybody, 0.998, method="inverted_cdf")
    spec = winsorised(Winsorise(upper=0.998), "control", "mens", "womens")
    plain = replace(spec, metrics=(replace(spec.metrics[0], winsorise=None),))
    capped = {row.treatment_id: row for row in ab.analyse(spec, aggregated(spec, emails))}  # type: ignore[union-attr]
    free = {row.treatment_id: row for row in ab.analyse(plain, aggregated(plain, emails))}  # type: ignore[union-attr]
    for arm, row in capped.items():
        assert isinstance(row, ResultRow)
        assert row.mean_treatment == pytest.approx(emails[arm].clip(max=cap).mean(), rel=1e-12)
        assert row.capped_upper_treatment == (emails[arm] > cap).mean()
        assert row.capped_upper_control == (emails["control"] > cap).mean()
        assert row.standard_error < free[arm].standard_error  # type: ignore[union-attr,operator]
