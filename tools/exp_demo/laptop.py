"""`make demo`: one synthetic experiment through Airflow, watched, checked task by task, and its decision shown."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from exp_platform.config.asset import dag_id_of
from exp_platform.config.environment import load_environment, project_root
from exp_platform.config.experiment import Experiment
from exp_platform.config.loading import load_experiment
from exp_platform.errors import ExpPlatformError
from exp_platform.escaping import terminal
from exp_platform.orchestration.priority import CHECK, RELEASE
from exp_platform.orchestration.processes import end_process_tree
from exp_platform.stages.graph import stages_of

EXPERIMENT = "exp_checkout_button_001"

# What `airflow dags test` says in its log.
_STARTED = re.compile(r"\[DAG TEST\] starting task_id=(\w+)")
_ENDED = re.compile(r"\[DAG TEST\] end task task_id=(\w+)")
_FAILED = "Task failed with exception"
_SKIPPED = "Skipping task."
_SUBMITTED = "Spark-Submit cmd:"
_LAST_LINES = 30
_WIDTH = 150  # where standard output is no terminal


class DemoError(ExpPlatformError):
    """The demo did not end as it must; the message says where to look."""


@dataclass
class Progress:
    """What the log has told so far: a line for each task as it ends."""

    console: Console
    began: float = field(default_factory=time.monotonic)
    submits: int = 0
    trouble: str = ""

    def read(self, lines: Iterator[str], log: Path) -> None:
        """Copy the lines to the log file, and show how the tasks go."""
        with self.console.status("Airflow starts") as status, log.open("w") as copy:
            for line in lines:
                copy.write(line)
                copy.flush()
                if started := _STARTED.search(line):
                    self.began, self.trouble = time.monotonic(), ""
                    status.update(started[1])
                elif ended := _ENDED.search(line):
                    self._show(ended[1])
                self.submits += _SUBMITTED in line
                if _FAILED in line or _SKIPPED in line:
                    self.trouble = "failed" if _FAILED in line else "skipped"

    def _show(self, task: str) -> None:
        mark = (f"✗ {self.trouble}", "red") if self.trouble else ("✓", "green")
        seconds = time.monotonic() - self.began
        told = terminal(f"  {task:<12}{seconds:6.1f} s  ")
        self.console.print(Text.assemble(told, mark), highlight=False)


def run_demo(console: Console, experiment_id: str = EXPERIMENT) -> None:
    """Run an experiment by `airflow dags test`. Raises DemoError with the cause if anything is off."""
    if "AIRFLOW_HOME" not in os.environ:
        raise DemoError(
            "Airflow is not configured here; run `make demo`, or first `. scripts/airflow-env.sh`"
        )
    experiment, environment = load_experiment(experiment_id), load_environment()
    subprocess.run([project_root() / "scripts" / "airflow-init.sh"], check=True, stdin=subprocess.DEVNULL)
    log = environment.state_dir / "demo.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    began, clock = datetime.now(UTC), time.monotonic()
    dag_id = dag_id_of(experiment.id)
    told = terminal(f" through Airflow: {experiment.hypothesis}")
    console.print(Text.assemble((experiment.id, "bold"), told), highlight=False, soft_wrap=True)
    console.print(terminal(f"  airflow dags test {dag_id}; log: {log}"), highlight=False, soft_wrap=True)
    submits = _run_dag(console, dag_id, log)
    faults = faults_of_run(experiment, *what_is_left(dag_id, began), submits=submits)
    if faults:
        raise DemoError("\n".join([*faults, f"The whole log is {log}."]))
    minutes, seconds = divmod(round(time.monotonic() - clock), 60)
    tasks = len(stages_of(experiment)) + 2
    told = f"{tasks} tasks green, {submits} spark-submits, {minutes} min {seconds} s\n"
    console.print(terminal(told), highlight=False)
    _show_results(console, experiment)


def _run_dag(console: Console, dag_id: str, log: Path) -> int:
    """Run the DAG and return how many spark-submits its log tells of."""
    # Forced, because a second demo would else find the first one's results up to date and skip everything.
    command = [sys.executable, "-m", "airflow", "dags", "test", dag_id, "--conf", '{"force": true}']
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    progress = Progress(console)
    try:
        progress.read(iter(process.stdout), log)
        code = process.wait()
    finally:
        end_process_tree(process.pid)  # after Ctrl-C: the Spark job too
    if code != 0:
        lines = log.read_text().splitlines()
        raise DemoError(
            "\n".join([f"`airflow dags test {dag_id}` failed:", *_cause(lines), f"The whole log is {log}."])
        )
    return progress.submits


def _cause(lines: list[str]) -> list[str]:
    """The exceptions that the log ends its tracebacks with; where there is none, its last lines."""
    raised = [line for line in lines if re.match(r"[\w.]+(Exception|Error)\b.*: ", line)]
    return list(dict.fromkeys(raised)) or lines[-_LAST_LINES:]


def what_is_left(dag_id: str, since: datetime) -> tuple[dict[str, str], dict[str, Any]]:
    """The states and the XComs of the tasks of the newest run of a DAG, from Airflow's database."""
    from airflow.models.dagrun import DagRun
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        newest = (
            select(DagRun)
            .where(DagRun.dag_id == dag_id, DagRun.run_after >= since)
            .order_by(DagRun.id.desc())
        )
        run = session.scalars(newest).first()
        if run is None:
            return {}, {}
        states = {ti.task_id: str(ti.state) for ti in run.get_task_instances(session=session)}
        rows: Any = session.scalars(XComModel.get_many(run_id=run.run_id, dag_ids=dag_id, key="return_value"))
        return states, {row.task_id: XComModel.deserialize_value(row) for row in rows}


