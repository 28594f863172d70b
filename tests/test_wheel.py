"""The wheel holds the package and no tool, and says what it needs; what it holds can be imported from it alone."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from exp_platform import __version__
from exp_platform.config.environment import project_root

ROOT = project_root()
PACKAGE = ROOT / "include" / "exp_platform"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The wheel, built by the locked hatchling without any network."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (made,) = folder.glob("*.whl")
    with zipfile.ZipFile(made) as opened:
        yield opened


def metadata(wheel: zipfile.ZipFile) -> Message:
    return message_from_bytes(wheel.read(f"exp_platform-{__version__}.dist-info/METADATA"))


def test_it_holds_every_file_of_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    files = (p for p in PACKAGE.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    assert held == {p.relative_to(PACKAGE.parent).as_posix() for p in files}


def test_it_depends_on_what_requirements_in_says(wheel: zipfile.ZipFile) -> None:
    found = [Requirement(text) for text in metadata(wheel).get_all("Requires-Dist", [])]
    stated = {requirement.name: requirement for requirement in found}
    lines = (ROOT / "requirements.in").read_text().splitlines()
    written = [Requirement(line.split("#")[0]) for line in lines if line.split("#")[0].strip()]
    assert len(written) > 15
    assert set(stated.values()) == set(written)
    assert str(stated["pyiceberg"].specifier) == "==0.12.0"
    assert stated["pyiceberg"].extras == {"pyarrow", "sql-sqlite"}


def test_the_command_exp_comes_with_it(wheel: zipfile.ZipFile) -> None:
    entry = wheel.read(f"exp_platform-{__version__}.dist-info/entry_points.txt").decode()
    assert "exp = exp_platform.cli:main" in entry


def test_all_of_it_is_imported_from_the_wheel_alone(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """Without the working tree: no .pth is read, and only the installed dependencies lie beside it."""
    wheel.extractall(tmp_path)
    modules = sorted(
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in wheel.namelist()
        if name.endswith(".py")
        # Airflow's own set-up is another test's business, and these two are entry points.
        and not name.startswith(
            ("exp_platform/orchestration/", "exp_platform/web/", "exp_platform/spark/training")
        )
    )
    path = [str(tmp_path), sysconfig.get_path("purelib")]
    code = (
        f"import sys, importlib, json; sys.path[:0] = {path!r}\n"
        f"[importlib.import_module(name) for name in {modules!r}]\n"
        "import exp_platform; print(json.dumps([exp_platform.__file__, len(sys.modules)]))"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    file, _ = json.loads(ran.stdout.splitlines()[-1])
    assert Path(file).is_relative_to(tmp_path)
