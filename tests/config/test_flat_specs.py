"""The flat keys of `configs/dev.yaml` are a complete spec of a synthetic experiment."""

from __future__ import annotations

import textwrap
from datetime import date
from pathlib import Path

import pytest

from exp_platform.config.experiment import Experiment, Variant, Window
from exp_platform.config.loading import load_all
from exp_platform.config.metrics import Effect, Guardrail, Measure, Role
from exp_platform.config.plans import Schedule
from exp_platform.config.sources import SyntheticSource


def load(entry: str, tmp_path: Path) -> Experiment:
    write(entry, tmp_path)
    loaded = load_all(tmp_path)
    assert [str(error) for error in loaded.errors] == []
    return loaded.experiments["x"]


def faults(entry: str, tmp_path: Path) -> list[str]:
    write(entry, tmp_path)
    loaded = load_all(tmp_path)
    assert loaded.experiments == {}
    return [str(error).partition(": ")[2] for error in loaded.errors]


def write(entry: str, tmp_path: Path) -> None:
    text = textwrap.indent(textwrap.dedent(entry), "    ")
    (tmp_path / "dev.yaml").write_text(f"environment: embedded\nexperiments:\n  x:\n{text}")


def test_two_keys_are_enough(tmp_path: Path) -> None:
    experiment = load("days: 14\nn_users: 1000", tmp_path)

    assert experiment.variants == (Variant("control", 0.5), Variant("treatment", 0.5))
    assert experiment.window == Window(date(2026, 1, 5), date(2026, 1, 18), "UTC")
    assert experiment.source == SyntheticSource(
        n_users=1000,
        seed=42,
        days=14,
        pre_period_days=14,
        exposure_rate=0.85,
        base_conversion=0.1,
        effect_lift_conversion=(0.0,),
        effect_lift_revenue=(0.0,),
        revenue_mean=12.5,
        revenue_sd=3.0,
    )
    assert experiment.segments == ("device_type", "subscription_tier", "user_type")
    assert experiment.schedule == Schedule(cron="@daily", active=False)


def test_metrics_are_those_that_the_generated_events_have(tmp_path: Path) -> None:
    experiment = load("days: 14\nn_users: 1000\nbase_conversion: 0.2\nmin_practical_effect: 1%", tmp_path)

    described = {
        metric.id: (metric.kind, metric.role, metric.numerator, metric.denominator)
        for metric in experiment.metrics
    }
    value, orders = Measure("purchase", "sum"), Measure("purchase", "count")
    assert described == {
        "conversion": ("proportion", Role.PRIMARY, Measure("purchase", "any"), None),
        "revenue": ("mean", Role.SECONDARY, value, None),
        "orders": ("count", Role.SECONDARY, orders, None),
        "order_value": ("ratio", Role.SECONDARY, value, orders),
        "pageviews": ("count", Role.GUARDRAIL, Measure("pageview", "count"), None),
    }
    conversion = experiment.metric("conversion")
    assert (conversion.mde, conversion.baseline) == (Effect(0.2, "relative"), 0.2)
    assert conversion.min_practical_effect == Effect(0.01, "relative")
    assert experiment.metric("pageviews").guardrail == Guardrail(Effect(0.05, "relative"), "warning")
    assert [c.id for c in experiment.metric("revenue").covariates] == ["pre_revenue"]


