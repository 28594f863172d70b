"""Processes for `test_many_at_once`: python -m stages.many_at_once ROLE ARGUMENT..., under an installation's variables.

`run` publishes and decides one experiment again and again, `read` reads all of them until a file appears, `maintain`
compacts as often as it can until then.
"""

from __future__ import annotations

import os
import shutil
import sys
from datetime import timedelta
from pathlib import Path

from exp_platform.config.analyses import NAMES
from exp_platform.config.environment import load_environment
from exp_platform.report.content import load_report
from exp_platform.results.reader import Results
from exp_platform.stages.run import Run
from exp_platform.tables import maintenance
from exp_platform.tables.lease import Lease
from stages.frozen_runs import D1, D3, a_run, an_experiment, carry_out


def run(experiment_id: str, rounds: int) -> None:
    """The analyses, which commit nothing, are made once for each of two seeds."""
    environment = load_environment()
    analysed: dict[int, Run] = {}
    for number in range(rounds):
        seed = number % 2
        one = a_run(environment, f"r{number:03d}", (D1, D3), an_experiment(experiment_id), seed)
        lease = Lease(experiment_id, f"{one.run_id} pid {os.getpid()}", environment)
        while True:
            try:
                lease.acquire()
                break
            except Exception:  # maintenance has it for a moment
                continue
        held = Run(**{**vars(one), "holder": lease.holder})
        held.save()
        carry_out(held, "publish")
        if seed in analysed:
            shutil.copytree(analysed[seed].path / "rows", held.path / "rows")
        else:
            carry_out(held, *NAMES)
            analysed[seed] = held
        carry_out(held, "decision")
        lease.release()


def read(until: Path, experiment_ids: list[str]) -> None:
    """Every report must be whole and of one run; tells how many were."""
    results, whole = Results(load_environment()), 0
    while not until.exists():
        for experiment_id in experiment_ids:
            if not results.decisions(experiment_id):
                continue
            report = load_report(results, an_experiment(experiment_id))
            stored = report.stored
            assert len(report.rows) == stored.result_rows["analysis_results"], experiment_id
            assert len(report.checks) == stored.result_rows["data_quality_results"], experiment_id
            effects = {row.estimate for row in report.rows if (row.method, row.metric_id) == ("ab", "orders")}
            assert stored.effect in effects, (experiment_id, stored.effect, effects)
            whole += 1
    print(whole)


def maintain(until: Path) -> None:
    """Tells how many partitions it compacted."""
    maintenance.MAX_FILES = 2
    compacted = 0
    while not until.exists():
        compacted += maintenance.maintain(load_environment(), keep=timedelta(days=3)).compacted
    print(compacted)


if __name__ == "__main__":
    role, *arguments = sys.argv[1:]
    if role == "run":
        run(arguments[0], int(arguments[1]))
    elif role == "read":
        read(Path(arguments[0]), arguments[1:])
    else:
        maintain(Path(arguments[0]))
