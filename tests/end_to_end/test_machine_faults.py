"""Faults of the machine, each met by a command as a person types it: one line with cause and remedy, and nothing half-written.

Everything is damaged beside one small experiment with results of two days, and put back; the last good results stay.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest

from end_to_end.installation import ROOT, Installation, Said
from end_to_end.own_data import events, events_spec
from exp_platform.errors import LONGEST
from exp_platform.tables import catalog, state_database
from exp_platform.tables.lease import holder_of
from machine import nearly_full_disk, read_only_disk

DAYS = (date(2026, 3, 14), date(2026, 3, 15))
RUN = ("run", "shop", "--as-of", str(DAYS[-1]), "--force", "--full")
RESULTS = ("results", "shop")
EXP = (sys.executable, "-W", "error", "-m", "exp_platform.cli")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An experiment with results of two days."""
    made = Installation(tmp_path_factory.mktemp("shop"))
    events_spec(made, made.folder / "in", *events(600))
    for day in DAYS:
        made.run("shop", as_of_dates=[day])
    return made


def said(
    shop: Installation, *arguments: str, before: Sequence[str] = (), seconds: float = 60, **variables: str
) -> Said:
    """How the command `exp` ended in a process of its own; `before` is a command that starts it."""
    done = subprocess.run(
        [*before, *EXP, *arguments],
        env=os.environ | shop.variables | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def refused(found: Said) -> str:
    """The one line with which a command failed."""
    assert found.code == 1, found
    assert "Traceback" not in found.out + found.err
    assert max(map(len, found.err.splitlines())) <= LONGEST + 100
    (line,) = found.err.splitlines()
    assert line.startswith("error: ")
    return line


@contextmanager
def put_back(*places: Path) -> Iterator[None]:
    """Whatever happens to these files and folders in the block is undone."""
    places = tuple(dict.fromkeys(places))
    aside = [place.with_name(f"{place.name}.aside") for place in places]
    for place, kept in zip(places, aside, strict=True):
        if place.exists():
            shutil.copytree(place, kept) if place.is_dir() else shutil.copy2(place, kept)
    try:
        yield
    finally:
        for place, kept in zip(places, aside, strict=True):
            shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
            if kept.exists():
                kept.rename(place)


def forget_connections() -> None:
    """This process opens the database anew: a test may have put another file there."""
    for opened in (catalog._open, catalog._existing, state_database._engine):
        opened.cache_clear()


@pytest.fixture(autouse=True)
def nothing_is_lost(shop: Installation) -> Iterator[None]:
    """After each fault the results of both days are what they were, and nobody holds the lease."""
    forget_connections()
    before = [decision.document for decision in shop.results.decisions("shop")]
    yield
    forget_connections()
    assert [decision.document for decision in shop.results.decisions("shop")] == before
    assert holder_of(shop.environment, "shop") is None


def database(shop: Installation) -> Path:
    """The catalog's file, all commits in it and nothing beside it, as the last process leaves it that closes it."""
    path = shop.state / "catalog.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    for beside in (Path(f"{path}-wal"), Path(f"{path}-shm")):  # this process has it open
        beside.unlink(missing_ok=True)
    return path


@pytest.mark.parametrize("damage", ["overwritten", "cut", "pages overwritten"])
def test_a_corrupt_catalog_is_told_as_one(shop: Installation, damage: str) -> None:
    path = database(shop)
    with put_back(path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        content = path.read_bytes()
        path.write_bytes(
            {
                "overwritten": b"x" * 5000,
                "cut": content[: len(content) // 2],
                "pages overwritten": content[:4096] + b"\xfe" * 8192 + content[12288:],
            }[damage]
        )
        for command in (RESULTS, RUN):
            assert "the catalog's database is damaged: stop what runs" in refused(said(shop, *command))


def test_a_read_only_state_is_read_and_a_run_says_why_it_cannot(shop: Installation) -> None:
    before = read_only_disk(shop.state)
    writable = said(shop, *RESULTS)
    database(shop)
    assert said(shop, *RESULTS, before=before) == writable
    assert writable.code == 0
    assert said(shop, "memo", "shop", before=before).code == 0
    assert "shop" in said(shop, "list", before=before).out
    assert "results can be read all the same" in refused(said(shop, *RUN, before=before))


@pytest.mark.parametrize("name", ["runs", "memos", "warehouse", "catalog.db"])
def test_a_file_where_a_folder_should_be_and_the_other_way_round_are_told(
    shop: Installation, name: str
) -> None:
    database(shop)
    place = shop.state / name
    with put_back(place, shop.state / "catalog.db"):
        shutil.rmtree(place) if place.is_dir() else place.unlink()
        place.mkdir() if name == "catalog.db" else place.write_text("x")
        told = refused(said(shop, *RUN))
        assert any(
            words in told for words in ("a file lies where a folder", "cannot be made", "cannot be opened")
        )
        assert name in told
        if name in ("runs", "memos"):
            assert said(shop, *RESULTS).code == 0


# On a disk that only this process and its children see: a run, what it left, the results; then with room, and another run.
ON_A_FULL_DISK = """
import json, pathlib, subprocess, sys
state, exp, run, results = pathlib.Path(sys.argv[1]), *map(json.loads, sys.argv[2:])
def said(command):
    done = subprocess.run(exp + command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr
first = said(run)
partial = [str(path) for path in state.rglob("*") if "partial" in path.name or path.parent.name == "tmp" and path.is_dir()]
full = said(results)
(state / "ballast").unlink()
print(json.dumps([first, partial, full, said(results), said(run)]))
"""


# `exp` as if the data were too many for one process: by Spark, as on a cluster, or by processes of our own. With "kill" the
# JVM, or one of the processes, dies as soon as it has begun.
WITH_MANY = """
import os, signal, sys, threading
from exp_platform.spark import session
from exp_platform.stages import pool, rounds, workers
by, how, *arguments = sys.argv[1:]
rounds.bucket_count = lambda exposures, outcomes: 2
workers.FEW_ROWS = 0
ours, start, begin = workers.workers, session.workers, pool._Worker.__init__
def by_spark(name, environment, rows):
    return ours(name, environment, rows, by_spark=True)
def dying(*arguments):
    context = start(*arguments)
    pid = int(context._jvm.java.lang.ProcessHandle.current().pid())
    threading.Timer(0.2, os.kill, (pid, signal.SIGKILL)).start()
    return context
def begun(worker):
    begin(worker)
    worker._process.kill()
if by == "spark":
    rounds.workers = lambda *given, **_: by_spark(*given)
if how == "kill":
    session.workers, pool._Worker.__init__ = dying, begun
sys.argv = ["exp", *arguments]
from exp_platform.cli import main
main()
"""


def with_many(shop: Installation, by: str, how: str = "", **variables: str) -> Said:
    done = subprocess.run(
        [sys.executable, *(("-W", "error") if by == "processes" else ()), "-c", WITH_MANY, by, how, *RUN],
        env=os.environ | shop.variables | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )
    spoken = [line for line in done.stderr.splitlines() if "incubator modules" not in line]
    return Said(done.returncode, done.stdout, "\n".join(spoken))


def left_on_the_way(state: Path) -> list[Path]:
    """Folders of rows that travelled from one task to another."""
    return [path for path in (state / "tmp").glob("*") if path.is_dir()]


@pytest.mark.parametrize("command", [EXP, (sys.executable, "-W", "error", "-c", WITH_MANY, "processes", "")])
@pytest.mark.parametrize("kilobytes", [8, 200])
def test_a_full_disk_costs_the_run_and_nothing_else(
    shop: Installation, kilobytes: int, command: Sequence[str]
) -> None:
    before = nearly_full_disk(shop.state, kilobytes)
    database(shop)
    good = said(shop, *RESULTS)
    arguments = [str(shop.state), *(json.dumps(command) for command in (command, RUN, RESULTS))]
    done = subprocess.run(
        [*before, sys.executable, "-c", ON_A_FULL_DISK, *arguments],
        env=os.environ | shop.variables,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    run, partial, full, roomy, again = json.loads(done.stdout)
    assert "the disk is full: free some space" in refused(Said(*run))
    assert partial == []
    assert full == roomy == [0, good.out, ""]
    assert again[0] == 0, again  # at once: nobody holds the lease


def test_processes_of_our_own_say_nothing_and_leave_nothing(shop: Installation) -> None:
    found = with_many(shop, "processes")
    assert (found.code, found.err) == (0, "")
    assert left_on_the_way(shop.state) == []


def test_a_process_that_is_killed_ends_the_run_in_one_line(shop: Installation) -> None:
    told = refused(with_many(shop, "processes", "kill"))
    assert (
        "ingest: a process that took a share of the work ended in the middle of it (SIGKILL): run again"
        in told
    )
    assert left_on_the_way(shop.state) == []


@pytest.mark.parametrize("home", ["/nowhere", "/etc/passwd"])
def test_a_wrong_java_home_is_named(shop: Installation, home: str) -> None:
    told = refused(with_many(shop, "spark", JAVA_HOME=home))
    assert f"ingest: JAVA_HOME is {home}, which has no bin/java that can be run: set it to" in told


def test_a_java_that_does_not_start_is_told(shop: Installation, tmp_path: Path) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\nexit 1\n")
    java.chmod(0o755)
    found = with_many(shop, "spark", JAVA_HOME=str(tmp_path))
    assert found.code == 1
    assert "Traceback" not in found.err
    assert found.err.splitlines()[-1].startswith("error: ingest: Java did not start: set JAVA_HOME")


def test_a_jvm_that_dies_in_mid_stage_ends_the_run_in_one_line(shop: Installation) -> None:
    assert "ingest: Spark died in the middle of work: run again" in refused(with_many(shop, "spark", "kill"))


def test_a_port_in_use_is_told(shop: Installation) -> None:
    environment = shop.configs / "environments" / "embedded.yaml"
    with put_back(environment), socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        properties = f"{{spark.driver.port: '{taken.getsockname()[1]}', spark.port.maxRetries: '0'}}"
        environment.write_text(f"{environment.read_text()}\n  properties: {properties}\n")
        found = with_many(shop, "spark")
    last = found.err.splitlines()[-1]  # Spark's own log comes before
    assert found.code == 1
    assert "Traceback" not in found.err
    assert last.startswith(
        "error: ingest: a port is in use: stop what listens there, or take the fixed port out"
    )


def test_a_port_of_airflow_that_is_in_use_is_told_before_it_starts() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [str(ROOT / "scripts" / "airflow-port.sh")]
        variables = os.environ | {"AIRFLOW__API__HOST": "127.0.0.1", "AIRFLOW__API__PORT": str(port)}
        busy = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert busy.returncode == 1
    assert f"port {port} of 127.0.0.1 is in use" in busy.stderr
    assert f"EXP_AIRFLOW_PORT={port + 10} make airflow" in busy.stderr
    assert subprocess.run(command, env=variables).returncode == 0
