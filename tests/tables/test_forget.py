"""Forgetting a user: killed anywhere and repeated, beside a run, two at once, and what may not be mixed up with him."""

from __future__ import annotations

import pytest
from markupsafe import escape
from pyiceberg.table.update.snapshot import ExpireSnapshots

from end_to_end.state_bytes import files_with
from exp_platform.config.environment import Environment
from exp_platform.errors import ConfigError
from exp_platform.json_file import write_json
from exp_platform.results.reader import Results
from exp_platform.tables import erasure, maintenance
from exp_platform.tables import held as holding
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.forget import canonical, find, forget
from exp_platform.tables.forgotten import forgotten_of, requests
from exp_platform.tables.lease import Lease
from exp_platform.tables.mentions import Mentions
from stages.frozen_runs import D3, a_run, an_experiment, carry_out, stage_exposures
from tables.killed import Killed, one_step

pytestmark = pytest.mark.e2e  # commit after commit

GONE = "r2-b"  # of a_run(environment, "r2"): the users r2-a, r2-b, r2-c


def state_with_history(environment: Environment) -> None:
    """An experiment published twice, a message and a run folder that name the user, and a staged file of a run that died."""
    carry_out(a_run(environment, "r1", (D3,)), "publish")
    run = a_run(environment, "r2", (D3,))
    check = {
        "as_of_date": str(D3),
        "check": "dominant_user",
        "severity": "warning",
        "status": "failed",
        "observed": 0.9,
        "threshold": 0.1,
        "message": f"'{GONE}' has 9 of 10 exposures (90.00 %), far beyond any other user",
    }
    write_json(run.path / "quality.json", [check])
    carry_out(run)
    stage_exposures(environment, a_run(environment, "r3"), [GONE, "d"])
    carry_out(a_run(environment, "r4", of=an_experiment("exp_b")), "publish")


def published(environment: Environment) -> list[str]:
    return sorted(
        row["user_id"]
        for row in table(open_catalog(environment), "exposures")
        .scan("experiment_id = 'exp_a'")
        .to_arrow()
        .to_pylist()
    )


