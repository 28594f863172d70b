"""Whatever a page tells people to type exists: targets of make, commands of exp, files of the project."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from exp_platform.cli import app
from exp_platform.config.environment import project_root

ROOT = project_root()
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
    if path.name != "CHANGELOG.md"
)
OF_A_READER = re.compile(
    r"configs/(sources|metrics|(experiments|environments|sources|metrics)/\w+\.yaml)"
)  # which a page lets them write
ROOMS = "configs|dags|deploy|docker|include|jars|jobs|plugins|scripts|tests"


def code(page: str) -> str:
    """What a page sets as code, a line each."""
    text = (ROOT / page).read_text()
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return "\n".join(
        [
            *blocks,
            *re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)),
        ]
    )


@pytest.mark.parametrize("page", PAGES)
def test_make_has_every_target_that_a_page_names(page: str) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:^|[ ;&(])make((?: [a-z][a-z0-9-]*(?![\w=]))+)", code(page), re.MULTILINE)
    assert not {target for line in named for target in line.split()} - targets


@pytest.mark.parametrize("page", PAGES)
def test_exp_has_every_command_that_a_page_names(page: str) -> None:
    commands = set(getattr(get_command(app), "commands"))  # noqa: B009  a group has them, which the type does not say
    named = set(re.findall(r"(?:^|tools |[;&(] )exp ([a-z]+)\b", code(page), re.MULTILINE))
    assert not named - commands


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    named = set(re.findall(rf"(?<![\w/.>-])((?:{ROOMS})/[\w./-]*\w)", code(page)))
    # Made by make setup, for a machine
    made = {name for name in named if re.match(r"jars/(cluster|conf|.*\.jar$)", name)}
    places = (ROOT, ROOT / "tests")  # the page of guarantees names tests by where they lie below that
    absent = [
        name
        for name in named - made
        if not any((place / name).exists() for place in places) and not OF_A_READER.fullmatch(name)
    ]
    assert not absent


def prose(page: str) -> str:
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The names that a code host gives a page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = (
        re.sub(r"[`*]", "", heading).lower() for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    )
    return {re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_every_link_leads_to_a_page_and_to_a_heading_of_it(page: str) -> None:
    """`make docs` says so of docs/ and MkDocs' own anchors; here of all pages, and as the code host shows them."""
    astray = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        place, _, anchor = link.partition("#")
        target = (ROOT / page).parent / place if place else ROOT / page
        if "://" not in link and (not target.exists() or (anchor and anchor not in anchors(target))):
            astray.append(link)
    assert not astray


def test_every_decision_has_its_date_and_parts_and_its_line_in_the_list() -> None:
    listed = (ROOT / "docs" / "decisions" / "README.md").read_text()
    records = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
    assert len(records) == len(re.findall(r"^\| \[\d{4}\]", listed, re.MULTILINE))
    for number, record in enumerate(records, 1):
        head, *rest = record.read_text().split("\n## ")
        title, told = re.fullmatch(
            r"# (\d{4} .+)\n\n(\d{4}-\d\d-\d\d) · (?:accepted|superseded by .+)\n", head
        ).groups()  # type: ignore[union-attr]
        assert [part.split("\n")[0] for part in rest] == ["Context", "Decision", "Consequences"]
        assert title[:4] == f"{number:04d}" == record.name[:4]
        assert f"| [{title[:4]}]({record.name}) | {title[5:]} | {told} |" in listed


def test_githubs_workflow_runs_what_make_test_all_does() -> None:
    """Side by side there, one after another in `.ci/run`: a tier that one of them lacks would fail for the other alone."""
    (recipe,) = re.findall(r"^test-all:(.*?)^$", (ROOT / "Makefile").read_text(), re.MULTILINE | re.DOTALL)
    parts = re.findall(r"(?<![\w-])(?:lint|test-\w+)(?![\w-])", recipe)
    (job,) = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"].values()
    matrix = job["strategy"]["matrix"]
    assert {*matrix["target"], *(one["target"] for one in matrix["include"])} == set(parts)
    assert job["steps"][-1]["run"] == ".ci/run ${{ matrix.target }}"


def test_the_pages_are_found_and_name_things() -> None:
    everything = "\n".join(code(page) for page in PAGES)
    assert Path(ROOT / "docs" / "11_deployment" / "compose.md").is_file()
    assert {"make setup", "exp results", "scripts/compose.sh"} <= set(
        re.findall(r"make setup\b|exp results|scripts/compose\.sh", everything)
    )
