"""The registry has an analysis for every stage of that kind; all together are fast and light to import."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np

from analyses.simulated import aggregates, block, daily_block, experiment, large, metric
from exp_platform.analyses.registry import analyse, analyse_all
from exp_platform.analyses.row_codec import read_rows, write_rows
from exp_platform.analyses.rows import Row
from exp_platform.config.analyses import NAMES
from exp_platform.config.metrics import Effect, Guardrail
from exp_platform.config.plans import AnalysisPlan
from exp_platform.config.trigger import Trigger


def test_every_analysis_stage_has_its_analysis() -> None:
    for name in NAMES:
        assert importlib.import_module(f"exp_platform.analyses.{name}").analyse


def test_every_metric_arm_and_segment_value_gets_its_row() -> None:
    """Ten metrics, three arms, twenty segment values; benchmarks/all_analyses.py times the same experiment."""
    spec, day = large()
    rows = analyse_all(spec, day)
    did = 20 * (1 + 28 + 1)  # the estimate, the event study of 28 days, the sensitivity
    stability = 20 * (14 + 1 + 1)  # the days, their trend, the test of cohorts, of which there are none
    segments = 400 + 20  # each value, and the joint test over all of them
    evidence = (
        20 + 2 + 1
    )  # what decides, the treatments against each other, the size of the one primary metric
    assert len(rows) == 4 + 20 + 20 + did + 20 * 15 + segments + stability + evidence + 20


def test_no_heavy_package_is_imported() -> None:
    heavy = ("scipy.stats", "scipy.optimize", "pyarrow", "pyiceberg", "pandas", "pyspark", "airflow")
    code = f"import sys, exp_platform.analyses.registry, exp_platform.decision; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_rows_of_every_analysis_can_be_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    spec = experiment(
        metric(covariates=["x"], guardrail=Guardrail(Effect(0.05, "relative"), "critical")),
        segments=("tier",),
        trigger=Trigger("checkout", 7),
        analyses=AnalysisPlan(bayes_prior_sd=Effect(0.3, "relative")),
    )
    blocks = []
    for v in ("control", "t1"):
        values = rng.gamma(1.0, 3.0, (300, 2))
        blocks += [
            block("orders", v, values, ("value", "x")),
            block("orders", v, values, ("value", "x"), segment="tier", segment_value="free"),
            daily_block("orders", v, rng.poisson(1.0, (300, 14))),
            block("orders", v, values[:, :1], kind="exposed"),
        ]
    before: list[Row] = []
    for name in NAMES:
        rows = analyse(name, spec, aggregates(blocks), rows=before)
        before += rows
        write_rows(tmp_path / f"{name}.json", rows)
        assert rows
        assert read_rows(tmp_path / f"{name}.json") == rows
