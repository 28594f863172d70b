"""The commands that people type: `exp` and the original platform's command with all its flags."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

import pytest

from end_to_end.installation import Installation, Said
from exp_platform.analyses.rows import ResultRow
from exp_platform.cli import main as exp
from exp_platform.pipelines.run_end_to_end import main as run_end_to_end
from exp_platform.stages.graph import stages_of
from exp_platform.tables.audit import person
from exp_platform.tables.lease import Lease, holder_of
from exp_platform.tables.schemas import TABLES

ENTRY = {"days": 14, "n_users": 1500, "effect_lift_conversion": 0.1, "seed": 9}
LAST = date(2026, 1, 18)
SKIPS = {  # flag -> the stage that is not run
    "--skip-dq": "quality",
    "--skip-metrics": "aggregates",
    "--skip-ab": "ab",
    "--skip-cuped": "cuped",
    "--skip-did": "did",
    "--skip-pretrends": "pretrends",
}
OF_SKIPPING = ("skipped", "decision", "reasons", "checks")  # what a skipped stage may change in `decisions`
INPUTS = {  # what the help says is used instead
    "--skip-metrics": "metric_aggregates_overall",
    "--skip-ab": "analysis_results",
    "--skip-cuped": "analysis_results",
    "--skip-did": "did_results",
    "--skip-pretrends": "did_pretrend_delta",
}


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from exp_platform import cli

    monkeypatch.setattr(cli.console, "width", 240)


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Installation, Said]:
    """Two experiments; one has been run by `exp run`."""
    made = Installation(tmp_path_factory.mktemp("cli"))
    made.entries(exp_cli=ENTRY, exp_other=ENTRY)
    return made, made.call(exp, "run", "exp_cli")


@pytest.fixture(scope="module")
def cli(first_run: tuple[Installation, Said]) -> Installation:
    return first_run[0]


def original(installation: Installation, *flags: str, experiment_id: str = "exp_cli") -> Said:
    """The original platform's command, to the letter."""
    config = str(installation.configs / "dev.yaml")
    return installation.call(
        run_end_to_end, "--config", config, "--experiment-id", experiment_id, "--generate-synth", *flags
    )


def appendix_of(installation: Installation, experiment_id: str = "exp_cli") -> str:
    return (installation.state / "memos" / experiment_id / "appendix.md").read_text()


def memo_of(installation: Installation, experiment_id: str = "exp_cli") -> str:
    return (installation.state / "memos" / f"{experiment_id}.md").read_text()


# ---- run and what it leaves


def test_run_tells_each_stage_the_decision_the_results_and_the_memo(
    first_run: tuple[Installation, Said],
) -> None:
    cli, said = first_run
    assert (said.code, said.err) == (0, "")
    from exp_platform.config.loading import load_experiment

    with cli.here():
        stages = [stage.name for stage in stages_of(load_experiment("exp_cli"))]
    lines = [line.split() for line in said.out.splitlines()]
    told = [words[0] for words in lines if words and words[0] in stages]
    assert told[: len(stages)] == stages
    assert str(cli.state / "memos" / "exp_cli.md") in said.out
    assert f"exp_cli as of {LAST}" in said.out
    assert "conversion" in said.out
    assert (cli.state / "raw" / "exp_platform" / "exp_cli" / "exposures").is_dir()


def test_a_second_run_says_up_to_date(cli: Installation) -> None:
    for said in (cli.call(exp, "run", "exp_cli"), original(cli)):
        assert said.code == 0
        assert "up to date" in said.out


def test_results_shows_a_table_and_the_memos_json_twin(cli: Installation) -> None:
    shown = cli.call(exp, "results", "exp_cli", "--method", "cuped")
    assert shown.code == 0
    assert "cuped, as of 2026-01-18" in shown.out
    twin = json.loads(cli.call(exp, "results", "exp_cli", "--json").out)
    written = json.loads((cli.state / "memos" / "exp_cli.json").read_text())
    assert twin == written
    assert {"winner", "confidence", "lift", "primary_metric", "reasons"} <= twin.keys()
    (row,) = [r for r in twin["metrics"] if r["metric_id"] == "conversion"]
    assert twin["lift"] == row["relative"]


def test_list_shows_every_experiment_with_its_newest_decision(cli: Installation) -> None:
    said = cli.call(exp, "list")
    assert said.code == 0
    rows = {line.split()[1]: line for line in said.out.splitlines() if "exp_" in line}
    assert rows["exp_cli"].count("2026-01-18") == 2  # the window's end, and as of when
    assert "treatment" in rows["exp_cli"]
    assert "ship" in rows["exp_cli"]
    assert rows["exp_other"].count("2026-01-18") == 1
    assert "ship" not in rows["exp_other"]


