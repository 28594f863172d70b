"""The demo believes no return code: it looks for every task, every manifest and every spark-submit."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from exp_demo.laptop import Progress, _cause, faults_of_run
from exp_platform.config.loading import load_all
from exp_platform.stages.graph import stages_of
from orchestration.airflow_home import ROOT

EXPERIMENT = load_all(ROOT / "configs").experiments["exp_checkout_button_001"]
STAGES = [stage.name for stage in stages_of(EXPERIMENT)]
TASKS = ["check", *STAGES, "release"]
GREEN = dict.fromkeys(TASKS, "success")
XCOMS = {task: {"stage": task, "status": "success", "run_id": "r"} for task in TASKS}


def test_a_complete_run_has_no_fault() -> None:
    assert faults_of_run(EXPERIMENT, GREEN, XCOMS, submits=len(STAGES)) == []


@pytest.mark.parametrize(
    ("states", "xcoms", "submits", "said"),
    [
        pytest.param({}, {}, 0, "ab: no such task in the run", id="a green run without tasks"),
        pytest.param(GREEN | {"ab": "skipped"}, XCOMS, len(STAGES), "ab: skipped", id="up to date"),
        pytest.param(
            GREEN | {"ab": "failed"},
            XCOMS | {"ab": {"error": "too few users; wait"}},
            len(STAGES),
            "ab: failed: too few users; wait",
            id="a failed task tells its cause",
        ),
        pytest.param(
            GREEN,
            XCOMS | {"ab": None},
            len(STAGES),
            "ab: green, but its XCom holds no manifest",
            id="no manifest",
        ),
        pytest.param(
            GREEN, XCOMS | {"ab": XCOMS["did"]}, len(STAGES), "ab: green, but", id="another stage's manifest"
        ),
        pytest.param(
            GREEN,
            XCOMS | {"ab": XCOMS["ab"] | {"run_id": "old"}},
            len(STAGES),
            "of several runs",
            id="an old manifest",
        ),
        pytest.param(
            GREEN,
            XCOMS,
            len(STAGES) - 1,
            f"{len(STAGES) - 1} spark-submits for {len(STAGES)} stages",
            id="a stage that was not submitted",
        ),
    ],
)
def test_what_is_missing_is_a_fault(states, xcoms, submits, said) -> None:
    assert any(said in fault for fault in faults_of_run(EXPERIMENT, states, xcoms, submits=submits))


LOG = """\
12:00 [info] [DAG TEST] starting task_id=synth map_index=-1
12:00 [info] Spark-Submit cmd: spark-submit jobs/stage.py
12:01 [info] [DAG TEST] end task task_id=synth map_index=-1
12:01 [info] [DAG TEST] starting task_id=ingest map_index=-1
12:02 [error] Task failed with exception
Traceback (most recent call last):
  File "operators.py", line 1, in execute
airflow.sdk.exceptions.AirflowFailException: ingest failed: no such file; mend the spec
12:02 [info] [DAG TEST] end task task_id=ingest map_index=-1
"""


def test_tasks_are_shown_as_they_end_and_the_log_is_kept(tmp_path: Path) -> None:
    shown = StringIO()
    progress = Progress(Console(file=shown, width=100))
    progress.read(iter(LOG.splitlines(keepends=True)), tmp_path / "demo.log")
    synth, ingest = shown.getvalue().splitlines()
    assert (synth.split()[0], synth.split()[-1]) == ("synth", "✓")
    assert (ingest.split()[0], ingest.split()[-2:]) == ("ingest", ["✗", "failed"])
    assert progress.submits == 1
    assert (tmp_path / "demo.log").read_text() == LOG


def test_the_cause_of_a_failure_is_what_its_tracebacks_end_with() -> None:
    assert _cause(LOG.splitlines()) == [
        "airflow.sdk.exceptions.AirflowFailException: ingest failed: no such file; mend the spec"
    ]
    assert _cause(["nothing", "else"]) == ["nothing", "else"]
