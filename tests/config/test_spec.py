"""A full spec resolves to the experiment that its text describes, every default filled in."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from exp_platform.config.experiment import Experiment, Variant, Window
from exp_platform.config.loading import load_all
from exp_platform.config.metrics import (
    Behaviour,
    Covariate,
    DayWindow,
    Effect,
    Guardrail,
    Measure,
    Metric,
    Role,
    Winsorise,
)
from exp_platform.config.plans import AnalysisPlan, DecisionPlan, QualityThresholds, Schedule
from exp_platform.config.readings import NOTHING_READ
from exp_platform.config.sources import CsvDialect, EventsSource, SyntheticSource, TableSource, UnitsSource

VALID = Path(__file__).parent / "specs" / "valid"


def load(name: str, tmp_path: Path) -> Experiment:
    folder = tmp_path / "experiments"
    folder.mkdir(exist_ok=True)
    shutil.copy(VALID / f"{name}.yaml", folder)
    loaded = load_all(tmp_path)
    assert [str(error) for error in loaded.errors] == []
    return loaded.experiments[name]


def test_a_first_spec_needs_thirteen_lines_and_gets_the_documented_defaults(tmp_path: Path) -> None:
    experiment = load("first_own", tmp_path)

    assert experiment.variants == (Variant("control", 0.5), Variant("short_form", 0.5))
    assert experiment.window == Window(date(2026, 3, 2), date(2026, 3, 15), "UTC")
    assert experiment.metrics == (
        Metric(
            id="signup",
            kind="proportion",
            role=Role.PRIMARY,
            direction=1,
            numerator=Measure("signup", "any"),
            covariates=(Covariate("pre_signup", Measure("signup", "any")),),
        ),
    )
    assert experiment.source == EventsSource(
        exposures=TableSource(
            "parquet",
            "${EXP_DATA_DIR}/exposures",
            {"user_id": "user_id", "variant_id": "variant_id", "exposed_at": "exposed_at"},
        ),
        outcomes=TableSource(
            "parquet",
            "${EXP_DATA_DIR}/outcomes",
            {"user_id": "user_id", "event": "event", "occurred_at": "occurred_at"},
        ),
        attributes={},
        dedupe="none",
    )
    assert experiment.analyses == AnalysisPlan(
        enabled=("srm", "ab", "cuped", "did", "pretrends", "stability", "evidence")
    )
    assert experiment.quality == QualityThresholds()
    assert experiment.decision == DecisionPlan()
    assert experiment.schedule == Schedule(
        cron="@daily", grace_days=2, active=False, retries=2, wait_for=None, wait_hours=6
    )


def test_every_key_of_an_events_spec_reaches_the_experiment(tmp_path: Path) -> None:
    experiment = load("events_full", tmp_path)

    assert experiment.variants == (Variant("a", 0.5), Variant("b", 0.25), Variant("c", 0.25)), "control first"
    assert experiment.window == Window(date(2026, 3, 2), date(2026, 3, 29), "Europe/Berlin")
    assert experiment.window.starts_at().astimezone(UTC) == datetime(2026, 3, 1, 23, tzinfo=UTC)
    assert experiment.source == EventsSource(
        exposures=TableSource(
            "iceberg",
            "lake.exposures",
            {"user_id": "uid", "variant_id": "arm", "exposed_at": "seen_at", "event_id": "eid"},
        ),
        outcomes=TableSource(
            "csv",
            "s3://lake/outcomes/",
            {"user_id": "uid", "event": "event", "occurred_at": "ts", "value": "amount"},
        ),
        attributes={"country": "geo_country", "device": "device"},
        dedupe="whole_row",
    )
    assert experiment.segments == ("country", "device", "power_user")
    assert experiment.attributes == ("country", "device")
    assert experiment.behaviours == (Behaviour("power_user", Measure("visit", "count"), 0.1),)
    assert experiment.quality == QualityThresholds(max_duplicate_share=0.02, max_stale_days=3)
    assert experiment.analyses == AnalysisPlan(
        enabled=(
            "srm",
            "ab",
            "cuped",
            "pretrends",
            "segments",
            "stability",
            "guardrails",
            "evidence",
            "bayes",
        ),
        bayes_prior_sd=Effect(0.3, "relative"),
        pre_period_days=28,
        anchor="first_exposure",
        did_days=10,
        did_pre_days=28,
        crossovers="first",
        slopes="per_arm",
        strata=("device", "country"),
        relative_interval="log",
    )
    assert experiment.decision == DecisionPlan(0.1, 0.2, 0.9, "cuped", "primary_first", 50000, 2000.0, "holm")
    assert experiment.schedule == Schedule(
        "30 5 * * mon-fri", 5, True, 3, ("s3://lake/{as_of}/_SUCCESS",), 2.5
    )
    assert experiment.retention_days == 30
    assert experiment.units == {"revenue": "EUR"}, "of those that declare one"
    assert experiment.tags == ("checkout", "wallet")
    assert experiment.description == "Checkout with one page (b) and with a wallet (c)."


def test_a_group_sequential_test_leaves_nothing_for_always_valid_evidence(tmp_path: Path) -> None:
    experiment = load("group_sequential", tmp_path)
    looks = (date(2026, 3, 7), date(2026, 3, 12))
    assert experiment.decision == DecisionPlan(
        sequential_share=0.0,
        required_sample_size=20000,
        sequential="group_sequential",
        looks=looks,
        spending="power",
        spending_exponent=3.0,
    )
    assert (experiment.decision.fixed_alpha, experiment.decision.sequential_alpha) == (0.05, 0.0)
    assert NOTHING_READ.look_dates(experiment) == (*looks, date(2026, 3, 17))


def test_metrics_of_events_resolve_to_measures_windows_and_covariates(tmp_path: Path) -> None:
    experiment = load("events_full", tmp_path)
    purchases, revenue = Measure("purchase", "count"), Measure("purchase", "sum")

    assert experiment.metric("conversion") == Metric(
        id="conversion",
        kind="proportion",
        role=Role.PRIMARY,
        direction=1,
        numerator=Measure("purchase", "any"),
        window=DayWindow(0, 7),
        covariates=(Covariate("pre_conversion", Measure("purchase", "any")),),
        mde=Effect(0.05, "relative"),
        baseline=0.1,
    )
    assert experiment.metric("revenue") == Metric(
        id="revenue",
        kind="mean",
        role=Role.SECONDARY,
        direction=1,
        numerator=revenue,
        winsorise=Winsorise(0.01, 0.99),
        covariates=(Covariate("pre_revenue", revenue), Covariate("pre_visits", Measure("visit", "count"))),
        min_practical_effect=Effect(0.25, "absolute"),
        guardrail=Guardrail(Effect(0.02, "relative"), "warning"),
    )
    assert experiment.metric("visits").covariates == (), "an empty list means none"
    order_value = experiment.metric("order_value")
    assert (order_value.numerator, order_value.denominator) == (revenue, purchases)
    assert order_value.covariates == (
        Covariate("pre_order_value.numerator", revenue),
        Covariate("pre_order_value.denominator", purchases),
    )
    assert experiment.metric("back_on_day_7").window == DayWindow(7, 8)
    assert experiment.metric("back_on_day_7").test == "score"
    errors = experiment.metric("errors")
    assert (errors.role, errors.direction) == (Role.GUARDRAIL, -1)
    assert errors.guardrail == Guardrail(Effect(0.1, "relative"), "critical")
    assert [metric.id for metric in experiment.family] == [
        "conversion",
        "revenue",
        "order_value",
        "back_on_day_7",
    ]
    assert experiment.decision_date == date(2026, 4, 6), "eight days after the end: the retention's window"


def test_what_is_no_sum_count_or_existence_resolves_to_a_way_of_its_own(tmp_path: Path) -> None:
    experiment = load("ways_to_measure", tmp_path)
    of_orders = {m.id: (m.numerator, m.denominator, m.missing) for m in experiment.metrics}
    products = Measure("product of orders", "distinct")
    assert of_orders == {
        "products": (products, None, "zero"),
        "days_buying": (Measure("orders", "days"), None, "zero"),
        "last_order": (Measure("orders.revenue", "last"), None, "exclude"),
        "first_order": (Measure("orders.revenue", "first"), None, "zero"),
        "largest_order": (Measure("orders.paid.revenue", "max"), None, "zero"),
        "smallest_order": (Measure("orders.revenue", "min"), None, "zero"),
        "loyal": (Measure("orders", "count", 3), None, "zero"),
        "big_spenders": (Measure("orders.revenue", "sum", 100), None, "zero"),
        "products_a_day": (products, Measure("orders", "days"), "zero"),
    }
    assert experiment.metric("smallest_order").covariates == (
        Covariate("pre_last_order", Measure("orders.revenue", "last")),
    )
    source = experiment.source
    assert isinstance(source, EventsSource)
    assert {(s.name, s.value, s.item) for s in source.series} == {
        ("product of orders", None, "product"),
        ("orders", None, None),
        ("orders.revenue", "revenue", None),
        ("orders.paid.revenue", "revenue", None),
    }
    assert experiment.metric("big_spenders").numerator.told == "sum of orders.revenue, at least 100"


def test_event_ids_are_used_where_there_are_any_and_values_where_they_are_summed(tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    text = (VALID / "first_own.yaml").read_text()
    text = text.replace('outcomes"}', 'outcomes", columns: {event_id: id}}')
    text += "  - {id: revenue, type: mean, event: purchase}\n"
    (tmp_path / "experiments" / "first_own.yaml").write_text(text)

    source = load_all(tmp_path).experiments["first_own"].source

    assert isinstance(source, EventsSource)
    assert source.dedupe == "event_id"
    assert source.outcomes.columns == {
        "user_id": "user_id",
        "event": "event",
        "occurred_at": "occurred_at",
        "value": "value",
        "event_id": "id",
    }


def test_columns_of_units_come_from_what_names_them(tmp_path: Path) -> None:
    experiment = load("units_full", tmp_path)

    assert experiment.window.start == date(2017, 1, 1), "a quoted date is a date"
    assert experiment.source == UnitsSource(
        table=TableSource(
            "csv",
            "players.csv.gz",
            {"variant_id": "gate", "user_id": "userid", "exposed_at": "installed"},
            CsvDialect(";", "cp1252", "backslash"),
        ),
        variants={"30": "gate_30", "40": "gate_40"},
        outcomes=("retention_7", "rounds", "sessions"),
        covariates=("age", "spend_before", "rounds_before"),
        attributes={"store": "app_store"},
    )
    assert experiment.behaviours == (
        Behaviour("veteran", Measure("rounds_before", "sum"), 0.25, date(2016, 12, 31)),
        Behaviour("spender", Measure("age", "sum"), 0.05),
    )
    kept, rounds, ratio = experiment.metrics
    assert (kept.numerator, kept.missing) == (Measure("retention_7", "any"), "error")
    assert kept.covariates == (Covariate("age", Measure("age", "sum")),)
    assert rounds.missing == "zero"
    assert rounds.covariates[1] == Covariate(
        "spend_before", Measure("spend_before", "sum"), until=date(2016, 12, 31)
    )
    assert (ratio.numerator, ratio.denominator) == (Measure("rounds", "sum"), Measure("sessions", "sum"))
    assert ratio.missing == "exclude"


def test_a_synthetic_spec_takes_days_and_order_from_the_spec_around_it(tmp_path: Path) -> None:
    experiment = load("synthetic_full", tmp_path)

    assert experiment.variants == (Variant("none", 0.5), Variant("low", 0.2), Variant("high", 0.3))
    assert experiment.source == SyntheticSource(
        n_users=9000,
        seed=11,
        days=10,
        pre_period_days=5,
        exposure_rate=1.0,
        base_conversion=0.2,
        effect_lift_conversion=(0.01, 0.02),
        effect_lift_revenue=(0.05, 0.05),  # one number stands for both treatments
        revenue_mean=20.0,
        revenue_sd=4.0,
        revenue_tail="lognormal",
        propensity_sd=0.5,
        duplicate_share=0.01,
        late_share=0.02,
        crossover_share=0.03,
        actual_shares=(0.5, 0.1, 0.4),  # in the resolved order, control first
        pre_trend=0.01,
        replicates=30,
        arrival="first_day",
    )
    assert experiment.segments == experiment.replicated_by == ("replicate",)
    assert experiment.analyses.did_days == 5, "a week, or as much of it as the pre-period has"


@pytest.mark.parametrize("name", [path.stem for path in sorted(VALID.glob("*.yaml"))])
def test_an_experiment_survives_json(name: str, tmp_path: Path) -> None:
    experiment = load(name, tmp_path)
    adapter = TypeAdapter(Experiment)

    again = adapter.validate_json(adapter.dump_json(experiment))

    assert again == experiment
    assert again.spec_file == experiment.spec_file
