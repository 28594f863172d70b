"""The notebooks run from top to bottom on a machine that has run nothing yet, and their pictures show something."""

from __future__ import annotations

import base64
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from exp_platform.config.environment import project_root

NOTEBOOKS = sorted((project_root() / "notebooks").glob("*.ipynb"))
PICTURES = {"scenarios": 2, "validation": 2}


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def pictures(notebook: NotebookNode) -> list[bytes]:
    """The PNG outputs of all cells."""
    return [
        base64.b64decode(output.data["image/png"])
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", {})
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_its_pictures_are_not_empty(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXP_STATE_DIR", str(tmp_path / "untouched"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    notebook = read(path)
    NotebookClient(
        notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    drawn = pictures(notebook)
    assert len(drawn) == PICTURES[path.stem]
    for png in drawn:
        assert png.startswith(b"\x89PNG")
        width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
        assert min(width, height) > 150
        assert len(png) > 5_000, "an empty chart is smaller"
    assert not (tmp_path / "untouched").exists(), "it works in a state folder of its own"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_without_outputs(path: Path) -> None:
    for cell in read(path).cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)


def test_every_notebook_is_expected() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(PICTURES)
