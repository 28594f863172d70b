"""The hash names what an experiment computes: nothing more, nothing less, in every process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields, replace
from datetime import date
from typing import Any

import pytest
from pydantic import TypeAdapter

from exp_platform.config.allocation import Allocation
from exp_platform.config.environment import project_root
from exp_platform.config.experiment import Experiment, Variant, Window
from exp_platform.config.hashing import NOT_HASHED, config_hash
from exp_platform.config.metrics import Behaviour, DayWindow, Effect, Measure, Metric, Provenance, Role
from exp_platform.config.notify import Notify
from exp_platform.config.plans import AnalysisPlan, DecisionPlan, QualityThresholds, Schedule
from exp_platform.config.sources import TableSource, UnitsSource
from exp_platform.config.trigger import Trigger

METRIC = Metric("kept", "proportion", Role.PRIMARY, 1, Measure("kept", "any"))
SOURCE = UnitsSource(
    TableSource("csv", "u.csv", {"variant_id": "arm"}), {"a": "a", "b": "b"}, ("kept",), (), {}
)
EXPERIMENT = Experiment(
    id="x",
    owner="someone",
    hypothesis="Something happens.",
    variants=(Variant("a", 0.5), Variant("b", 0.5)),
    window=Window(date(2026, 1, 5), date(2026, 1, 18)),
    source=SOURCE,
    metrics=(METRIC,),
)
WORDS: dict[str, Any] = {
    "owner": "another",
    "description": "Longer.",
    "hypothesis": "Nothing happens.",
    "tags": ("new",),
    "schedule": Schedule(None, 9, True, 0, wait_for=("s3://lake/_SUCCESS",), wait_hours=1.0, after="lake"),
    "spec_file": "elsewhere.yaml",
    "source_file": "sources/shop.yaml",
    "retention_days": 30,
    "provenance": {"kept": Provenance("someone", "Whoever came back.", "configs/metrics/shop.yaml")},
    "units": {"kept": "EUR"},
    "notify": (Notify("slack", ("srm",), {"slack_webhook_conn_id": "team"}),),
}
NUMBERS: list[tuple[str, Any]] = [
    ("id", "y"),
    ("variants", (Variant("a", 0.4), Variant("b", 0.6))),
    ("variants", (Variant("b", 0.5), Variant("a", 0.5))),
    ("window", Window(date(2026, 1, 5), date(2026, 1, 19))),
    ("window", Window(date(2026, 1, 5), date(2026, 1, 18), "Europe/Berlin")),
    ("source", replace(SOURCE, outcomes=("kept", "spent"))),
    ("metrics", (replace(METRIC, direction=-1),)),
    ("metrics", (replace(METRIC, window=DayWindow(0, 7)),)),
    ("metrics", (replace(METRIC, mde=Effect(0.02, "relative")),)),
    ("metrics", (replace(METRIC, mde=Effect(0.02, "absolute")),)),
    ("metrics", (replace(METRIC, numerator=Measure("kept", "count", 2)),)),
    ("metrics", (replace(METRIC, numerator=Measure("kept", "count", 3)),)),
    ("trigger", Trigger("seen", 7)),
    ("trigger", Trigger("seen", 8)),
    ("segments", ("country",)),
    ("behaviours", (Behaviour("power_user", Measure("kept", "any"), 0.1),)),
    ("behaviours", (Behaviour("power_user", Measure("kept", "any"), 0.2),)),
    ("quality", QualityThresholds(max_duplicate_share=0.5)),
    ("analyses", AnalysisPlan(did_days=3)),
    ("analyses", AnalysisPlan(relative_interval="delta")),
    ("analyses", AnalysisPlan(relative_interval="log")),
    ("decision", DecisionPlan(estimate="cuped")),
    ("decision", DecisionPlan(sequential="group_sequential")),
    ("decision", DecisionPlan(looks=(date(2026, 1, 11),))),
    ("ramp", (Allocation(date(2026, 1, 5), (0.9, 0.1)), Allocation(date(2026, 1, 9), (0.5, 0.5)))),
]


@pytest.mark.parametrize("name", sorted(WORDS))
def test_words_and_timetable_do_not_change_it(name: str) -> None:
    assert config_hash(replace(EXPERIMENT, **{name: WORDS[name]})) == config_hash(EXPERIMENT)


def test_everything_else_changes_it() -> None:
    hashes = {config_hash(replace(EXPERIMENT, **{name: value})) for name, value in NUMBERS}

    assert len(hashes | {config_hash(EXPERIMENT)}) == len(NUMBERS) + 1


def test_every_field_is_in_one_of_both_lists() -> None:
    assert set(WORDS) == set(NOT_HASHED)
    assert {field.name for field in fields(Experiment)} == set(WORDS) | {name for name, _ in NUMBERS}


def test_it_is_the_same_after_a_run_was_frozen_and_read() -> None:
    adapter = TypeAdapter(Experiment)

    assert config_hash(adapter.validate_json(adapter.dump_json(EXPERIMENT))) == config_hash(EXPERIMENT)


def test_it_is_the_same_in_another_process() -> None:
    program = (
        "from pathlib import Path\n"
        "from exp_platform.config.hashing import config_hash\n"
        "from exp_platform.config.loading import load_experiment\n"
        "print(config_hash(load_experiment('exp_checkout_button_001', Path('configs/dev.yaml'))))"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": "include"},
            cwd=project_root(),
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    ]

    assert told[0] == told[1]
    assert re.fullmatch(r"[0-9a-f]{64}", told[0])


def test_a_value_without_canonical_form_is_refused() -> None:
    with pytest.raises(TypeError, match="set in an experiment has no canonical form"):
        config_hash(replace(EXPERIMENT, segments={"country"}))  # type: ignore[arg-type]
