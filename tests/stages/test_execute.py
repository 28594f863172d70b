"""Whatever a stage does, its try ends in a manifest that says what to do next."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from exp_platform.aggregates import read_aggregates
from exp_platform.analyses.row_codec import read_rows
from exp_platform.analyses.rows import ResultRow
from exp_platform.config.environment import Environment, project_root
from exp_platform.config.readings import RunState
from exp_platform.errors import ConfigError, DataError, LeaseError
from exp_platform.results.reader import Results
from exp_platform.stages.analyse import rows_path
from exp_platform.stages.execute import execute
from exp_platform.stages.run import Run, StageResult, manifest_path
from stages.frozen_runs import D1, D2, D3, a_run, carry_out


@pytest.fixture
def run(environment: Environment) -> Run:
    return a_run(environment, "r1")


def stub(monkeypatch: pytest.MonkeyPatch, outcome: StageResult | Exception) -> None:
    """Put a stage `ingest` in place that returns or raises this."""

    def run(run: Run) -> StageResult:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    module = ModuleType("exp_platform.stages.ingest")
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "exp_platform.stages.ingest", module)


def test_a_success_tells_what_the_stage_told_and_is_saved_under_its_try(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub(monkeypatch, StageResult(5, 4, {"exposures": 7}, ("one row was dropped",), {"buckets": 2}))
    manifest = execute(run, "ingest", 3)
    saved = json.loads(manifest_path(run.path, "ingest", 3).read_text())
    assert saved == json.loads(json.dumps(vars(manifest)))
    assert {
        name: saved[name] for name in ("run_id", "experiment_id", "stage", "try_number", "status", "error")
    } == {
        "run_id": "r1",
        "experiment_id": "exp_a",
        "stage": "ingest",
        "try_number": 3,
        "status": "success",
        "error": None,
    }
    assert (saved["rows_in"], saved["rows_out"], saved["snapshots"]) == (5, 4, {"exposures": 7})
    assert (saved["warnings"], saved["details"]) == (["one row was dropped"], {"buckets": 2})


@pytest.mark.parametrize(
    "error, retryable",
    [(DataError("bad rows;\n  mend them"), False), (ConfigError("no"), False), (LeaseError("busy"), True)],
)
def test_a_known_failure_is_one_line_without_traceback(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    retryable: bool,
) -> None:
    stub(monkeypatch, error)
    manifest = execute(run, "ingest", 1)
    assert (manifest.status, manifest.retryable) == ("failed", retryable)
    assert manifest.error is not None
    assert manifest.error.startswith(str(error).splitlines()[0])
    assert "\n" not in manifest.error
    assert caplog.records == []


def test_an_unexpected_failure_is_retryable_and_its_traceback_logged(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stub(monkeypatch, OSError("the disk is full"))
    with caplog.at_level(logging.ERROR):
        manifest = execute(run, "ingest", 1)
    assert manifest.retryable
    assert manifest.error is not None
    assert manifest.error.startswith("OSError: the disk is full; see the traceback above")
    assert "Traceback" in caplog.text


def test_an_analysis_knows_what_the_run_found_of_earlier_ones(environment: Environment) -> None:
    """A plan that had less alpha at the first look has no more now; a stage that forgets it would spend it."""
    fresh = a_run(environment, "r1", (D3,))
    frozen = replace(
        a_run(environment, "r2", (D3,)), state=RunState(fixed_alpha=0.01, sequential_alpha=0.001)
    )
    for run in (fresh, frozen):
        assert execute(run, "ab", 1).status == "success"
    levels = [[r.alpha for r in read_rows(rows_path(run, "ab"))] for run in (fresh, frozen)]
    assert levels == [pytest.approx([0.045 / 2] * 2), pytest.approx([0.01 / 2] * 2)]


def test_an_analysis_reads_the_aggregates_and_leaves_rows_of_every_day(environment: Environment) -> None:
    run = a_run(environment, "r1", (D1, D3))
    manifest = execute(run, "ab", 1)
    assert manifest.status == "success", manifest.error
    rows = read_rows(rows_path(run, "ab"))
    assert sorted((row.as_of_date, row.metric_id) for row in rows) == [
        (day, metric) for day in (D1, D3) for metric in ("buys", "orders")
    ]
    assert (manifest.rows_out, manifest.details) == (4, {"statuses": {"OK": 4}})


def test_a_skipped_analysis_leaves_the_stored_rows_of_that_day(environment: Environment) -> None:
    carry_out(a_run(environment, "r1", (D1, D3), seed=1))
    stored = Results(environment).rows(ResultRow, "exp_a", D3, method="ab")
    later = replace(a_run(environment, "r2", seed=2), skipped=("ab",))
    manifest = execute(later, "ab", 1)
    assert manifest.status == "success", manifest.error
    left = read_rows(rows_path(later, "ab"))
    assert sorted(left, key=repr) == sorted(stored, key=repr)
    assert {row.as_of_date for row in left} == {D3}
    carry_out(
        later,
        "publish",
        "srm",
        "cuped",
        "evidence",
        "did",
        "pretrends",
        "segments",
        "stability",
        "guardrails",
        "decision",
    )
    decision = Results(environment).latest_decision("exp_a")
    assert decision is not None
    assert (decision.run_id, decision.skipped) == ("r2", ("ab",))


@pytest.mark.parametrize("stage", ["cuped", "did", "pretrends"])
def test_other_skipped_analyses_come_from_their_own_rows_and_tables(
    environment: Environment, stage: str
) -> None:
    first = a_run(environment, "r1")
    carry_out(first)
    later = replace(a_run(environment, "r2"), skipped=(stage,))
    carry_out(later, stage)
    left, before = (sorted(read_rows(rows_path(run, stage)), key=repr) for run in (later, first))
    assert left == before


def test_skipped_aggregates_are_the_stored_ones_to_the_last_digit(environment: Environment) -> None:
    first = a_run(environment, "r1", (D1, D3), seed=1)
    carry_out(first)
    later = replace(a_run(environment, "r2", (D3,), seed=2), skipped=("aggregates",))
    carry_out(later, "aggregates")
    (before,) = (
        day
        for day in json.loads((first.path / "aggregates.json").read_text())
        if day["as_of_date"] == str(D3)
    )
    (after,) = json.loads((later.path / "aggregates.json").read_text())
    for day in (before, after):
        day["blocks"].sort(key=str)
        day["daily"].sort(key=str)
    assert after == before
    assert len(read_aggregates(later.path / "aggregates.json")[0].blocks) == 8


def test_what_is_skipped_and_not_stored_is_told(environment: Environment) -> None:
    run = replace(a_run(environment, "r1", (D2,)), skipped=("aggregates", "ab", "quality", "publish"))
    aggregates = execute(run, "aggregates", 1)
    assert (aggregates.status, aggregates.retryable) == ("failed", False)
    assert aggregates.error == "exp_a has no stored aggregates as of 2025-03-13: run it once without skipping"
    assert execute(run, "ab", 1).warnings == ("ab was skipped and has no stored rows, so there are none",)
    assert execute(run, "quality", 1).warnings == ("the quality of the data was not checked",)
    publish = execute(run, "publish", 1)
    assert publish.error is not None
    assert publish.error.startswith("stage publish cannot be skipped; allowed are quality, aggregates, srm")


def submit(run: Run, stage: str) -> subprocess.CompletedProcess[str]:
    job = project_root() / "jobs" / "stage.py"
    command = [sys.executable, str(job), "--run", str(run.path / "run.json"), "--stage", stage, "--try", "2"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_job_prints_its_manifest_and_ends_well(run: Run) -> None:
    ended = submit(run, "ab")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert Path(ended.stdout.strip()) == manifest_path(run.path, "ab", 2)
    assert json.loads(Path(ended.stdout.strip()).read_text())["status"] == "success"


def test_the_job_fails_with_one_clear_last_line(run: Run) -> None:
    ended = submit(run, "decision")  # no analysis has run
    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert last == "FAILED decision: the required stage srm left no rows; run it before `decision`"
    assert "Traceback" not in ended.stderr
    missing = submit(replace(run, folder=str(run.path.parent / "gone")), "ab")
    assert missing.returncode == 1
    assert missing.stderr.startswith("FAILED ab: cannot read the run")


def test_an_analysis_costs_no_import_that_it_has_no_use_for(run: Run) -> None:
    code = (
        "import sys\n"
        "from exp_platform.stages.execute import execute\n"
        "from exp_platform.stages.run import Run\n"
        "run = Run.load(sys.argv[1])\n"
        "for stage in ('srm', 'ab', 'cuped', 'did', 'pretrends', 'segments', 'stability', 'guardrails', 'evidence'):\n"
        "    assert execute(run, stage, 1).status == 'success', stage\n"
        "heavy = ['pyiceberg', 'pyarrow', 'pyspark', 'pandas', 'scipy.stats', 'scipy.optimize', 'sqlalchemy']\n"
        "heavy += ['scipy.special', 'scipy.linalg', 'numpy.f2py', 'unittest', 'yaml', 'exp_platform.config.environment']\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    command = [sys.executable, "-c", code, str(run.path / "run.json")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_a_job_keeps_arrow_from_importing_pandas(run: Run) -> None:
    """With it `publish` and `decision` import half as much again."""
    job, code = (
        project_root() / "jobs" / "stage.py",
        "import runpy, sys\n"
        "try:\n"
        "    runpy.run_path(sys.argv.pop(1), run_name='__main__')\n"
        "except SystemExit as ended:\n"
        "    print(ended.code, *(name in sys.modules for name in ('pyarrow.dataset', 'pandas.core')))\n",
    )
    command = [
        sys.executable,
        "-c",
        code,
        str(job),
        "--run",
        str(run.path / "run.json"),
        "--stage",
        "publish",
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "0 True False", ended.stderr


def test_what_the_decision_rests_on_cannot_be_skipped(environment: Environment) -> None:
    """Rows that were stored by another spec would decide for this one."""
    carry_out(a_run(environment, "r1", (D3,)))
    failed = execute(replace(a_run(environment, "r2", (D3,)), skipped=("evidence",)), "evidence", 1)
    assert (failed.error or "").startswith(
        "stage evidence cannot be skipped; allowed are quality, aggregates, srm, ab"
    )
