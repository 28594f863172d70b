"""The specs that come with the platform are valid and say what the data they name hold."""

from __future__ import annotations

import csv
import gzip
import os
from datetime import date
from pathlib import Path

import pytest

from exp_platform.config.environment import project_root
from exp_platform.config.experiment import Variant
from exp_platform.config.loading import load_all, load_experiment, named_environment
from exp_platform.config.locations import expand_location
from exp_platform.config.metrics import Effect, Guardrail, Winsorise
from exp_platform.config.source_rules import SourceRules
from exp_platform.config.sources import SyntheticSource, UnitsSource

CONFIGS = project_root() / "configs"


@pytest.fixture
def data_dir(monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = Path(os.environ.get("EXP_DATA_DIR") or project_root().parent / "shared" / "data")
    if not (folder / "hillstrom.csv.gz").is_file():
        pytest.skip(f"the real data sets are not in {folder}")
    monkeypatch.setenv("EXP_DATA_DIR", str(folder))
    return folder


def test_all_are_valid_without_any_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EXP_DATA_DIR", raising=False)

    loaded = load_all(CONFIGS)

    assert [str(error) for error in loaded.errors] == []
    assert {
        "exp_checkout_button_001",
        "exp_add_cart_002",
        "exp_pricing_test_003",
        "exp_aa_004",
        "exp_underpowered_005",
        "exp_heavy_tail_006",
        "exp_srm_007",
        "exp_pretrend_008",
        "hillstrom",
        "cookie_cats",
    } <= loaded.experiments.keys()


def test_the_environment_is_embedded() -> None:
    assert named_environment(CONFIGS / "dev.yaml") == "embedded"


def test_the_first_experiment_has_the_original_values() -> None:
    experiment = load_experiment("exp_checkout_button_001", CONFIGS / "dev.yaml")

    assert experiment.source == SyntheticSource(
        n_users=30000,
        seed=42,
        days=14,
        pre_period_days=14,
        exposure_rate=0.85,
        base_conversion=0.10,
        effect_lift_conversion=(0.03,),
        effect_lift_revenue=(0.0,),
        revenue_mean=12.5,
        revenue_sd=3.0,
    )
    assert experiment.variants == (Variant("control", 0.5), Variant("treatment", 0.5))
    assert (experiment.window.start, experiment.window.end) == (date(2026, 1, 5), date(2026, 1, 18))


def test_each_scenario_has_its_fault_and_no_other() -> None:
    experiments = load_all(CONFIGS).experiments
    sources = {name: e.source for name, e in experiments.items() if isinstance(e.source, SyntheticSource)}

    assert sources["exp_aa_004"].effect_lift_conversion == (0.0,)
    assert sources["exp_aa_004"].effect_lift_revenue == (0.0,)
    assert sources["exp_underpowered_005"].n_users == 2000
    assert {name for name, s in sources.items() if s.revenue_tail == "lognormal"} == {"exp_heavy_tail_006"}
    assert {name for name, s in sources.items() if s.actual_shares} == {"exp_srm_007"}
    assert {name for name, s in sources.items() if s.pre_trend} == {"exp_pretrend_008"}
    assert not any(experiment.schedule.active for experiment in experiments.values())
    assert experiments["exp_heavy_tail_006"].metric("revenue").winsorise == Winsorise(upper=0.99)


def test_hillstrom_names_what_its_file_holds(data_dir: Path) -> None:
    experiment = load_experiment("hillstrom", CONFIGS / "dev.yaml")

    source = experiment.source
    assert isinstance(source, UnitsSource)
    columns, arms = columns_and_arms(source, experiment.spec_file)
    assert {*source.outcomes, *source.covariates, *source.attributes.values()} <= columns
    assert arms == set(source.variants)
    assert [variant.id for variant in experiment.variants] == ["no_email", "mens_email", "womens_email"]
    assert [variant.share for variant in experiment.variants] == pytest.approx([1 / 3] * 3)
    assert source.variants["Womens E-Mail"] == "womens_email"
    assert source.covariates == ("history",)
    assert experiment.segments == ("channel", "newbie", "zip_code")
    assert [metric.id for metric in experiment.metrics] == ["visit", "conversion", "spend"]


def test_cookie_cats_names_what_its_file_holds(data_dir: Path) -> None:
    experiment = load_experiment("cookie_cats", CONFIGS / "dev.yaml")

    source = experiment.source
    assert isinstance(source, UnitsSource)
    columns, arms = columns_and_arms(source, experiment.spec_file)
    assert {*source.outcomes, *source.table.columns.values()} <= columns
    assert arms == {"gate_30", "gate_40"} == set(source.variants)
    assert experiment.control.id == "gate_30"
    assert experiment.metric("sum_gamerounds").winsorise == Winsorise(upper=0.99)
    assert experiment.metric("retention_1").guardrail == Guardrail(Effect(0.05, "relative"), "critical")
    assert "cuped" in experiment.analyses.enabled, "it says NOT_APPLICABLE rather than nothing"


def columns_and_arms(source: UnitsSource, spec_file: str) -> tuple[set[str], set[str]]:
    with gzip.open(
        expand_location(source.table.location, spec_file, "source.path", SourceRules()), "rt"
    ) as file:
        rows = csv.DictReader(file)
        arms = {row[source.table.columns["variant_id"]] for row in rows}
        return set(rows.fieldnames or ()), arms
