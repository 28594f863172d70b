"""A night of many experiments, decided by Airflow's own scheduler, whose tasks only let a clock go on.

Run with `. scripts/airflow-env.sh && .venv/bin/python benchmarks/night.py`. The scheduler's loop with its pools, priorities and retries
is the real one, on SQLite in a folder that goes again, and the DAGs are the project's, of as many specs as asked for. The executor is
this file's: a task ends when the clock of the simulation has come to its end, so hours take minutes. What is printed of the night is
in the clock's time; what the scheduler's loops take is in seconds of this machine.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SESSION_SHARE = {"ingest": 0.7, "aggregates": 0.3}  # of what an experiment's sessions take
PLAIN_SECONDS = 1.0  # what a stage without a session works
RETRY_SECONDS = 30.0
RETRIES = 2
DATA_COME_AFTER = 1800.0  # where an experiment waits for data on S3


@dataclass(frozen=True)
class Plan:
    """The night's experiments: seconds that the sessions of each take, which fail in `ingest`, which wait for their data."""

    seconds: dict[str, float]
    failing: frozenset[str]
    waiting: frozenset[str]
    overhead: float  # seconds of every task: a process of Airflow and its imports, a spark-submit

    def of_task(self, experiment: str, task: str) -> float:
        """Seconds from a task's start to its end."""
        work = self.seconds[experiment] * SESSION_SHARE[task] if task in SESSION_SHARE else PLAIN_SECONDS
        return self.overhead + work


@dataclass
class Night:
    """What happened, by the simulation's clock."""

    clock: float = 0.0
    to_come: list[tuple[float, int, Any, str]] = field(default_factory=list)  # when, a number, the task, what
    began: dict[str, float] = field(
        default_factory=dict
    )  # experiment -> its ingest's first try, in that order
    ended: dict[str, float] = field(default_factory=dict)
    running: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)  # the most tasks at once, by kind
    loops: list[float] = field(default_factory=list)  # CPU seconds of the scheduler's loops
    choosing: list[float] = field(default_factory=list)  # of these, choosing what starts among all that wait
    tasks: int = 0
    numbers: int = 0

    def start(self, key: Any, plan: Plan) -> None:
        """A task begins: what will come of it, and when."""
        experiment, task = experiment_of(key), key.task_id
        self.tasks += 1
        for kind in kinds(task):
            self.running[kind] += 1
            self.most[kind] = max(self.most[kind], self.running[kind])
        takes = plan.of_task(experiment, task)
        if task == "ingest":
            self.began.setdefault(experiment, self.clock)
        if task == "wait_for_source" and self.clock < DATA_COME_AFTER:
            self.expect(takes, key, "deferral")
            self.expect(max(takes + 1, DATA_COME_AFTER - self.clock), key, "arrival")
        elif task == "ingest" and experiment in plan.failing:
            last = key.try_number > RETRIES
            self.expect(takes, key, "last failure" if last else "failure")
            if not last:
                self.expect(takes + RETRY_SECONDS * 2 ** (key.try_number - 1), key, "retry")
        else:
            self.expect(takes, key, "success")

    def end(self, key: Any) -> None:
        """A task's process ends, with or without success."""
        for kind in kinds(key.task_id):
            self.running[kind] -= 1
        if key.task_id == "release":
            self.ended[experiment_of(key)] = self.clock

    def expect(self, after: float, key: Any, what: str) -> None:
        """Note what is to come."""
        self.numbers += 1
        heapq.heappush(self.to_come, (self.clock + after, self.numbers, key, what))

    def come(self) -> Iterator[tuple[Any, str]]:
        """What the clock has come to, in order."""
        while self.to_come and self.to_come[0][0] <= self.clock:
            _, _, key, what = heapq.heappop(self.to_come)
            yield key, what


def experiment_of(key: Any) -> str:
    """Whose task it is."""
    return str(key.dag_id).removeprefix("exp__")


def kinds(task: str) -> tuple[str, ...]:
    """What a task counts as."""
    return ("all", "sessions") if task in SESSION_SHARE else ("all",)


