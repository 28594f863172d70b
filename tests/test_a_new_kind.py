"""A kind of metric that the platform does not have: traits, an estimator and one way of adding up take it from spec to decision."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_ind

from decision.cases import PASSED, before_any_run
from exp_platform.analyses.estimators import ESTIMATORS, Mean
from exp_platform.analyses.planned import Expected
from exp_platform.analyses.registry import analyse_all
from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.config.experiment import Experiment
from exp_platform.config.kinds import KINDS, MetricKind
from exp_platform.config.loading import load_all
from exp_platform.decision import decide
from exp_platform.kernels.unit_days import EventDays
from exp_platform.kernels.user_values import ADDENDS
from exp_platform.planning.metric_plan import plan_metric
from exp_platform.stats.arms import Arm
from kernels.cases import Data, Exposure, Outcome, aggregates_of, local

DAYS = 5  # of the metric's window
USERS = 300  # an arm
SPEC = f"""\
id: habits
owner: growth
hypothesis: Reminders make users come on more of their days.
variants: [{{id: control, control: true}}, {{id: reminded}}]
window: {{start: 2025-03-27, days: 4, timezone: Europe/Berlin}}  # clocks are set forward in it
source: {{kind: events, exposures: {{path: exposures.parquet}}, outcomes: {{path: outcomes.parquet}}}}
metrics:
  - {{id: habit, type: regularity, event: visit, role: primary, mde: 10%, window: {{from_day: 0, to_day: {DAYS}}}}}
analyses: {{pre_period_days: 6, did_days: 3}}
"""


@dataclass(frozen=True)
class Regularity(Mean):
    """The share of the window's days on which a user came: days over the window's length."""

    @property
    def _length(self) -> int:
        return (self.metric.window.end or 1) - self.metric.window.start

    def arm(self, block: Any) -> Arm:
        days = super().arm(block)
        return days._replace(
            mean=days.mean / self._length, variance_of_mean=days.variance_of_mean / self._length**2
        )

    def linearise(self, cells: Any, periods: Any) -> Any:
        weights = [np.diag([1 / self._length, *np.ones(len(arm[0].mean) - 1)]) for arm in cells]
        return [[c.linear(w) for c in arm] for arm, w in zip(cells, weights, strict=True)]


def days_of_users(rows: EventDays) -> np.ndarray:
    """1 for the first row of each user and day."""
    new = (np.diff(rows.user, prepend=-1) != 0) | (np.diff(rows.day, prepend=-1) != 0)
    return new.astype(np.float64)


@pytest.fixture
def regularity(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that a new kind is."""
    kind = MetricKind(
        "regularity", "periods", requires={"window": "its days, such as {from_day: 0, to_day: 7}"}
    )  # type: ignore[arg-type]
    monkeypatch.setitem(KINDS, kind.name, kind)
    monkeypatch.setitem(ESTIMATORS, kind.name, Regularity)
    monkeypatch.setitem(ADDENDS, "periods", days_of_users)


def loaded(folder: Path, text: str) -> Any:
    (folder / "experiments").mkdir(exist_ok=True)
    (folder / "experiments" / "habits.yaml").write_text(text)
    found = load_all(folder)
    return found.experiments.get("habits") or [str(error) for error in found.errors]


def drawn(experiment: Experiment) -> tuple[Data, dict[str, list[set[int]]]]:
    """Visits of all users, and by arm the days since exposure on which each of them came, counted by hand."""
    rng, data, came = np.random.default_rng(8), Data(), {}
    for arm, rate in (("control", 0.4), ("reminded", 0.55)):
        came[arm] = []
        for i in range(USERS):
            user, at = f"{arm}{i}", local(experiment, int(rng.integers(4)), float(rng.uniform(0, 22)))
            habit = rng.normal(0, 0.15)
            data.exposures.append(Exposure(user, arm, at))
            days = {d for d in range(-8, DAYS + 2) if rng.random() < (rate if d >= 0 else 0.4) + habit}
            for day in days:
                for hours in rng.uniform(0, 23.9, rng.integers(1, 4)):  # coming twice a day is one day
                    moment = at + timedelta(days=day, hours=float(hours))
                    data.outcomes.append(Outcome(user, "visit", moment, 1.0))
            came[arm].append({d for d in days if 0 <= d < DAYS})
    return data, came


def test_it_goes_from_spec_to_decision(regularity: None, tmp_path: Path) -> None:
    experiment = loaded(tmp_path, SPEC)
    data, came = drawn(experiment)
    shares = {arm: [len(days) / DAYS for days in users] for arm, users in came.items()}
    for buckets in (1, 3):
        (day,) = aggregates_of(data, experiment, [experiment.decision_date], buckets)
        rows = analyse_all(experiment, day)
        found = {(r.method, r.segment): r for r in rows if isinstance(r, ResultRow) and r.metric_id}
        plain, expected = (
            found["ab", "all"],
            ttest_ind(shares["reminded"], shares["control"], equal_var=False),
        )

        assert (plain.status, plain.metric_kind) == (Status.OK, "regularity")
        assert plain.mean_control == pytest.approx(np.mean(shares["control"]), rel=1e-12)
        assert plain.estimate == pytest.approx(
            np.mean(shares["reminded"]) - np.mean(shares["control"]), rel=1e-10
        )
        assert plain.p_value == pytest.approx(expected.pvalue, rel=1e-9)

        # The daily series adds up to the same days.
        for arm, users in came.items():
            series = [r.value_sum for r in day.daily if r.variant_id == arm]
            assert sum(series) == sum(len(days) for days in users)

        # Adjusted by its own pre-period, in the same unit, and as precise or more so.
        assert found["cuped", "all"].status is Status.OK
        assert found["cuped", "all"].covariates == "pre_habit"
        assert found["cuped", "all"].estimate == pytest.approx(plain.estimate, abs=0.05)
        assert 0 < found["cuped", "all"].variance_reduction < 1

        decision = decide(experiment, before_any_run(experiment), rows, [PASSED])
        assert (decision.winner, decision.action) == ("treatment", "ship")
        assert decision.effect == pytest.approx(plain.estimate)


def test_it_is_planned_and_the_spec_is_told_what_it_does_not_take(regularity: None, tmp_path: Path) -> None:
    experiment = loaded(tmp_path, SPEC)
    (metric,) = experiment.metrics
    as_mean = replace(metric, kind="mean")
    plan, same = (
        plan_metric(replace(experiment, metrics=(m,)), m, given=Expected(0.4, 0.25))
        for m in (metric, as_mean)
    )
    assert plan.required_users == same.required_users is not None

    without_days, capped = (
        SPEC.replace(f", window: {{from_day: 0, to_day: {DAYS}}}", ""),
        "winsorise: {upper: 0.9}",
    )
    (days,) = loaded(tmp_path, without_days)
    assert "metrics[0].window: found nothing; a regularity requires its days" in days
    (cap,) = loaded(tmp_path, SPEC.replace("mde: 10%", capped))
    assert "metrics[0].winsorise: found a cap; a regularity is not winsorised: leave it out" in cap
    (name,) = loaded(tmp_path, SPEC.replace("regularity", "habitual"))
    assert name.endswith("'ratio', 'quantile' or 'regularity'")