def test_plan_says_users_days_and_the_smallest_effect(cli: Installation) -> None:
    said = cli.call(exp, "plan", "exp_cli", "--metric", "conversion", "--daily-users", "500")
    assert said.code == 0
    header, row = (
        [cell for cell in re.split(r"\s{2,}|[│┃]", line) if cell.strip()]
        for line in said.out.splitlines()
        if "Metric" in line or line.strip("│ ").startswith("conversion ")
    )
    cells = {name.split()[0]: cell.strip() for name, cell in zip(header, row, strict=True)}
    users, days = (int(cells[name].replace(",", "")) for name in ("Users", "Days"))
    # Two proportions of 10 % and 12 %, power 80 %, alpha .045 / 4 (z 2.535 and 0.842), both arms, textbook formula.
    assert users == pytest.approx(2 * (2.535 + 0.842) ** 2 * (0.09 + 0.1056) / 0.02**2, rel=0.01)
    assert days == -(-users // 500)
    refused = cli.call(exp, "plan", "exp_cli", "--baseline", "0.2")
    assert (refused.code, len(refused.err.splitlines())) == (1, 1)


def test_plan_by_an_earlier_experiment_knows_its_spread_users_and_gain(cli: Installation) -> None:
    """Nothing is stored of exp_other: its plan is made of exp_cli's results, which have the same metrics."""
    blind = cli.call(exp, "plan", "exp_other", "--metric", "revenue", "--json")
    assert json.loads(blind.out)["metrics"][0]["smallest_effect"] is None
    told = cli.call(exp, "plan", "exp_other", "--metric", "revenue", "--like", "exp_cli", "--json")
    (plan,) = json.loads(told.out)["metrics"]
    assert plan["source"] == "exp_cli"
    assert plan["sd"] > 0
    assert set(plan["gains"]) == {"cuped"}
    assert plan["durations"][0]["users"] > 0
    nothing = cli.call(exp, "plan", "exp_cli", "--like", "exp_other")
    assert nothing.code == 1
    assert "exp_other has no stored results: run it first" in nothing.err


# ---- the original command's flags


@pytest.mark.parametrize("flag", SKIPS)
@pytest.mark.parametrize("command", ["run", None])
def test_each_flag_skips_its_own_stage(
    cli: Installation, monkeypatch: pytest.MonkeyPatch, command: str | None, flag: str
) -> None:
    from exp_platform.pipelines import run_end_to_end as module

    asked: list[tuple[str, ...]] = []

    def only_noted(*_: object, skipped: tuple[str, ...], **__: object) -> None:
        asked.append(skipped)

    monkeypatch.setattr(module, "run_and_report", only_noted)
    said = cli.call(exp, command, "exp_cli", flag) if command else original(cli, flag)
    assert (said.code, said.err) == (0, "")
    assert asked == [(SKIPS[flag],)]


def test_analyses_of_stored_aggregates_are_those_that_are_stored(cli: Installation) -> None:
    before = cli.content("exp_cli", OF_SKIPPING)

    said = original(cli, "--force", "--skip-metrics")

    assert said.code == 0, said.err
    assert "Skipped in this run" in memo_of(cli)
    after = cli.content("exp_cli", OF_SKIPPING)
    assert {name for name in TABLES if after[name] != before[name]} <= {"decisions"}
    decision = cli.decision("exp_cli")
    assert decision["skipped"] == ["aggregates"]
    assert (decision["trust"], decision["winner"], decision["action"]) == ("ok", "treatment", "ship")


def test_stored_analyses_stay_and_data_that_nobody_judged_are_not_trusted(cli: Installation) -> None:
    before = cli.content("exp_cli", OF_SKIPPING)
    flags = [flag for flag in SKIPS if flag != "--skip-metrics"]

    said = original(cli, "--force", *flags)

    assert said.code == 0, said.err
    assert "Skipped in this run" in memo_of(cli)
    after = cli.content("exp_cli", OF_SKIPPING)
    assert {name for name in TABLES if after[name] != before[name]} == {"decisions", "data_quality_results"}
    decision = cli.decision("exp_cli")
    assert set(decision["skipped"]) == {SKIPS[flag] for flag in flags}
    assert (decision["trust"], decision["winner"], decision["action"]) == (
        "unknown",
        "inconclusive",
        "investigate",
    )
    assert "exp_cli" in cli.call(exp, "results", "exp_cli").out


@pytest.mark.parametrize("command", ["run", None])
def test_the_help_says_which_stored_input_each_flag_uses(
    cli: Installation, monkeypatch: pytest.MonkeyPatch, command: str | None
) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    monkeypatch.setenv("TERMINAL_WIDTH", "240")
    said = cli.call(exp, command, "--help") if command else cli.call(run_end_to_end, "--help")
    assert said.code == 0
    lines = {flag: next(line for line in said.out.splitlines() if flag in line) for flag in SKIPS}
    for flag, table in INPUTS.items():
        assert table in lines[flag]
    assert "--dry-run" in said.out
    assert "--force" in said.out


def test_skipping_what_was_never_stored_says_what_is_missing(tmp_path: Path) -> None:
    made = Installation(tmp_path)
    made.entries(exp_new=ENTRY)
    said = original(made, "--skip-metrics", experiment_id="exp_new")
    assert said.code == 1
    assert len(said.err.splitlines()) == 1
    assert "aggregates" in said.err
    assert made.rows("decisions") == []


# ---- past days


def test_several_days_in_one_pass_are_each_days_own_results(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    at_once, one_by_one = (Installation(tmp_path_factory.mktemp(name)) for name in ("at_once", "one_by_one"))
    for made in (at_once, one_by_one):
        made.entries(exp_days=ENTRY)
    said = at_once.call(exp, "run", "exp_days", "--from", "2026-01-14", "--to", "2026-01-16")
    assert said.code == 0, said.err
    for day in (14, 15, 16):
        single = original(one_by_one, "--as-of", f"2026-01-{day}", experiment_id="exp_days")
        assert single.code == 0, single.err

    days = [date(2026, 1, day) for day in (14, 15, 16)]
    assert [d.as_of_date for d in at_once.results.decisions("exp_days")] == days
    assert at_once.content("exp_days", ("spec",)) == one_by_one.content("exp_days", ("spec",))
    n = [at_once.results.rows(ResultRow, "exp_days", day, method="ab")[0].n_control for day in days]
    assert n == sorted(set(n))  # users arrive, so every day has its own
    memo = memo_of(at_once, "exp_days")
    assert "- As of 2026-01-16" in memo
    assert "| As of | 2026-01-16" in appendix_of(at_once, "exp_days")
    assert "(exp_days/over_time." in memo  # the effect over the days

    again = original(at_once, "--as-of", "2026-01-15", experiment_id="exp_days")
    assert (again.code, "up to date" in again.out) == (0, True)
    longer = at_once.call(exp, "run", "exp_days", "--from", "2026-01-15", "--to", "2026-01-16")
    assert (longer.code, "up to date" in longer.out) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--from", "2026-01-14"), "--to"),
        (("--to", "2026-01-14"), "--from"),
        (("--from", "2026-01-16", "--to", "2026-01-14"), "before"),
        (("--as-of", "2026-01-14", "--from", "2026-01-14", "--to", "2026-01-15"), "--as-of"),
    ],
)
def test_days_that_make_no_sense_are_refused(
    cli: Installation, arguments: tuple[str, ...], word: str
) -> None:
    said = cli.call(exp, "run", "exp_cli", *arguments)
    assert (said.code, len(said.err.splitlines())) == (1, 1)
    assert word in said.err


