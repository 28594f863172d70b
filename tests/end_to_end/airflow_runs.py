"""DAG runs by the real `airflow dags test` with real spark-submits, and what Airflow's database knows of them."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from end_to_end.installation import ROOT, Installation
from exp_platform.orchestration.processes import end_process_tree
from orchestration import airflow_home


@dataclass(frozen=True)
class DagRun:
    """One finished DAG run: its tasks' states and tries, their XComs, and every call of spark-submit."""

    code: int
    log: str
    tasks: dict[str, str]
    tries: dict[str, int]
    xcoms: dict[str, dict[str, Any]]
    submits: list[list[str]]

    def last_words(self, task: str) -> str:
        """The line with which the log of a failed task's last try ends: the exception and its message."""
        of_task = self.log.rpartition(f"starting task_id={task} ")[2].partition(f"end task task_id={task} ")[
            0
        ]
        return [line for line in of_task.splitlines() if line.startswith("airflow.sdk.exceptions.")][-1]


class DagTest:
    """`airflow dags test exp__<experiment_id>` in an AIRFLOW_HOME of its own; several may run at once."""

    def __init__(
        self,
        installation: Installation,
        experiment_id: str,
        conf: dict[str, Any] | None = None,
        **variables: str,
    ) -> None:
        airflow_home.make_database()
        self.dag_id = f"exp__{experiment_id}"
        self._home = installation.folder / f"airflow_{experiment_id}"
        shutil.copytree(airflow_home.HOME, self._home)
        self._submits = self._home / "submits.jsonl"
        self._log = (self._home / "log.txt").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "airflow", "dags", "test", self.dag_id, "--conf", json.dumps(conf or {})],
            env=self._variables(installation) | variables,
            cwd=installation.folder,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            umask=0,  # the shell's: what is written must not depend on it
        )

    def ended(self) -> DagRun:
        """Wait for its end and read what it left."""
        code = self._process.wait()
        self._log.seek(0)
        log = self._log.read()
        self._log.close()
        database = sqlite3.connect(f"file:{self._home}/airflow.db?mode=ro", uri=True)
        try:
            of_dag = (self.dag_id,)
            tasks = database.execute(
                "SELECT task_id, state, try_number FROM task_instance WHERE dag_id = ?", of_dag
            )
            tasks = tasks.fetchall()
            xcoms = database.execute(
                "SELECT task_id, value FROM xcom WHERE dag_id = ? AND key = 'return_value'", of_dag
            ).fetchall()
        finally:
            database.close()
        return DagRun(
            code=code,
            log=log,
            tasks={task: state for task, state, _ in tasks},
            tries={task: tries for task, _, tries in tasks},
            xcoms={task: json.loads(value) for task, value in xcoms},
            submits=self._calls(),
        )

    @property
    def submitted_stages(self) -> list[str]:
        """The stages submitted so far."""
        return [call[call.index("--stage") + 1] for call in self._calls()]

    def stop(self) -> None:
        """End it, if a test gave up on it."""
        if self._process.poll() is None:
            end_process_tree(self._process.pid)  # asked politely, `dags test` would go on with its next task
            self._process.wait()
        self._log.close()

    def _calls(self) -> list[list[str]]:
        calls = self._submits.read_text().splitlines() if self._submits.exists() else []
        return [json.loads(call) for call in calls]

    def _variables(self, installation: Installation) -> dict[str, str]:
        programs = self._home / "bin"
        programs.mkdir()
        _write_program(programs / "spark-submit", self._submits)
        own = Path(sys.executable).parent
        return {
            **os.environ,
            **installation.variables_of_airflow,
            "AIRFLOW_HOME": str(self._home),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self._home}/airflow.db",
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
            "PATH": os.pathsep.join([str(programs), str(own), os.environ.get("PATH", os.defpath)]),
        }


def _write_program(path: Path, calls: Path) -> None:
    """A spark-submit that notes how it was called and then becomes the real one."""
    real = Path(sys.executable).with_name("spark-submit")
    note = "import json, sys; print(json.dumps(sys.argv[1:]))"
    path.write_text(
        f'#!/bin/sh\n{sys.executable} -S -E -c \'{note}\' "$@" >> "{calls}"\nexec "{real}" "$@"\n'
    )
    path.chmod(0o755)
