from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exp_platform.config.environment import Environment
from exp_platform.errors import DataError, LeaseError
from exp_platform.tables.lease import Lease, force_release, held_lease, holder_of, release_dead


def test_a_second_holder_is_refused_with_the_first_ones_name_and_the_remedy(environment: Environment) -> None:
    Lease("exp_a", "airflow run 1", environment).acquire()
    with pytest.raises(
        LeaseError, match=r"exp_a is being run by airflow run 1 since .* UTC .*last heartbeat"
    ) as refused:
        Lease("exp_a", "exp run 2", environment).acquire()
    assert "`exp unlock exp_a`" in str(refused.value)
    Lease("exp_b", "exp run 2", environment).acquire()  # another experiment is free


def test_a_retry_of_the_same_holder_gets_its_lease_again(environment: Environment) -> None:
    for _ in range(2):
        Lease("exp_a", "run 1", environment).acquire()


def test_release_frees_only_what_is_ones_own(environment: Environment) -> None:
    first, second = Lease("exp_a", "run 1", environment), Lease("exp_a", "run 2", environment)
    first.acquire()
    second.release()
    with pytest.raises(LeaseError):
        second.acquire()
    first.release()
    second.acquire()


def test_a_lease_without_heartbeat_is_taken_over_and_its_old_holder_told(environment: Environment) -> None:
    dead = Lease("exp_a", "killed run", environment, ttl=0.2)
    dead.acquire()
    time.sleep(0.3)
    Lease("exp_a", "next run", environment).acquire()
    with pytest.raises(
        LeaseError, match="killed run has lost the lease of exp_a: exp_a is being run by next run"
    ):
        dead.heartbeat()


def test_how_long_a_lease_lives_without_heartbeat_is_its_holders_to_say(environment: Environment) -> None:
    Lease("exp_a", "a run with long waits", environment, ttl=60).acquire()
    time.sleep(0.3)
    with pytest.raises(LeaseError):
        Lease("exp_a", "an impatient run", environment, ttl=0.2).acquire()


def test_a_heartbeat_keeps_a_lease(environment: Environment) -> None:
    alive = Lease("exp_a", "run 1", environment, ttl=1.5)
    alive.acquire()
    for _ in range(2):
        time.sleep(0.9)
        alive.heartbeat()
    with pytest.raises(LeaseError):
        Lease("exp_a", "run 2", environment).acquire()


def test_force_release_names_whom_it_took_the_lease_from(environment: Environment) -> None:
    assert force_release(environment, "exp_a") is None
    Lease("exp_a", "run 1", environment).acquire()
    assert force_release(environment, "exp_a") == "run 1"
    assert holder_of(environment, "exp_a") is None


def test_a_held_lease_is_released_also_after_an_error(environment: Environment) -> None:
    def work() -> None:
        with held_lease(environment, "exp_a", "run 1"):
            assert holder_of(environment, "exp_a").holder == "run 1"  # type: ignore[union-attr]
            raise DataError("a stage failed")

    with pytest.raises(DataError):
        work()
    assert holder_of(environment, "exp_a") is None


def test_work_whose_lease_is_taken_is_stopped_and_told_by_whom(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exp_platform.tables.lease.beating.__wrapped__.__defaults__", (0.05,))

    def work() -> None:
        with held_lease(environment, "exp_a", "run 1"):
            force_release(environment, "exp_a")
            Lease("exp_a", "run 2", environment).acquire()
            time.sleep(5)

    with pytest.raises(LeaseError, match="stopped: exp_a is being run by run 2"):
        work()
    assert holder_of(environment, "exp_a").holder == "run 2"  # type: ignore[union-attr]


def test_of_processes_that_acquire_at_once_exactly_one_wins(environment: Environment, tmp_path: Path) -> None:
    go = tmp_path / "go"
    code = (
        "import pathlib, sys, time\n"
        "from exp_platform.config.environment import load_environment\n"
        "from exp_platform.errors import DataError, LeaseError\n"
        "from exp_platform.tables.lease import Lease\n"
        f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.001)\n"
        "won = 0\n"
        "for n in range(20):\n"
        "    try:\n"
        "        Lease(f'exp_{n}', sys.argv[1], load_environment()).acquire()\n"
        "        won += 1\n"
        "    except LeaseError:\n"
        "        pass\n"
        "print(won)\n"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code, f"run {n}"], stdout=subprocess.PIPE, text=True
        )
        for n in range(3)
    ]
    time.sleep(1)
    go.touch()
    wins = [int(racer.communicate(timeout=60)[0]) for racer in racers]
    assert sum(wins) == 20


def test_the_lease_imports_no_arrow() -> None:
    code = "import sys, exp_platform.tables.lease; print([m for m in ('pyarrow', 'pyiceberg', 'pyspark') if m in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_each_claim_and_each_new_holder_has_a_higher_token(environment: Environment) -> None:
    """Tokens rise through releases too, so that nobody's old token ever fits again."""
    first, second = Lease("exp_a", "run 1", environment), Lease("exp_a", "run 2", environment)
    first.acquire()
    tokens = [first.claim(), first.claim()]
    first.acquire()  # once more by the same holder, as each task of a DAG run does
    tokens.append(first.claim())
    first.release()
    second.acquire()
    tokens.append(second.claim())
    second.release()
    first.acquire()
    tokens.append(first.claim())
    assert tokens == sorted(set(tokens))
    with pytest.raises(LeaseError, match="run 2 has lost the lease of exp_a"):
        second.claim()


def test_leases_of_an_older_version_get_their_tokens(environment: Environment) -> None:
    environment.prepare()
    with sqlite3.connect(environment.lease_database.uri) as database:
        database.execute(
            "CREATE TABLE exp_leases (experiment_id VARCHAR(64) PRIMARY KEY, holder VARCHAR(255) NOT NULL, "
            "acquired_at DOUBLE PRECISION NOT NULL, heartbeat_at DOUBLE PRECISION NOT NULL, ttl DOUBLE PRECISION NOT NULL)"
        )
        database.execute("INSERT INTO exp_leases VALUES ('exp_a', 'run 1', 1, 1, 300)")
    lease = Lease("exp_a", "run 2", environment)
    lease.acquire()
    assert lease.claim() > 0


def test_a_live_runs_lease_is_only_released_by_force(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert release_dead(environment, "exp_a") is None
    Lease("exp_a", "run 1", environment).acquire()
    with pytest.raises(LeaseError, match=r"run 1, which gave a sign of life 0 seconds ago.*--force"):
        release_dead(environment, "exp_a")
    assert holder_of(environment, "exp_a") is not None
    monkeypatch.setattr("exp_platform.tables.lease.FRESH", 0.0)
    assert release_dead(environment, "exp_a") == "run 1"
    assert holder_of(environment, "exp_a") is None
