"""The registry has an analysis for every stage of that kind; all together are fast and light to import."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from analyses.simulated import aggregates, block, daily_block, experiment, metric
from exp_platform.analyses.registry import ANALYSES
from exp_platform.analyses.rows import read_rows, write_rows
from exp_platform.config.experiment import Effect, Guardrail, Role
from exp_platform.stages import graph


def test_every_analysis_stage_has_its_analysis() -> None:
    assert tuple(ANALYSES) == graph.ANALYSES


def test_ten_metrics_three_arms_and_twenty_segment_values_take_a_tenth_of_a_second() -> None:
    rng = np.random.default_rng(0)
    guard = Guardrail(Effect(0.05, "relative"), "warning")
    metrics = [
        metric(f"m{i}", role=Role.PRIMARY if i == 0 else Role.SECONDARY, covariates=["x"], guardrail=guard)
        for i in range(10)
    ]
    spec = experiment(*metrics, shares=(0.4, 0.3, 0.3), segments=("country",))
    arms, blocks = ("control", "t1", "t2"), []
    for m in metrics:
        for v in arms:
            values = rng.normal(10, 3, (2000, 2))
            blocks += [
                block(m.id, v, values, ("value", "x")),
                daily_block(m.id, v, rng.normal(size=(500, 14))),
            ]
            blocks += [
                block(m.id, v, part, ("value", "x"), segment="country", segment_value=f"c{i}")
                for i, part in enumerate(np.split(values, 20))
            ]
    day = aggregates(blocks)
    day.block("m0", "control")  # the index is made once, whoever asks first

    def seconds() -> float:
        started = time.process_time()
        rows = [row for analyse in ANALYSES.values() for row in analyse(spec, day)]
        taken = time.process_time() - started
        assert len(rows) == 3 + 20 + 20 + 20 + 20 * 8 + 400 + 20
        return taken

    # A tenth of a second on a quiet machine; a busy one gets twice that, and a traced run (coverage) more.
    assert min(seconds() for _ in range(5)) < (0.2 if sys.gettrace() is None else 1.0)


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
    )
    blocks = []
    for v in ("control", "t1"):
        values = rng.gamma(1.0, 3.0, (300, 2))
        blocks += [
            block("orders", v, values, ("value", "x")),
            block("orders", v, values, ("value", "x"), segment="tier", segment_value="free"),
            daily_block("orders", v, rng.poisson(1.0, (300, 14))),
        ]
    for name, analyse in ANALYSES.items():
        rows = analyse(spec, aggregates(blocks))
        write_rows(tmp_path / f"{name}.json", rows)
        assert rows
        assert read_rows(tmp_path / f"{name}.json") == rows
