"""Whether exposures and outcomes belong together: each kind of fault is told, and nothing is said of clean data.

Data are simulated with a known truth and go through the kernel that measures them, as a run's do.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from exp_platform.checks import CheckResult
from exp_platform.config.allocation import Allocation
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Measure
from exp_platform.config.plans import QualityThresholds
from exp_platform.config.sources import EventsSource
from exp_platform.kernels.clean import clean_bucket
from exp_platform.kernels.measured import Measured
from exp_platform.stages.quality_checks import judge
from exp_platform.stages.quality_evidence import Evidence
from stages.raw_data import END, START, events_experiment, metric, units_experiment

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FIRST = np.datetime64("2025-03-23T23:00:00", "us")  # midnight in Berlin
SECOND, HOUR, DAY = (np.timedelta64(n, "s") for n in (1, 3600, 86_400))
CHECKS = {"outcomes_found", "time_grain", "just_before_exposure"}


@dataclass
class World:
    """Exposed users, evenly over the window, and what they do; times are numpy's, in UTC."""

    seed: int = 1
    users: int = 2000
    treated: Any = 0.5
    ids: Any = None
    rows: list[tuple[Any, Any, Any]] = field(default_factory=list)  # ids, event, instants

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.arm = (self.rng.random(self.users) < self.treated).astype(int)
        self.at = FIRST + (self.rng.random(self.users) * 14 * 86_400).astype(int) * SECOND
        self.ids = np.array([f"User-{i:06d}" for i in range(self.users)], dtype=object)

    def convert(self, event: str, rate: Any, mean_lag: float, shift: int = 0) -> None:
        """Some users do it once, so many seconds after exposure on average; clocks differ by `shift` seconds."""
        who = np.flatnonzero(self.rng.random(self.users) < rate)
        lag = self.rng.exponential(mean_lag, len(who)).astype(int) + 1 + shift
        self.rows.append((self.ids[who], event, self.at[who] + lag * SECOND))

    def habit(self, event: str, a_day: float, days: tuple[int, int] = (-14, 14)) -> None:
        """Poisson events around each user's exposure, in their evenings."""
        n = self.rng.poisson(a_day * (days[1] - days[0]), self.users)
        who = np.repeat(np.arange(self.users), n)
        day = self.at[who].astype("datetime64[D]") + self.rng.integers(*days, len(who)).astype(
            "timedelta64[D]"
        )
        hour = 19 + self.rng.normal(0, 2.5, len(who))
        self.rows.append(
            (self.ids[who], event, day.astype("datetime64[us]") + (hour * 3600).astype(int) * SECOND)
        )

    def session(self, event: str, share: float = 1.0) -> None:
        """What brings users to their exposure, a moment before it, and what they go on with for some minutes."""
        who = np.flatnonzero(self.rng.random(self.users) < share)
        self.rows.append((self.ids[who], event, self.at[who] - 400 * np.timedelta64(1, "ms")))
        more = np.repeat(who, self.rng.poisson(3, len(who)))
        self.rows.append(
            (self.ids[more], event, self.at[more] + self.rng.exponential(150, len(more)).astype(int) * SECOND)
        )

    def strangers(self, event: str, n: int) -> None:
        """Everybody else of the company."""
        ids = np.array([f"User-{i:06d}" for i in range(10**6, 10**6 + n)], dtype=object)
        self.rows.append((ids, event, FIRST + self.rng.integers(-14 * 86_400, 14 * 86_400, n) * SECOND))

    def measured(self, change: Any = None, spec: Experiment | None = None) -> Measured:
        ids = np.concatenate([r[0] for r in self.rows])
        happened = pa.table(
            {
                "user_id": pa.array(ids, pa.string()),
                "event": pa.array(np.repeat([r[1] for r in self.rows], [len(r[0]) for r in self.rows])),
                "occurred_at": pa.array(
                    np.concatenate([r[2] for r in self.rows]).astype("datetime64[us]")
                ).cast(pa.timestamp("us", "UTC")),
                "value": np.ones(len(ids)),
            }
        )
        exposed = pa.table(
            {
                "user_id": pa.array(self.ids, pa.string()),
                "variant_id": np.where(self.arm == 1, "treatment", "control"),
                "exposed_at": pa.array(self.at.astype("datetime64[us]")).cast(pa.timestamp("us", "UTC")),
            }
        )
        raw = {"exposures": exposed, "outcomes": happened}
        raw |= change(raw) if change else {}
        return clean_bucket({name: [table] for name, table in raw.items()}, spec or SPEC, NOW).measured


SPEC = events_experiment(
    Path("unused"),
    metrics=(
        metric("converted", "proportion", Measure("order", "any")),
        metric("revenue", "mean", Measure("order", "sum")),
        metric("views", "count", Measure("view", "count")),
    ),
    segments=(),
)
SPEC = replace(SPEC, source=replace(SPEC.source, dedupe="none"))  # type: ignore[type-var]


