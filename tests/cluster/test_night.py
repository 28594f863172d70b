"""Twelve experiments at once under a real scheduler, with stages that only sleep: who begins, how many at once, who is held up."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from cluster.cluster import USER, Cluster
from cluster.experiments import small
from cluster.standing_airflow import StandingAirflow, standing_airflow, until
from end_to_end.installation import ROOT, Installation
from exp_platform.orchestration.dag import SESSION_SLOTS
from exp_platform.tables.last_runs import note_seconds

COUNT = 12
NAMES = [f"night_{number:02}" for number in range(COUNT)]  # as they are triggered: the shortest first
SECONDS = {name: 2.0**number for number, name in enumerate(NAMES)}
FAILING = NAMES[8]
POOLS = json.loads((ROOT / "configs" / "pools.json").read_text())
SESSIONS = ("ingest", "aggregates")
PARALLELISM = 4
METRICS = [{"id": "bought", "type": "proportion", "column": "bought", "role": "primary"}]

SUBMIT = """#!{python}
import json, sys, time
from pathlib import Path
options = dict(zip(sys.argv, sys.argv[1:]))
run = json.loads(Path(options["--run"]).read_text())
name, stage, attempt = run["experiment"]["id"], options["--stage"], int(options["--try"])
began = time.time()
time.sleep(3 if stage in {sessions} else 0.2)
failed = name == "{failing}" and stage == "ingest"
told = dict(experiment=name, stage=stage, attempt=attempt, began=began, ended=time.time())
with open("{told}", "a") as file:
    file.write(json.dumps(told) + "\\n")
manifest = dict(run_id=run["run_id"], experiment_id=name, stage=stage, try_number=attempt, started_at="2026-03-03T00:00:00+00:00",
    seconds=1.0, status="failed" if failed else "success", error="no such luck" if failed else None, retryable=True)
path = Path(options["--run"]).parent / "manifests" / f"{{stage}}.{{attempt}}.json"
path.parent.mkdir(exist_ok=True)
path.write_text(json.dumps(manifest))
sys.exit(failed)
"""


@dataclass(frozen=True)
class Submit:
    """One try of one stage, as it told of itself; times in seconds."""

    experiment: str
    stage: str
    attempt: int
    began: float
    ended: float


@pytest.fixture(scope="module")
def night(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[StandingAirflow, list[Submit]]]:
    """All have begun at one moment and ended; their runs of before took what SECONDS says."""
    installation = Installation(tmp_path_factory.mktemp("night"))
    # No `synth`, whose tasks would go before every ingest
    entries = {
        name: small(seed=1)
        | {
            "source": {"kind": "units", "path": f"{installation.folder}/{name}.csv"},
            "metrics": METRICS,
            "schedule": {"retries": 1},
        }
        for name in NAMES
    }
    installation.entries(**entries)
    for name, seconds in SECONDS.items():
        (installation.folder / f"{name}.csv").write_text("user_id,variant_id,bought\n")
        note_seconds(installation.environment, name, seconds)
    cluster.postgres.make_database("airflow_night", USER)
    database = f"postgresql+psycopg2://{USER}:{cluster.password}@{cluster.postgres.address}/airflow_night"
    variables = {"AIRFLOW__CORE__PARALLELISM": str(PARALLELISM)}
    with standing_airflow(installation, database, **variables) as started:
        told = installation.folder / "told.jsonl"
        _fake(started, told)
        until(lambda: all(started.knows(f"exp__{name}") for name in NAMES), 300, "the DAGs")
        for name in NAMES:
            started.api.trigger(f"exp__{name}", {})  # paused: it waits in the queue
        with create_engine(database).begin() as connection:
            connection.execute(text("UPDATE dag SET is_paused = false"))
        until(lambda: all(started.all_ended(f"exp__{name}") for name in NAMES), 1500, "the end of the night")
        yield started, [Submit(**json.loads(line)) for line in told.read_text().splitlines()]


def _fake(started: StandingAirflow, told: Path) -> None:
    submit = started.home / "bin" / "spark-submit"
    submit.write_text(SUBMIT.format(python=sys.executable, sessions=SESSIONS, failing=FAILING, told=told))


def _firsts(submits: list[Submit], stage: str) -> list[Submit]:
    return sorted((s for s in submits if s.stage == stage and s.attempt == 1), key=lambda s: s.began)


def test_the_longest_begin_first(night: tuple[StandingAirflow, list[Submit]]) -> None:
    _, submits = night
    begun = [SECONDS[submit.experiment] for submit in _firsts(submits, "ingest")]
    assert len(begun) == COUNT
    inverted = sum(before < after for before, after in combinations(begun, 2))
    # Those that are checked at the same time may begin in another order
    assert inverted <= COUNT
    assert max(SECONDS.values()) in begun[:PARALLELISM]
    assert min(SECONDS.values()) in begun[-PARALLELISM:]


def test_never_more_at_once_than_the_pools_have_room_for(night: tuple[StandingAirflow, list[Submit]]) -> None:
    _, submits = night
    for moment in [submit.began for submit in submits]:
        running = [s for s in submits if s.began <= moment < s.ended]
        sessions = sum(s.stage in SESSIONS for s in running)
        assert sessions * SESSION_SLOTS <= POOLS["spark"]["slots"]
        assert len(running) - sessions <= POOLS["stages"]["slots"]
        assert len(running) <= PARALLELISM


def test_all_end_and_a_failing_one_holds_up_nobody(night: tuple[StandingAirflow, list[Submit]]) -> None:
    started, submits = night
    states = {
        name: started.api.run_state(f"exp__{name}", run)
        for name in NAMES
        for run in started.api.run_ids(f"exp__{name}")
    }
    assert states == {name: "failed" if name == FAILING else "success" for name in NAMES}
    first, second = sorted(
        (s for s in submits if s.experiment == FAILING and s.stage == "ingest"), key=lambda s: s.attempt
    )
    meanwhile = [s for s in submits if first.ended < s.began < second.began and s.experiment != FAILING]
    assert {s.stage for s in meanwhile} >= {"ingest"}  # its slots were others' until its retry


def test_the_first_to_begin_does_not_wait_for_the_last_to_be_done(
    night: tuple[StandingAirflow, list[Submit]],
) -> None:
    _, submits = night
    assert _firsts(submits, "decision")[0].ended < _firsts(submits, "ingest")[-1].began