def test_every_flat_key_reaches_the_experiment(tmp_path: Path) -> None:
    experiment = load(
        """\
        owner: someone
        hypothesis: Something happens.
        description: In words.
        start_date: 2026-02-01
        timezone: America/New_York
        days: 7
        n_users: 500
        treatment_share: 0.25
        actual_treatment_share: 0.75
        exposure_rate: 0.5
        base_conversion: 0.3
        effect_lift_conversion: -0.1
        effect_lift_revenue: 0.2
        revenue_mean: 10
        revenue_sd: 2
        revenue_tail: lognormal
        propensity_sd: 0
        pre_period_days: 3
        pre_trend: 0.1
        duplicate_share: 0.1
        late_share: 0.2
        crossover_share: 0.3
        seed: 9
        mde: {absolute: 0.05}
        schedule: {cron: null, active: true}
        tags: [one, two]
        """,
        tmp_path,
    )

    assert (experiment.owner, experiment.hypothesis) == ("someone", "Something happens.")
    assert experiment.description == "In words."
    assert experiment.tags == ("one", "two")
    assert experiment.window == Window(date(2026, 2, 1), date(2026, 2, 7), "America/New_York")
    assert experiment.variants == (Variant("control", 0.75), Variant("treatment", 0.25))
    assert experiment.source == SyntheticSource(
        n_users=500,
        seed=9,
        days=7,
        pre_period_days=3,
        exposure_rate=0.5,
        base_conversion=0.3,
        effect_lift_conversion=(-0.1,),
        effect_lift_revenue=(0.2,),
        revenue_mean=10.0,
        revenue_sd=2.0,
        revenue_tail="lognormal",
        propensity_sd=0.0,
        duplicate_share=0.1,
        late_share=0.2,
        crossover_share=0.3,
        actual_shares=(0.25, 0.75),
        pre_trend=0.1,
    )
    assert experiment.metric("conversion").mde == Effect(0.05, "absolute")
    assert experiment.schedule == Schedule(cron=None, active=True)
    assert experiment.analyses.did_days == 3, "no more days than the pre-period has"


def test_without_a_pre_period_what_needs_one_is_off(tmp_path: Path) -> None:
    experiment = load("days: 14\nn_users: 1000\npre_period_days: 0", tmp_path)

    assert experiment.analyses.enabled == ("srm", "ab", "segments", "stability", "guardrails", "evidence")
    assert all(metric.covariates == () for metric in experiment.metrics)


def test_an_entry_with_a_source_is_a_full_spec(tmp_path: Path) -> None:
    experiment = load(
        """\
        owner: someone
        hypothesis: Something happens.
        variants: [{id: a, control: true}, {id: b}]
        window: {start: 2026-02-01, days: 7}
        source: {kind: synthetic, n_users: 100}
        metrics: [{id: views, type: count, event: pageview, role: primary}]
        """,
        tmp_path,
    )

    assert [metric.id for metric in experiment.metrics] == ["views"]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("days: 14", ["experiments.x.n_users: found nothing; this key is required"]),
        ("days: 0\nn_users: 1000", ["experiments.x.days: found 0; allowed: at least 1"]),
        (
            "days: 14\nn_users: 1000\ntreatment_share: 1.5",
            ["experiments.x.treatment_share: found 1.5; allowed: at most 0.999"],
        ),
        (
            "days: 14\nn_users: 1000\neffect_lift_conversion: 0.95",
            [
                "experiments.x.effect_lift_conversion: found 0.95; "
                "base_conversion (0.1) plus the lift must stay between 0 and 1"
            ],
        ),
        (
            "days: 14\nn_users: 1000\nid: y",
            ["experiments.x.id: found 'y'; allowed: x, the entry's own key, or leave it out"],
        ),
        (
            "days: 14\nn_users: 1000\nseed: 1\nseed: 2",
            ["experiments.x.seed: found this key twice; a key may stand once: the second would silently win"],
        ),
        ("- 14", ["experiments.x: found [14]; a mapping of keys is required"]),
    ],
)
def test_faults_name_the_flat_key(entry: str, expected: list[str], tmp_path: Path) -> None:
    assert faults(entry, tmp_path) == expected


def test_an_unknown_flat_key_is_told_with_the_nearest_one(tmp_path: Path) -> None:
    (fault,) = faults("days: 14\nn_users: 1000\nexposure_rates: 0.5", tmp_path)

    assert fault.startswith(
        "experiments.x.exposure_rates: found an unknown key; did you mean exposure_rate? allowed: actual_treatment_share, "
    )