def test_a_command_that_is_killed_after_any_step_is_completed_by_the_same_command(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    state_with_history(environment)
    steps: list[str] = []
    for module, name in (
        (erasure, "replace_files"),
        (erasure, "replace_rows"),
        (erasure, "delete_file"),
        (holding, "replace_rows"),
        (holding, "rmtree"),
        (maintenance, "replace_rows"),
        (ExpireSnapshots, "commit"),
    ):
        monkeypatch.setattr(module, name, one_step(getattr(module, name), f"{module.__name__}.{name}", steps))
    calls = 0
    while True:
        calls, before = calls + 1, len(steps)
        try:
            told = forget(environment, GONE)
        except Killed:
            assert len(steps) > before, "a command that was repeated did nothing"
            continue
        break
    assert told.remaining == ()
    assert len(set(steps)) == 7, steps
    assert calls > 7
    assert files_with(environment.state_dir, GONE) == []
    assert published(environment) == ["r2-a", "r2-c"]
    (row,) = [r for r in Results(environment).experiments() if r["experiment_id"] == "exp_a"]
    assert (row["exposures_rows"], row["outcomes_rows"]) == (2, 2)


def test_a_publication_that_was_killed_is_not_published_by_forgetting(environment: Environment) -> None:
    carry_out(a_run(environment, "r2", (D3,)), "publish")
    from exp_platform.tables.write import replace_files

    died = stage_exposures(environment, a_run(environment, "r5"), [GONE, "new"])
    # The run was killed after this
    replace_files(open_catalog(environment), "exposures", "exp_a", [died], "r5")
    assert forget(environment, GONE).remaining == ()
    assert published(environment) == ["r2-a", "r2-c"]
    assert files_with(environment.state_dir, GONE) == []


def test_an_experiment_that_is_being_run_is_named_and_nothing_of_it_is_touched(
    environment: Environment,
) -> None:
    state_with_history(environment)
    lease = Lease("exp_a", "another run", environment)
    lease.acquire()
    told = forget(environment, GONE, wait=0)
    assert [line.partition(" since")[0] for line in told.remaining] == ["exp_a is being run by another run"]
    assert GONE in published(environment)
    (request,) = requests(environment)
    assert request.finished_at is None
    assert request.remaining == told.remaining
    lease.release()
    assert forget(environment, GONE, wait=0).remaining == ()
    (request,) = requests(environment)  # the same request, once
    assert request.finished_at is not None
    assert files_with(environment.state_dir, GONE) == []


def test_a_run_that_may_have_read_the_user_before_he_was_on_the_list_is_waited_for(
    environment: Environment,
) -> None:
    carry_out(a_run(environment, "r1", (D3,)), "publish")
    lease = Lease("exp_a", "another run", environment)  # which will publish him
    lease.acquire()
    assert forget(environment, GONE, wait=0).remaining != ()
    carry_out(a_run(environment, "r2", (D3,)), "publish")
    lease.release()
    assert forget(environment, GONE, wait=0).remaining == ()
    assert files_with(environment.state_dir, GONE) == []


def test_only_one_experiment_forgets_where_one_is_named(environment: Environment) -> None:
    carry_out(a_run(environment, "r2", (D3,)), "publish")
    carry_out(a_run(environment, "r2", (D3,), of=an_experiment("exp_b")), "publish")
    assert forget(environment, GONE, "exp_b").remaining == ()
    assert published(environment) == ["r2-a", "r2-b", "r2-c"]
    assert [one.experiment_id for one in find(environment, GONE)] == ["exp_a"]
    assert forgotten_of(environment, "exp_a")[1] == frozenset()
    assert len(forgotten_of(environment, "exp_b")[1]) == 1
    with pytest.raises(
        ConfigError, match="--experiment: found 'exp_c', of which nothing is stored; there are: exp_a, exp_b"
    ):
        forget(environment, GONE, "exp_c")


def test_the_key_of_the_list_is_for_its_owner_alone_and_another_key_is_refused(
    environment: Environment,
) -> None:
    carry_out(a_run(environment, "r2", (D3,)), "publish")
    forget(environment, GONE)
    key = environment.runs_dir / ".forgotten.key"
    assert key.stat().st_mode & 0o777 == 0o600
    before = key.read_text()
    key.write_text("another key of thirty-two characters")
    with pytest.raises(ConfigError, match=r"by this key they would come back. Set that key back"):
        forgotten_of(environment, "exp_a")
    key.unlink()
    with pytest.raises(ConfigError, match="put the key there"):
        forget(environment, "someone else")
    key.write_text(before)
    key.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        forgotten_of(environment, "exp_a")


def test_an_id_is_found_in_the_form_that_ingest_gives_it() -> None:
    assert canonical(" 12.0 ") == "12"
    assert canonical("{6F9619FF-8B86-D011-B42D-00CF4FC964FF}") == "6f9619ff-8b86-d011-b42d-00cf4fc964ff"
    assert canonical("007") == "007"
    assert canonical("Ann") == "Ann"
    for nobody in ("", "  ", "NULL", "n/a"):
        with pytest.raises(ConfigError, match="which is nobody's id"):
            canonical(nobody)


def test_only_the_users_own_mentions_are_taken_out_of_messages() -> None:
    mine = Mentions(("user-1",))
    assert mine.removed("'user-1' has 9 of 10, 'user-10' has 1, user-1.5 and my-user-1") == (
        "'(forgotten)' has 9 of 10, 'user-10' has 1, user-1.5 and my-user-1"
    )
    assert mine.removed_from_json('{"user-1": 3, "message": "see user-1, please"}') == (
        '{"user-1": 3, "message": "see (forgotten), please"}'
    )
    short = Mentions(("1",))
    assert short.removed("'1' has 1 of 10 exposures") == "'(forgotten)' has 1 of 10 exposures"
    long = Mentions(("x" * 60,))
    assert long.removed(f"'{'x' * 40}' is 'y' there") == "'(forgotten)' is 'y' there"


@pytest.mark.parametrize("user_id", ["1", "a&b's", 'say "so"'])
def test_a_user_is_found_in_a_page_of_html_as_in_a_sentence(user_id: str) -> None:
    """There quotes and marks are written as entities, those around a short id too."""
    page = str(escape(f"{user_id!r} has 9 of 10 exposures"))
    assert user_id == "1" or user_id not in page
    assert Mentions((user_id,)).stand_in(page)
    gone = Mentions((user_id,)).removed(page)
    assert "(forgotten)" in gone
    assert str(escape(repr(user_id))) not in gone


def test_rows_that_a_rerun_has_superseded_name_the_user_no_more_either(environment: Environment) -> None:
    state_with_history(environment)
    carry_out(a_run(environment, "r5", (D3,)))
    assert (
        "r2"
        in table(open_catalog(environment), "data_quality_results").scan().to_arrow()["run_id"].to_pylist()
    )
    assert forget(environment, GONE).remaining == ()
    assert files_with(environment.state_dir, GONE) == []
