"""`exp forget`: afterwards no byte of the state knows the person, and nobody else misses anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from end_to_end.installation import Installation, Said
from end_to_end.people import GONE, PEOPLE, PREFIX, USERS, deliver
from end_to_end.state_bytes import files_with
from exp_platform.cli import main as exp
from exp_platform.config.environment import load_environment
from exp_platform.results.reader import Results
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.forgotten import requests


def users(installation: Installation, experiment_id: str) -> set[str]:
    with installation.here():
        rows = table(open_catalog(), "exposures").scan(f"experiment_id = '{experiment_id}'").to_arrow()
    return set(rows["user_id"].to_pylist())


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Two experiments of the same people and one of generated users, each run; one of them twice, so there is history."""
    made = Installation(tmp_path_factory.mktemp("forget"))
    made.entries(exp_made={"days": 14, "n_users": 300, "seed": 3})
    for name in ("exp_one", "exp_two"):
        deliver(made, name)
        made.run(name)
    made.run("exp_one", force=True)
    made.run("exp_made")
    return made


@pytest.fixture(scope="module")
def forgotten(ran: Installation) -> tuple[Installation, Said, list[str]]:
    """The same after `exp forget`, what it said, and which files had named him before."""
    before = files_with(ran.state, GONE)
    assert (ran.call(exp, "forget", "--user-id", GONE, "--dry-run")).code == 0
    assert files_with(ran.state, GONE) == before
    return ran, ran.call(exp, "forget", "--user-id", f" {GONE}\t", "--yes"), before


def test_no_byte_of_the_state_names_a_forgotten_user(forgotten: tuple[Installation, Said, list[str]]) -> None:
    made, said, before = forgotten
    assert (said.code, said.err) == (0, "")
    for place in (
        "warehouse/exp/exposures",
        "warehouse/exp/unit_days",
        "warehouse/exp/decisions",
        "runs/",
        "memos/",
    ):
        assert any(path.startswith(place) for path in before), place
    assert files_with(made.state, GONE) == []


def test_nobody_else_is_forgotten_and_results_stay(forgotten: tuple[Installation, Said, list[str]]) -> None:
    made, _, _ = forgotten
    for name in ("exp_one", "exp_two"):
        assert users(made, name) == {*PEOPLE, PREFIX}
        with made.here():
            stored = Results().latest_decision(name)
            (row,) = [row for row in Results().experiments() if row["experiment_id"] == name]
        assert stored is not None
        assert sum(stored.users.values()) == USERS + 2  # the sums go on counting him
        assert row["exposures_rows"] == USERS + 1
        assert made.call(exp, "results", name).code == 0
    assert made.call(exp, "forget", "--user-id", GONE, "--dry-run").out.startswith(
        "nothing is held of that id"
    )


def test_nothing_is_written_before_somebody_has_said_yes(ran: Installation) -> None:
    with ran.here():
        before = requests(load_environment())
    assert ran.call(exp, "forget", "--user-id", PREFIX, answer="n").code == 1
    refused = ran.call(exp, "forget", "--user-id", "-")
    assert (refused.code, "nobody can be asked: add --yes or --dry-run" in refused.err) == (1, True)
    assert (
        "exp_one: 1 row of exposures"
        in ran.call(exp, "forget", "--user-id", "-", "--dry-run", answer=PREFIX).out
    )
    with ran.here():
        assert requests(load_environment()) == before
    assert PREFIX in users(ran, "exp_one")


def test_the_doctor_finds_no_fault_after_a_user_was_forgotten(
    forgotten: tuple[Installation, Said, list[str]],
) -> None:
    found = json.loads(forgotten[0].call(exp, "doctor", "--json").out)
    # How full the disk is belongs to whoever runs the tests.
    assert [line for line in found if line["state"] != "ok" and line["check"] != "disk"] == []


def test_a_later_ingest_leaves_a_forgotten_user_out_and_counts_his_rows(
    forgotten: tuple[Installation, Said, list[str]],
) -> None:
    made, _, _ = forgotten
    made.run("exp_one", force=True)
    assert files_with(made.state, GONE) == []
    with made.here():
        stored = Results().latest_decision("exp_one")
    assert stored is not None
    assert stored.rows["exposures"].left_out["of users who are to be forgotten"] == 1
    assert stored.rows["outcomes"].left_out["of users who are to be forgotten"] == 400
    assert all(account.adds_up() for account in stored.rows.values())
    assert sum(stored.users.values()) == USERS + 1


def test_generated_users_are_forgotten_in_their_raw_files_too_and_stay_so(ran: Installation) -> None:
    user = sorted(users(ran, "exp_made"))[0]
    assert any(path.startswith("raw/") for path in files_with(ran.state, user))
    assert ran.call(exp, "forget", "--user-id", user, "--yes").code == 0
    assert files_with(ran.state, user) == []
    ran.run("exp_made", force=True)
    assert files_with(ran.state, user) == []


def test_a_catalog_of_before_brings_no_forgotten_user_back(tmp_path: Path) -> None:
    """His files are gone, so the older entries are repaired; and nothing is read by the older list of the forgotten."""
    made, backup = Installation(tmp_path), tmp_path / "before.db"
    deliver(made, "exp_one")
    made.run("exp_one")
    assert made.call(exp, "backup", str(backup)).code == 0
    assert made.call(exp, "forget", "--user-id", GONE, "--yes").code == 0
    stored = made.content("exp_one")

    assert made.call(exp, "restore", str(backup), "--yes").code == 0
    made.call(exp, "repair")  # of what cannot be read any more; the list can be
    refused = made.call(exp, "run", "exp_one", "--force")
    assert (refused.code, "the list of forgotten users was written to since" in refused.err) == (1, True)
    assert "exp repair --forward" in refused.err

    assert made.call(exp, "repair", "--forward").code == 0
    assert made.content("exp_one") == stored
    made.run("exp_one", force=True)
    assert files_with(made.state, GONE) == []
