"""Two live processes on one experiment, met at every commit: the newer one's work stands, once, and the older one is told.

The older one stops at one of its commits, as a process does that the machine suspends; the newer one does all of its work; then
the older one goes on. It stops before it looks at its fence, or between that look and the swap of the table's metadata.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from exp_platform.config.analyses import NAMES
from exp_platform.config.environment import Environment, load_environment
from exp_platform.report.content import load_report
from exp_platform.results.reader import Results
from exp_platform.stages.execute import execute
from exp_platform.stages.run import Manifest, Run
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.lease import Lease, force_release
from exp_platform.tables.write import _Transaction
from stages.frozen_runs import D1, D3, a_run, carry_out
from stages.test_killed import stored

pytestmark = pytest.mark.e2e  # with real commits, or Airflow's own tasks: longer than a unit test may take

BEFORE = {"publish": (), "decision": ("publish", *NAMES)}
EVERY = {"publish": 1, "decision": 4}  # commits between two pauses: those of result tables are made alike
PAUSES = {"publish": 3, "decision": 3}  # at least


class Pause:
    """Stops the first process at its commit number `at`, once, and lets another one work meanwhile."""

    def __init__(self, at: int, meanwhile: Callable[[], None]) -> None:
        self.left, self.meanwhile, self.happened = at, meanwhile, False

    def here(self) -> None:
        self.left -= 1
        if self.left == -1:
            self.happened = True
            self.meanwhile()


@pytest.fixture
def pause_at(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Callable[[Pause], None]:
    """Make a pause happen: `before_look`, in the transaction that is about to look, or `before_swap`, right after it."""
    pauses: list[Pause] = []

    def passing(original: Callable[..., Any]) -> Callable[..., Any]:
        def stopped(*arguments: Any, **options: Any) -> Any:
            if pauses:
                pauses[-1].here()
            return original(*arguments, **options)

        return stopped

    if request.param == "before_look":
        monkeypatch.setattr(_Transaction, "commit_transaction", passing(_Transaction.commit_transaction))
    else:
        monkeypatch.setattr(SqlCatalog, "_write_metadata", staticmethod(passing(SqlCatalog._write_metadata)))
    return pauses.append


def held(run: Run, holder: str, environment: Environment) -> Run:
    """The run under the experiment's lease, as `check` leaves it."""
    Lease(run.experiment.id, holder, environment).acquire()
    run = replace(run, holder=holder)
    run.save()
    return run


def up_to(run: Run, stage: str) -> None:
    """What comes before a stage."""
    if BEFORE[stage]:
        carry_out(run, *BEFORE[stage])


def rest_of(run: Run, stage: str) -> None:
    """What comes after it."""
    if stage == "publish":
        carry_out(run, *NAMES, "decision")


def undisturbed(monkeypatch: pytest.MonkeyPatch, folder: Any, *runs: tuple[str, int]) -> dict[str, list[str]]:
    """What is stored where these runs, each with the seed of its data, had the platform to themselves."""
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("EXP_STATE_DIR", str(folder))
        environment = load_environment("embedded")
        for run_id, seed in runs:
            carry_out(a_run(environment, run_id, (D1, D3), seed=seed))
        return stored(environment)


def in_turn(
    pause_at: Callable[[Pause], None],
    every: int,
    attempt: Callable[[Pause], Manifest],
    meanwhile: Callable[[], None],
) -> list[Manifest]:
    """The stage paused at its commit 0, `every`, twice `every` ... until it has no further one; its manifests."""
    told = []
    for at in range(0, 100, every):
        pause = Pause(at, meanwhile)
        pause_at(pause)
        manifest = attempt(pause)
        pause.left = -2  # what follows is not disturbed
        if not pause.happened:
            assert manifest.status == "success", manifest.error
            return told
        told.append(manifest)
    raise AssertionError("the stage never ends")


@pytest.mark.parametrize("pause_at", ["before_look", "before_swap"], indirect=True)
@pytest.mark.parametrize("stage", ["publish", "decision"])
def test_a_second_try_of_a_stage_ends_the_first(
    environment: Environment,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    pause_at: Callable[[Pause], None],
    stage: str,
) -> None:
    run = held(a_run(environment, "r1", (D1, D3)), "airflow dag run", environment)
    up_to(run, stage)
    second: list[Manifest] = []

    def attempt(pause: Pause) -> Manifest:
        if stage == "publish":  # files that are published already would need no commit
            replace(a_run(environment, "r1", (D1, D3)), holder=run.holder).save()
        return execute(run, stage, 1)

    first = in_turn(pause_at, EVERY[stage], attempt, lambda: second.append(execute(run, stage, 2)))
    assert len(first) >= PAUSES[stage]
    assert {manifest.status for manifest in second} == {"success"}
    assert {manifest.status for manifest in first} == {"failed"}
    assert all("another try of this stage, has begun meanwhile" in str(manifest.error) for manifest in first)
    rest_of(run, stage)
    assert stored(environment) == undisturbed(monkeypatch, tmp_path_factory.mktemp("undisturbed"), ("r1", 1))