def checks(measured: Measured, spec: Experiment = SPEC) -> dict[str, CheckResult]:
    return {c.check: c for c in judge(Evidence(spec, END, measured, None)) if c.check in CHECKS}


def failed(measured: Measured, spec: Experiment = SPEC) -> set[str]:
    return {name for name, check in checks(measured, spec).items() if check.status == "failed"}


def shop(seed: int = 1, shift: int = 0, **world: Any) -> World:
    """One in eight orders about an hour after exposure; orders and views before and after, as usual."""
    made = World(seed, **world)
    made.convert("order", 0.125, 3600, shift)
    made.habit("order", 0.02)
    made.habit("view", 0.3)
    return made


# ---- clean data


def test_a_companys_whole_event_table_is_no_fault() -> None:
    """Fifty times as many users without exposure as with; a rare event that few exposed users have."""
    made = shop()
    made.strangers("order", 100_000)
    assert failed(made.measured()) == set()
    rare = World(users=2000)
    rare.convert("order", 0.01, 3600)
    rare.strangers("order", 100_000)
    assert failed(rare.measured()) == set()


def test_users_whom_a_visit_exposes_are_no_fault() -> None:
    """The visit, or the order itself on a thank-you page, stands just before nearly every exposure."""
    made = shop()
    made.session("view", 0.6)
    assert failed(made.measured()) == set()
    thanks = shop()
    thanks.rows.append((thanks.ids, "order", thanks.at - SECOND))
    assert failed(thanks.measured()) == set()


def test_a_large_effect_is_no_fault() -> None:
    """A treatment that halves, or doubles, the share of users who do anything at all after exposure."""
    for low, high in ((0.1, 0.05), (0.1, 0.2)):
        made = World(users=20_000)
        made.convert("order", np.where(made.arm == 1, high, low), 3600)
        assert failed(made.measured()) == set()


def test_a_ramp_is_no_fault() -> None:
    """One in twenty for a week, then half: treated users come later and have a longer past in the tables, which is no fault."""
    ramp = (Allocation(START, (0.95, 0.05)), Allocation(START + timedelta(days=7), (0.5, 0.5)))
    made = World(users=20_000)
    late = made.at >= FIRST + 7 * DAY
    made.arm = (made.rng.random(made.users) < np.where(late, 0.5, 0.05)).astype(int)
    n = made.rng.poisson(0.1 * ((made.at - FIRST) / DAY))
    who = np.repeat(np.arange(made.users), n)
    made.rows.append(
        (
            made.ids[who],
            "view",
            FIRST + (made.rng.random(len(who)) * ((made.at[who] - FIRST) / SECOND)).astype(int) * SECOND,
        )
    )
    measured = made.measured()
    assert failed(measured, replace(SPEC, ramp=ramp)) == set()
    assert failed(measured) == {"outcomes_found"}  # what it would be without the periods


@pytest.mark.parametrize("kind", ["shop", "visits", "rare", "batch"])
def test_none_of_the_checks_fires_in_many_clean_experiments(kind: str) -> None:
    """15 of each kind here; of 1,000 others none failed."""
    for seed in range(15):
        assert failed(clean_world(kind, seed).measured()) == set(), seed


def clean_world(kind: str, seed: int) -> World:
    users = 1000 + 37 * (seed % 40)
    if kind == "shop":
        return shop(seed, users=users)
    made = World(seed, users=users)
    if kind == "visits":
        made.session("view", 0.3 + 0.7 * made.rng.random())
        made.session("order", 0.05)
        made.convert("order", 0.1, 600)
    elif kind == "rare":
        made.convert("order", 0.02, 86_400)
        made.strangers("order", 5000)
    else:  # exposed by a nightly job, orders in the evening
        made.at = made.at.astype("datetime64[D]").astype("datetime64[us]") + 22 * HOUR + 13 * SECOND
        made.habit("order", 0.2)
    return made


# ---- clocks


@pytest.mark.parametrize(
    ("shift", "mean_lag"), [(-2, 1), (-90, 60), (-3600, 1200), (-2 * 3600, 3600), (-8 * 3600, 3600)]
)
def test_conversions_that_are_logged_just_before_the_exposure_cost_trust(shift: int, mean_lag: float) -> None:
    """A second, a minute, an hour, or the hours between two time zones."""
    check = checks(shop(shift=shift).measured() if mean_lag == 3600 else _conversions(shift, mean_lag))
    assert check["just_before_exposure"].status == "failed"
    assert check["just_before_exposure"].severity == "warning"
    assert "compare the clocks" in check["just_before_exposure"].message
    assert {name for name in check if check[name].status == "failed"} == {"just_before_exposure"}


def _conversions(shift: int, mean_lag: float) -> Measured:
    made = World()
    made.convert("order", 0.125, mean_lag, shift)
    made.habit("order", 0.005)
    return made.measured()


def test_one_arms_clock_is_enough() -> None:
    made = World(users=4000)
    made.convert("order", np.where(made.arm == 1, 0.1, 0.0), 2, -3600)
    made.convert("order", np.where(made.arm == 0, 0.1, 0.0), 7200)
    check = checks(made.measured())["just_before_exposure"]
    assert check.status == "failed"
    assert "of treatment lie in the last hour" in check.message


