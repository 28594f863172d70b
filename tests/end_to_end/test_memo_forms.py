"""What a run leaves for people to read: the memo, its appendix, the report, and the commands that make them of stored results."""

from __future__ import annotations

from pathlib import Path

import pytest

from end_to_end.installation import Installation
from exp_platform.cli import main as exp

ENTRY = {"days": 14, "n_users": 1500, "effect_lift_conversion": 0.1, "seed": 9}


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An experiment that has been run by `exp run`."""
    made = Installation(tmp_path_factory.mktemp("forms"))
    made.entries(exp_cli=ENTRY)
    said = made.call(exp, "run", "exp_cli")
    assert (said.code, said.err) == (0, "")
    return made


def memo_of(installation: Installation) -> str:
    return (installation.state / "memos" / "exp_cli.md").read_text()


def appendix_of(installation: Installation) -> str:
    return (installation.state / "memos" / "exp_cli" / "appendix.md").read_text()


def test_the_memo_begins_with_the_decision(cli: Installation) -> None:
    decision, memo = cli.decision("exp_cli"), memo_of(cli)
    title, why = [line for line in memo.splitlines() if line][:2]
    assert (decision["winner"], decision["action"]) == ("treatment", "ship")
    assert title == "# exp_cli: ship treatment"
    assert "conversion went from" in why
    assert "**What to do next:** Roll out treatment to everybody." in memo
    assert len(memo.splitlines()) <= 60
    assert "Skipped in this run" not in memo


def test_the_appendix_has_all_that_lies_behind_the_memo(cli: Installation) -> None:
    memo, appendix = memo_of(cli), appendix_of(cli)
    assert appendix.splitlines()[0] == memo.splitlines()[0]
    sections = [line.removeprefix("## ") for line in appendix.splitlines() if line.startswith("## ")]
    assert sections[0] == "Key lifts"
    for part in (
        "CUPED",
        "Difference in differences",
        "Guardrails",
        "Segments",
        "Data quality",
        "How to reproduce",
    ):
        assert any(section.startswith(part) for section in sections), part
    assert "Exploratory" in appendix
    assert "Skipped in this run" not in appendix


def test_the_report_is_one_file_of_the_same_numbers(cli: Installation, tmp_path: Path) -> None:
    """What the memo task wrote is what `exp report` writes; it needs nothing beside it."""
    said = cli.call(exp, "report", "exp_cli", "--out", str(tmp_path / "mailed.html"))
    assert (said.code, said.out.strip()) == (0, str(tmp_path / "mailed.html"))
    page = (tmp_path / "mailed.html").read_text()
    assert page == (cli.state / "memos" / "exp_cli.html").read_text()
    assert '<h2 id="decision-title">Ship treatment</h2>' in page
    (told,) = [line for line in memo_of(cli).splitlines() if line.startswith("| conversion (unadjusted")]
    for cell in (cell.strip() for cell in told.split("|")[3:6]):
        assert cell.partition(" [")[0] in page
    refused = cli.call(
        exp, "report", "exp_cli", "--as-of", "2026-01-07", "--out", str(tmp_path / "none.html")
    )
    assert (refused.code, (tmp_path / "none.html").exists()) == (1, False)


def test_the_memos_pictures_exist(cli: Installation) -> None:
    memo = memo_of(cli)
    pictures = [line.partition("](")[2].rstrip(")") for line in memo.splitlines() if line.startswith("![")]
    assert pictures
    for picture in pictures:
        assert (cli.state / "memos" / picture).stat().st_size > 0


def test_memo_prints_the_stored_results(cli: Installation) -> None:
    said = cli.call(exp, "memo", "exp_cli")
    assert said.code == 0
    assert said.out.splitlines()[0] == memo_of(cli).splitlines()[0]
    behind = cli.call(exp, "memo", "exp_cli", "--appendix")
    assert behind.out.splitlines()[0] == appendix_of(cli).splitlines()[0]
    assert "## Key lifts" in behind.out
    refused = cli.call(exp, "memo", "exp_cli", "--as-of", "2026-01-07")
    assert refused.code == 1
    assert "2026-01-07" in refused.err