@pytest.mark.parametrize("pause_at", ["before_look"], indirect=True)
@pytest.mark.parametrize("stage", ["publish", "decision"])
def test_a_run_that_has_lost_its_lease_takes_nothing_from_the_one_that_has_it(
    environment: Environment,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    pause_at: Callable[[Pause], None],
    stage: str,
) -> None:
    new = a_run(environment, "r2", (D1, D3), seed=2)
    old = a_run(environment, "r1", (D1, D3), seed=1)

    def unlocked_and_run_anew() -> None:
        force_release(environment, "exp_a")
        carry_out(held(new, "the new one", environment))
        force_release(environment, "exp_a")

    def attempt(pause: Pause) -> Manifest:
        run = held(old, "the old one", environment)
        left, pause.left = pause.left, 10**6
        up_to(run, stage)
        pause.left = left
        manifest = execute(run, stage, 1)
        if pause.happened:
            assert "may no longer write exp_a" in str(manifest.error)
            assert {d.run_id for d in Results(environment).decisions("exp_a")} == {"r2"}
            assert stored(environment) == expected
        force_release(environment, "exp_a")
        return manifest

    expected = undisturbed(monkeypatch, tmp_path_factory.mktemp("undisturbed"), ("r2", 2))
    first = in_turn(pause_at, EVERY[stage], attempt, unlocked_and_run_anew)
    assert len(first) >= PAUSES[stage]
    assert {manifest.status for manifest in first} == {"failed"}


@pytest.mark.parametrize("pause_at", ["before_swap"], indirect=True)
@pytest.mark.parametrize("stage", ["publish", "decision"])
def test_without_any_lease_two_tries_still_write_everything_once(
    environment: Environment,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    pause_at: Callable[[Pause], None],
    stage: str,
) -> None:
    """What PyIceberg would repeat by itself is planned anew: a replacement never becomes an addition."""
    run = a_run(environment, "r1", (D1, D3))
    up_to(run, stage)
    second: list[Manifest] = []
    first = in_turn(
        pause_at,
        EVERY[stage],
        lambda pause: execute(run, stage, 1),
        lambda: second.append(execute(run, stage, 2)),
    )
    assert {manifest.status for manifest in (*first, *second)} == {"success"}
    rest_of(run, stage)
    assert stored(environment) == undisturbed(monkeypatch, tmp_path_factory.mktemp("undisturbed"), ("r1", 1))


@pytest.mark.parametrize("pause_at", ["before_swap"], indirect=True)
def test_a_lease_that_is_taken_between_the_look_and_the_swap_keeps_the_table(
    environment: Environment, pause_at: Callable[[Pause], None]
) -> None:
    """Nobody else commits, so the metadata's own check has nothing to find: only the lease says it."""
    run = held(a_run(environment, "r1"), "a slow one", environment)

    def taken() -> None:
        force_release(environment, "exp_a")
        Lease("exp_a", "another", environment).acquire()

    pause_at(Pause(0, taken))
    before = table(open_catalog(environment), "exposures").metadata_location
    manifest = execute(run, "publish", 1)
    assert "a slow one may no longer write exp_a" in str(manifest.error)
    assert table(open_catalog(environment), "exposures").metadata_location == before


def test_a_report_is_all_of_one_run_though_another_replaces_it_while_it_is_read(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decision, rows and checks were read one after another, each by itself: a memo could mix two runs."""
    old = a_run(environment, "r1", (D1, D3), seed=1)
    carry_out(old)
    read_rows, waiting = Results.rows, ["r2"]

    def replaced(self: Results, *arguments: Any, **options: Any) -> Any:
        if waiting:
            carry_out(a_run(environment, waiting.pop(), (D1, D3), seed=2))
        return read_rows(self, *arguments, **options)

    monkeypatch.setattr(Results, "rows", replaced)
    mixed = load_report(Results(environment), old.experiment)
    assert mixed.stored.run_id == "r2"
    assert mixed == load_report(Results(environment), old.experiment)