def faults_of_run(
    experiment: Experiment, states: dict[str, str], xcoms: dict[str, Any], *, submits: int
) -> list[str]:
    """What is not as it must be: every task there and green, a manifest of each, one spark-submit a stage.

    Airflow's return code does not tell: a run without any task is green too.
    """
    stages = [stage.name for stage in stages_of(experiment)]
    faults, run_ids = [], set()
    for task in [CHECK, *stages, RELEASE]:
        manifest = xcoms.get(task) or {}
        run_ids.add(manifest.get("run_id"))
        if states.get(task) != "success":
            faults.append(
                f"{task}: {states.get(task, 'no such task in the run')}: {manifest.get('error') or 'see the log'}"
            )
        elif (manifest.get("stage"), manifest.get("status")) != (task, "success"):
            faults.append(f"{task}: green, but its XCom holds no manifest of a success: {manifest}")
    if len(run_ids - {None}) > 1:
        faults.append("the manifests are of several runs")
    if submits != len(stages):
        faults.append(f"{submits} spark-submits for {len(stages)} stages")
    return faults


def _show_results(console: Console, experiment: Experiment) -> None:
    from exp_platform.report.content import load_report
    from exp_platform.report.tables import decision_panel, results_table
    from exp_platform.results.reader import Results
    from exp_platform.tables.folders import read_file

    environment = load_environment()
    memo = f"{environment.memos_dir}/{experiment.id}.md"
    if read_file(environment, memo) is None:
        raise DemoError(f"the run is green, but there is no memo at {memo}")
    report = load_report(Results(environment), experiment)
    console.print(decision_panel(report))
    console.print(results_table(report, width=console.width))
    told = f"Memo: {memo}, report: {environment.memos_dir}/{experiment.id}.html"
    console.print(terminal(told), highlight=False, soft_wrap=True)


def main(demo: Callable[[Console], None] = run_demo) -> int:
    """Run a demo on this terminal: 0 when all is as it must be."""
    try:
        width = None if sys.stdout.isatty() else _WIDTH
        demo(Console(width=width, markup=False, emoji=False))
    except ExpPlatformError as error:
        Console(stderr=True).print(
            terminal(f"The demo failed: {error}"), style="red", markup=False, highlight=False, soft_wrap=True
        )
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