# ---- unlock and delete


def test_a_held_experiment_is_refused_with_the_remedy_and_unlock_frees_it(cli: Installation) -> None:
    Lease("exp_other", "a run that died", cli.environment).acquire()
    said = original(cli, experiment_id="exp_other")
    assert (said.code, len(said.err.splitlines())) == (1, 1)
    assert "a run that died" in said.err
    assert "exp unlock exp_other" in said.err

    alive = cli.call(exp, "unlock", "exp_other")
    assert (alive.code, len(alive.err.splitlines())) == (1, 1)
    assert "sign of life" in alive.err
    assert holder_of(cli.environment, "exp_other") is not None

    freed = cli.call(exp, "unlock", "exp_other", "--force")
    assert (freed.code, freed.err) == (0, "")
    assert "a run that died" in freed.out
    assert holder_of(cli.environment, "exp_other") is None
    assert "not held" in cli.call(exp, "unlock", "exp_other").out
    (unlocked,) = json.loads(cli.call(exp, "log", "exp_other", "--json").out)
    assert (unlocked["what"], unlocked["who"]) == ("unlocked", person())
    assert unlocked["details"] == {"holder": "a run that died", "forced": True}


def test_delete_asks_first_and_then_leaves_nothing_of_the_experiment_and_all_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Installation(tmp_path)
    made.entries(exp_gone=ENTRY, exp_kept={**ENTRY, "seed": 10})
    made.run("exp_gone")
    made.run("exp_kept")
    kept, files = made.content("exp_kept"), made.files()

    asked = made.call(exp, "delete", "exp_gone", answer="n")
    assert asked.code == 1
    assert "cannot be undone" in asked.out + asked.err
    assert made.files() == files

    done = made.call(exp, "delete", "exp_gone", answer="y")
    assert (done.code, done.err) == (0, "")
    assert {name: made.lying_rows(name, "exp_gone") for name in TABLES} == {name: [] for name in TABLES}
    for place in (
        "raw/exp_platform/exp_gone",
        "runs/exp_gone",
        "memos/exp_gone.md",
        "memos/exp_gone.json",
        "memos/exp_gone.html",
        "memos/exp_gone",
    ):
        assert not (made.state / place).exists(), place
    assert made.content("exp_kept") == kept
    assert (made.state / "memos" / "exp_kept.md").is_file()
    assert "no stored result" in made.call(exp, "results", "exp_gone").err
    assert made.call(exp, "results", "exp_kept").code == 0

    written = json.loads(made.call(exp, "log", "exp_gone", "--json").out)
    assert [event["what"] for event in written] == ["run", "decided", "deleted"]
    ran, decided, _ = written
    (kept_decision,) = made.rows("decisions", "exp_kept")
    assert (ran["config_hash"], ran["run_id"]) == (decided["config_hash"], decided["run_id"])
    assert ran["code_version"] == kept_decision["code_version"]
    assert "exp_kept" in made.call(exp, "log").out
