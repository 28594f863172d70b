"""A new analysis is its file, one line of the declaration and one section of the memo, and runs from spec to memo."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from exp_platform.config.environment import project_root

LINE = '    Analysis("toy", "How many more users the treatment has."),\n'
FILE = '''"""Toy: treatment's users less control's, of every metric."""

from exp_platform.analyses.rows import ResultRow, Status


def analyse(experiment, aggregates, state):
    rows = []
    for metric in experiment.metrics:
        for treatment in experiment.treatments:
            n = [aggregates.block(metric.id, v.id).moments.n for v in (experiment.control, treatment)]
            key = (aggregates.as_of_date, "toy", metric.id, str(metric.kind), str(metric.role), treatment.id)
            rows.append(ResultRow(*key, experiment.control.id, "all", "all", Status.OK, estimate=float(n[1] - n[0])))
    return rows
'''
SECTION = """## Toy

{% for r in report.of_method("toy") %}
- {{ r.metric_id }}: {{ r.estimate | change("count") }} more users
{% endfor %}

"""
SPEC = """
experiments:
  exp_toy: &spec
    owner: someone
    hypothesis: A toy.
    variants: [{id: control, control: true}, {id: treatment}]
    window: {start: 2026-01-05, days: 7}
    source: {kind: synthetic, n_users: 3000, seed: 5}
    metrics: [{id: conversion, type: proportion, event: purchase, role: primary}, {id: pageviews, type: count, event: pageview}]
    analyses: {toy: true}
  exp_plain:
    <<: *spec
    analyses: {toy: false}
"""


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with the three additions, and a spec."""
    root = tmp_path_factory.mktemp("extended")
    package = root / "include" / "exp_platform"
    shutil.copytree(
        project_root() / "include" / "exp_platform", package, ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(project_root() / "configs" / "environments", root / "configs" / "environments")
    (root / "configs" / "dev.yaml").write_text(SPEC)
    (package / "analyses" / "toy.py").write_text(FILE)
    (package / "report" / "templates" / "sections" / "45_toy.md.j2").write_text(SECTION)
    declared = package / "config" / "analyses.py"
    text = declared.read_text()
    assert text.count('    Analysis("segments",') == 1
    declared.write_text(text.replace('    Analysis("segments",', LINE + '    Analysis("segments",'))
    return root


def python(root: Path, *arguments: str) -> str:
    variables = {
        **os.environ,
        "PYTHONPATH": str(root / "include"),
        "EXP_STATE_DIR": str(root / "state"),
        "COLUMNS": "160",
    }
    variables.pop("EXP_CONFIG_DIR", None)
    ran = subprocess.run(
        [sys.executable, *arguments], cwd=root, env=variables, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def exp(root: Path, *arguments: str) -> str:
    return python(root, "-m", "exp_platform.cli", *arguments)


def test_it_runs_from_spec_to_memo(extended: Path) -> None:
    exp(extended, "run", "exp_toy")
    memo = (extended / "state" / "memos" / "exp_toy" / "appendix.md").read_text()
    twin = json.loads((extended / "state" / "memos" / "exp_toy.json").read_text())
    by_metric = {row["metric_id"]: row["estimate"] for row in twin["toy"]}
    plain = {row["metric_id"]: row["n_treatment"] - row["n_control"] for row in twin["metrics"]}
    assert by_metric == plain
    section = memo[memo.index("## Toy") : memo.index("## Segments")]
    assert section.count(" more users") == len(plain)
    shown = exp(extended, "results", "exp_toy", "--method", "toy")
    assert "toy, as of " in shown
    again = exp(extended, "run", "exp_toy", "--force", "--skip-toy")
    assert "toy" in again
    skipped = json.loads((extended / "state" / "memos" / "exp_toy.json").read_text())
    assert skipped["skipped"] == ["toy"]
    assert skipped["toy"] == twin["toy"]


def test_a_spec_can_switch_it_off_and_both_runners_know_it(extended: Path) -> None:
    code = (
        "from exp_platform.config.loading import load_experiment\n"
        "from exp_platform.stages.graph import stages_of\n"
        "for id in ('exp_toy', 'exp_plain'): print([s.name for s in stages_of(load_experiment(id))].count('toy'))"
    )
    assert python(extended, "-c", code).split() == ["1", "0"]