def plan_of(options: argparse.Namespace) -> Plan:
    """Experiments of different sizes, as they are: most take seconds, one in fifty half an hour to an hour."""
    draw = random.Random(options.seed)
    names = [f"night_{number:03}" for number in range(options.experiments)]
    seconds = {name: draw.lognormvariate(3.2, 1.2) for name in names}
    seconds |= {name: draw.uniform(1800, 3600) for name in draw.sample(names, max(1, len(names) // 50))}
    failing, waiting = (frozenset(draw.sample(names, n)) for n in (options.failing, options.waiting))
    return Plan(seconds, failing, waiting, options.overhead)


def write_specs(folder: Path, plan: Plan) -> None:
    """A spec for each, whose window is open today; its data lie in files, or on S3 where they are waited for."""
    start = (datetime.now(UTC) - timedelta(days=7)).date()
    content = {}
    for name in plan.seconds:
        place = f"s3://lake/{name}/" if name in plan.waiting else f"/data/{name}/"
        content[name] = {
            "owner": "growth",
            "hypothesis": "A green button sells.",
            "variants": [{"id": "control", "control": True}, {"id": "treatment"}],
            "window": {"start": str(start), "days": 28},
            "source": {
                "kind": "events",
                "exposures": {"path": place + "exposures.parquet"},
                "outcomes": {"path": place + "outcomes.parquet"},
            },
            "metrics": [{"id": "conversion", "type": "proportion", "event": "purchase", "role": "primary"}],
            "analyses": dict.fromkeys(("cuped", "did", "pretrends", "segments"), False),
            "schedule": {"active": True, "retries": RETRIES},
        }
    entries = {"environment": "embedded", "experiments": content}
    (folder / "dev.yaml").write_text(json.dumps(entries))


def set_variables(folder: Path, options: argparse.Namespace) -> None:
    """What Airflow and the platform read of the process' environment, before either is imported."""
    os.environ |= {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db",
        "AIRFLOW__CORE__PARALLELISM": str(options.parallelism),
        "AIRFLOW__SCHEDULER__MAX_DAGRUNS_PER_LOOP_TO_SCHEDULE": str(options.runs_per_loop),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "AIRFLOW__API_AUTH__JWT_SECRET": "of this process alone, which sends nothing",
        "EXP_CONFIG_DIR": str(folder / "configs"),
        "EXP_STATE_DIR": str(folder / "state"),
    }


def start_airflow(measured: Mapping[str, float]) -> None:
    """The database with its pools and DAGs, where so many seconds are remembered of earlier runs."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
    from airflow.models.pool import Pool
    from airflow.utils.db import initdb

    from exp_platform.config.environment import load_environment
    from exp_platform.tables.last_runs import note_seconds

    for experiment, seconds in measured.items():
        note_seconds(load_environment(), experiment, seconds)
    initdb()
    for name, pool in json.loads((ROOT / "configs" / "pools.json").read_text()).items():
        Pool.create_or_update_pool(name, pool["slots"], pool["description"], pool["include_deferred"])
    DagBundlesManager().sync_bundles_to_db()
    bag = BundleDagBag(ROOT / "dags" / "experiments.py", bundle_path=ROOT / "dags", bundle_name="dags-folder")
    assert not bag.import_errors, bag.import_errors
    sync_bag_to_db(bag, "dags-folder", None)


def executor_of(plan: Plan, night: Night, parallelism: int) -> Any:
    """An executor whose tasks take the time of the simulation's clock."""
    from airflow.executors.base_executor import BaseExecutor
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState as State

    def put(key: Any, state: State, **values: Any) -> None:
        with create_session() as session:
            task = {"dag_id": key.dag_id, "run_id": key.run_id, "task_id": key.task_id}
            session.query(TaskInstance).filter_by(**task).update({"state": state, **values})

    class Executor(BaseExecutor):
        """Starts what the scheduler hands it, and ends it when the clock has come to its end."""

        def _process_workloads(self, workload_items: Iterable[Any]) -> None:
            for workload in workload_items:
                key = workload.ti.key
                del self.queued_tasks[key]
                self.running.add(key)
                put(key, State.RUNNING)
                night.start(key, plan)

        def happen(self, key: Any, what: str) -> None:
            """Let happen what was to come, as Airflow's own processes would write it down."""
            now = datetime.now(UTC)
            if what == "retry":
                put(key, State.UP_FOR_RETRY, end_date=now - timedelta(hours=1))
            elif what == "arrival":
                put(key, State.SCHEDULED)
            else:
                night.end(key)
                if what == "deferral":
                    put(key, State.DEFERRED)
                elif what == "failure":
                    put(
                        key,
                        State.UP_FOR_RETRY,
                        end_date=now + timedelta(days=9),
                        retry_delay_override=RETRY_SECONDS,
                    )
                else:
                    put(key, State.FAILED if what == "last failure" else State.SUCCESS)
                self.success(key)

    return Executor(parallelism=parallelism)


def carry_out(plan: Plan, options: argparse.Namespace) -> Night:
    """The whole night: loops of the scheduler, and the clock put on whenever one starts no task, until nothing is left."""
    from airflow.jobs.job import Job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import func, select

    night, made = Night(), 0
    executor = executor_of(plan, night, options.parallelism)
    job = Job()
    with create_session() as session:
        session.add(job)
        session.flush()
        session.expunge(job)
    runner = SchedulerJobRunner(job=job, executors=[executor])
    choose = runner._critical_section_enqueue_task_instances

    def timed(session: Any) -> int:
        began = time.process_time()
        chosen = choose(session=session)
        night.choosing.append(time.process_time() - began)
        return chosen

    runner._critical_section_enqueue_task_instances = timed  # type: ignore[method-assign]
    while True:
        began = time.process_time()
        with create_session() as session:
            started = runner._do_scheduling(session)
            session.expunge_all()
        executor.heartbeat()
        with create_session() as session:
            runner._process_executor_events(executor=executor, session=session)
        night.loops.append(time.process_time() - began)
        if made < len(plan.seconds):  # Airflow makes ten runs a loop; the night begins when all are there
            with create_session() as session:
                made = session.scalar(select(func.count(DagRun.id))) or 0
        elif not started:
            if not night.to_come:
                return night
            night.clock = max(night.clock + options.pace, night.to_come[0][0])
            for key, what in night.come():
                executor.happen(key, what)
        if len(night.loops) % 100 == 0:
            done = f"{len(night.ended)} experiments have ended after {night.clock:,.0f} s"
            print(
                f"{len(night.loops)} loops, {sum(night.loops):.0f} s of CPU: {done}",
                file=sys.stderr,
                flush=True,
            )


def show(plan: Plan, night: Night) -> None:
    """The night in some lines."""
    count, sessions = len(plan.seconds), sum(plan.seconds.values())
    ended, loops = sorted(night.ended.values()), sorted(night.loops)
    waits = sorted(night.began.values())
    print(
        f"{count} experiments, {night.tasks} tasks; their sessions take {sessions:,.0f} s, the longest {max(plan.seconds.values()):,.0f} s"
    )
    print(
        f"the night took {ended[-1]:,.0f} s, {ended[-1] / count:.1f} s per experiment; half had ended after {statistics.median(ended):,.0f} s"
    )
    print(f"ingest began after {statistics.median(waits):,.0f} s (median), {waits[-1]:,.0f} s (last)")
    print(f"at once at most: {night.most['sessions']} sessions, {night.most['all']} tasks")
    begun = [name for name in night.began if name not in plan.waiting]
    order = [plan.seconds[name] for name in begun]
    inversions = sum(a < b for i, a in enumerate(order) for b in order[i + 1 :]) / (
        len(order) * (len(order) - 1) / 2
    )
    print(f"pairs of which the shorter began before the longer: {inversions:.1%} (50% by chance)")
    failed = [night.ended[name] for name in plan.failing]
    print(f"ended: {len(ended)} of {count}, {len(failed)} of which failed")
    print(
        f"the scheduler: {len(loops):,} loops, {sum(loops):,.0f} s of CPU; a loop {statistics.median(loops):.2f} s (median), "
        f"{loops[len(loops) * 99 // 100]:.2f} s (99%), {loops[-1]:.2f} s (most); choosing among what waits took {sum(night.choosing):,.0f} s of these, at most {max(night.choosing):.2f} s"
    )


def main() -> None:
    """Simulate one night as the options say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=200)
    parser.add_argument(
        "--failing", type=int, default=5, help="experiments whose ingest fails whatever it tries"
    )
    parser.add_argument(
        "--waiting", type=int, default=20, help="experiments whose data come half an hour late"
    )
    parser.add_argument("--overhead", type=float, default=3.0, help="seconds of every task beside its work")
    parser.add_argument("--parallelism", type=int, default=4)
    parser.add_argument(
        "--runs-per-loop", type=int, default=20, help="Airflow's max_dagruns_per_loop_to_schedule"
    )
    parser.add_argument(
        "--pace", type=float, default=2.0, help="seconds from one loop of the scheduler to the next"
    )
    parser.add_argument("--unmeasured", action="store_true", help="nothing is known of earlier runs")
    parser.add_argument("--seed", type=int, default=15)
    options = parser.parse_args()
    plan = plan_of(options)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "configs" / "experiments").mkdir(parents=True)
        (folder / "configs" / "environments").symlink_to(ROOT / "configs" / "environments")
        set_variables(folder, options)
        write_specs(folder / "configs", plan)
        start_airflow({} if options.unmeasured else plan.seconds)
        show(plan, carry_out(plan, options))


if __name__ == "__main__":
    main()
