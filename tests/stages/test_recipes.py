"""The recipes of CONTRIBUTING.md for a quality check and a stage: what they name is all that it takes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from exp_platform.checks import CheckResult
from exp_platform.config.environment import Environment
from exp_platform.errors import DataError
from exp_platform.json_file import write_json
from exp_platform.kernels.measured import Measured
from exp_platform.stages import graph, quality, quality_checks
from exp_platform.stages.execute import execute
from exp_platform.stages.quality import read_checks
from exp_platform.stages.quality_evidence import Evidence
from exp_platform.stages.run import Run, StageResult, manifest_path
from stages.frozen_runs import a_run


def measured_run(environment: Environment) -> Run:
    """A run whose `ingest` has measured nothing at all."""
    run = a_run(environment, "r1")
    write_json(
        run.path / "ingest.json", {"measured": Measured().to_json(), "published_rows": None, "staged": {}}
    )
    return run


@pytest.mark.parametrize("warning", [True, False])
def test_a_check_is_a_function_and_its_place_in_the_list(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, warning: bool
) -> None:
    def too_few_mondays(e: Evidence) -> Iterator[CheckResult]:
        remedy = "run it for a second week"
        yield e.result(
            "mondays", "one Monday", remedy, failed=True, warning=warning, observed=1.0, threshold=2.0
        )

    monkeypatch.setattr(quality_checks, "_CHECKS", (too_few_mondays,))
    run = measured_run(environment)
    if warning:
        assert quality.run(run).warnings == ("mondays: one Monday: run it for a second week",)
    else:
        with pytest.raises(DataError, match="mondays: one Monday: run it for a second week"):
            quality.run(run)
    (stored,) = read_checks(run.path / "quality.json")
    assert (stored.check, stored.status, stored.observed, stored.threshold) == ("mondays", "failed", 1.0, 2.0)


def test_a_stage_is_a_module_and_its_line_in_the_list(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(run: Run) -> StageResult:
        (run.path / "sent.txt").write_text(run.experiment.id)
        return StageResult(rows_in=1, rows_out=1)

    module = ModuleType("exp_platform.stages.send")
    module.run = told  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    send = graph.Stage("send", ("memo",), required=False, doc="Sends the memo.")
    monkeypatch.setattr(graph, "STAGES", (*graph.STAGES, send))
    run = a_run(environment, "r1")
    assert graph.stages_of(run.experiment)[-1] == send
    assert execute(run, "send", 1).status == "success"
    assert json.loads(manifest_path(run.path, "send", 1).read_text())["rows_out"] == 1
    assert (run.path / "sent.txt").read_text() == "exp_a"