def test_the_limit_of_outcomes_just_before_is_the_specs() -> None:
    made = _conversions(-90, 60)
    accepted = replace(SPEC, quality=QualityThresholds(max_just_before_share=1.0))
    assert checks(made, accepted)["just_before_exposure"].status == "passed"
    assert checks(made, accepted)["just_before_exposure"].observed == pytest.approx(0.75, abs=0.1)


# ---- dates


def as_dates(*names: str) -> Any:
    """A table's times without their time of day, as days of Berlin."""

    def change(raw: dict[str, pa.Table]) -> dict[str, pa.Table]:
        changed = {}
        for name in names:
            column = "exposed_at" if name == "exposures" else "occurred_at"
            days = raw[name][column].cast(pa.timestamp("us", "Europe/Berlin")).cast(pa.date32())
            changed[name] = raw[name].set_column(raw[name].column_names.index(column), column, days)
        return changed

    return change


def with_rule(rule: Any) -> Experiment:
    assert isinstance(SPEC.source, EventsSource)
    return replace(SPEC, source=replace(SPEC.source, same_day=rule))


@pytest.mark.parametrize("name", ["outcomes", "exposures"])
def test_dates_beside_times_of_day_are_refused_until_the_spec_has_a_rule(name: str) -> None:
    check = checks(shop().measured(as_dates(name)))["time_grain"]
    assert (check.status, check.severity) == ("failed", "error")
    assert "same_day: after" in check.message
    for rule in ("after", "before"):
        assert failed(shop().measured(as_dates(name), with_rule(rule)), with_rule(rule)) == set()


def test_two_tables_of_dates_need_no_rule() -> None:
    check = checks(shop().measured(as_dates("exposures", "outcomes")))
    assert check["time_grain"].status == "passed"
    assert check["time_grain"].message.endswith("an outcome on the day of exposure counts")
    assert check["just_before_exposure"].status == "passed"


def test_dates_in_a_part_of_the_delivery_are_found() -> None:
    """A tenth of the orders come from a till that knows days only."""
    made = World()
    made.convert("order", 0.5, 3600)
    _ids, _event, at = made.rows[0]
    # What Berlin's clocks said
    clock = at + np.where(at < np.datetime64("2025-03-30T01:00:00"), HOUR, 2 * HOUR)
    at -= (np.arange(len(at)) % 10 == 0) * (clock - clock.astype("datetime64[D]"))
    assert failed(made.measured()) == {"time_grain"}


def test_times_cut_to_hours_are_not_taken_for_dates() -> None:
    made = shop()
    made.rows = [(ids, e, at.astype("datetime64[h]").astype("datetime64[us]")) for ids, e, at in made.rows]
    assert checks(made.measured())["time_grain"].status == "passed"


def test_an_experiment_that_is_switched_on_at_midnight_has_no_dates() -> None:
    made = World()
    made.at[:] = FIRST
    made.convert("order", 0.3, 86_400)
    assert failed(made.measured()) == set()


# ---- ids


@pytest.mark.parametrize("treated_only", [False, True])
def test_ids_of_another_space_cost_trust(treated_only: bool) -> None:
    """All users', or one arm's: customer numbers in one table, device ids in the other."""
    made = shop()
    own = made.ids.copy()
    other = np.array([f"device/{i * 7919}" for i in range(made.users)], dtype=object)
    changed = (made.arm == 1) if treated_only else np.ones(made.users, bool)
    made.ids = np.where(changed, other, own)
    check = checks(made.measured())["outcomes_found"]
    assert (check.status, check.severity) == ("failed", "warning")
    assert ("control" in check.message) == treated_only


def test_ids_of_another_spelling_cost_trust_even_in_a_part_of_both_arms() -> None:
    """One app writes ids in upper case: a tenth of the users."""
    made = shop()
    tenth = made.rng.random(made.users) < 0.1
    made.ids = np.where(tenth, np.char.upper(made.ids.astype(str)), made.ids).astype(object)
    check = checks(made.measured())["outcomes_found"]
    assert check.status == "failed"
    assert "'USER-0000" in check.message
    assert "is 'User-0000" in check.message


def test_half_of_one_arm_without_its_past_costs_trust() -> None:
    """Before exposure no treatment can be the reason, so a smaller difference is enough."""
    made = shop()
    lost = (made.arm == 1) & (made.rng.random(made.users) < 0.5)
    made.ids = np.where(lost, "x" + made.ids, made.ids)
    check = checks(made.measured())["outcomes_found"]
    assert check.status == "failed"
    assert "an outcome before their exposure" in check.message


def test_the_checks_do_not_apply_to_a_table_of_users() -> None:
    units = units_experiment(Path("unused"))
    told = {c.check: c.status for c in judge(Evidence(units, END, Measured(), None))}
    assert {told[name] for name in CHECKS} == {"skipped"}
