"""No imports go in a circle, those of annotations included: a file can be understood without one that needs it."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

from exp_platform.config.environment import project_root

INCLUDE = project_root() / "include"


def imported(path: Path, known: set[str]) -> set[str]:
    """The package's modules that a file names in an import, wherever it stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in known else node.module for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & known


def test_no_imports_go_in_a_circle() -> None:
    files = {
        path.relative_to(INCLUDE).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"): path
        for path in INCLUDE.rglob("*.py")
    }
    assert len(files) > 200
    graph = {name: imported(path, set(files)) - {name} for name, path in files.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle
