"""What an analysis is called stands in the declaration alone, and what follows from it is whole."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import exp_platform
from exp_platform.analyses.rows import ROW_TYPES
from exp_platform.config.analyses import ANALYSES, METHODS, NAMES, Estimate
from exp_platform.config.plans import AnalysisPlan

PACKAGE = Path(exp_platform.__file__).parent
SECTIONS = PACKAGE / "report" / "templates" / "sections"
DECLARED = PACKAGE / "config" / "analyses.py"
# The same word for another thing: keys of the spec, the name of a quality check, of an event, of a table, of a chart's file.
HOMONYMS = {
    "analyses/rows.py": {"did_sensitivity", "late_days", "sample_sizes"},
    "report/drawings.py": {"event_study"},
    "report/memo.py": {"event_study"},
    "config/key_descriptions.py": {"guardrails", "segments"},
    "config/library_use.py": {"guardrails", "segments"},
    "config/notify.py": {"srm"},
    "config/spec_checks.py": {"guardrails", "segments"},
    "stages/quality_checks.py": {"srm"},
    "starting/shown.py": {"srm"},
}


def literals(path: Path) -> set[str]:
    """The strings of a file that are the name of an analysis or a method, and nothing else."""
    names = {*NAMES, *METHODS}
    tree = ast.parse(path.read_text())
    return {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and n.value in names}


def test_no_name_is_a_literal_outside_the_declaration_and_the_analysis_itself() -> None:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        where = path.relative_to(PACKAGE).as_posix()
        own = {path.stem} if path.parent.name == "analyses" else set()
        left = literals(path) - own - HOMONYMS.get(where, set())
        if path != DECLARED and left:
            found[where] = left
    assert found == {}


def test_a_section_reads_rows_of_its_own_analysis_only() -> None:
    methods = {m.name: a.name for a in ANALYSES for m in a.kinds_of_rows}
    read = {
        path.name: {methods[name] for name in re.findall(r'of_method\("(\w+)"\)', path.read_text())}
        for path in SECTIONS.iterdir()
    }
    for name in NAMES:
        (section,) = [path for path in read if re.fullmatch(rf"\d\d_{name}\.md\.j2", path)]
        assert read.pop(section) <= {name}
    assert {name: of for name, of in read.items() if of} == {"32_sensitivity.md.j2": {"did"}}


@pytest.mark.parametrize("name", NAMES)
def test_every_analysis_has_its_file(name: str) -> None:
    assert importlib.import_module(f"exp_platform.analyses.{name}").analyse.__module__.endswith(f".{name}")


def test_every_table_of_a_method_has_its_type_of_rows() -> None:
    assert {m.table for m in METHODS.values()} == set(ROW_TYPES)


def test_what_may_decide_is_what_has_a_name_for_the_memo() -> None:
    assert set(get_args(Estimate)) == {m.name for m in METHODS.values() if m.called}


def test_an_option_is_a_field_of_the_plan() -> None:
    fields = AnalysisPlan.__dataclass_fields__
    assert [f"{a.name}_{o}" for a in ANALYSES for o in a.options if f"{a.name}_{o}" not in fields] == []


def test_the_declaration_is_light_enough_for_parsing_dags() -> None:
    code = "import sys, exp_platform.stages.graph; print([m for m in ('numpy', 'pyarrow', 'pyiceberg') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
