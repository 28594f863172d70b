"""Whatever is fetched is what the project was made with: packages, jars and actions are pinned by what is in them."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from packaging.requirements import Requirement

from exp_platform.config.environment import project_root
from exp_platform.spark import jar_checksums

ROOT = project_root()
LOCKS = sorted(
    path.with_suffix(".txt")
    for pattern in ("requirements*.in", "docker/*.in", "deploy/**/*.in", "tests/**/*.in", "benchmarks/*.in")
    for path in ROOT.glob(pattern)
)
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))


def pins(lock: Path) -> dict[str, list[str]]:
    """Each requirement of a lock file, and the hashes of its files."""
    entries = re.sub(r" *\\\n +", "\n ", lock.read_text()).split("\n")
    found: dict[str, list[str]] = {}
    for line in entries:
        if line.startswith(" "):
            found[list(found)[-1]].append(line.strip())
        elif line and not line.startswith("#"):
            found[line] = []
    return found


def installs(text: str) -> list[str]:
    """The lines of a script or Dockerfile that install packages."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return [line for line in joined.splitlines() if re.search(r"\bpip install |\$\{install\[@\]\}", line)]


# ---------------------------------------------------------------- packages


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_package_of_a_lock_has_one_version_and_the_hashes_of_its_files(lock: Path) -> None:
    locked = pins(lock)
    assert locked
    for requirement, hashes in locked.items():
        (one,) = Requirement(requirement).specifier
        assert one.operator == "==", requirement
        assert hashes, f"{requirement} of {lock.name} has no hash: `make lock` writes them"
        assert all(re.fullmatch("--hash=sha256:[0-9a-f]{64}", each) for each in hashes), requirement


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_lock_names_no_index_and_no_folder_of_the_machine_that_made_it(lock: Path) -> None:
    assert not re.findall(r"://|^--(?!hash)|find-links|index-url| @ ", lock.read_text(), re.MULTILINE)


def test_what_builds_packages_is_locked_too() -> None:
    """A package that comes as source runs its build tools before anybody has looked at them."""
    locked = {Requirement(one).name for one in pins(ROOT / "requirements-build.txt")}
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert {Requirement(one).name for one in needed} | {"editables", "setuptools", "uv"} <= locked


@pytest.mark.parametrize(
    "file",
    ["scripts/setup.sh", *(path.relative_to(ROOT).as_posix() for path in ROOT.glob("d*/**/Dockerfile"))],
)
def test_nothing_is_installed_that_no_lock_holds_to(file: str) -> None:
    found = installs((ROOT / file).read_text())
    assert found or file not in ("scripts/setup.sh", "docker/Dockerfile")
    for line in found:
        if "install=(" not in line:
            assert "--require-hashes" in line or ("--no-deps" in line and "--editable ." in line), line
        if "uv pip install" in line:
            assert re.search(r"--build-constraint \S*requirements-build\.txt\b", line), line


# ---------------------------------------------------------------- known vulnerabilities

FAKE = """#!{python}
import json, sys
lock = open(sys.argv[sys.argv.index("--requirement") + 1]).read()
known = "2.11.2" in lock or "wanting" in lock
said = {answer}
json.dump({{"dependencies": [{{"name": "one", "version": "1"}} | said]}}, open(sys.argv[sys.argv.index("--output") + 1], "w"))
"""
VULNERABLE = '{"vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2"]}] if known else []}'


@pytest.mark.parametrize(
    ("answer", "lock", "code", "told"),
    [
        (VULNERABLE, "fine==1", 0, "1 packages, 0 known vulnerabilities"),
        (VULNERABLE, "wanting==1", 1, "one 1: PYSEC-1, CVE-1; mended in 2"),
        ('{"vulns": []}', "fine==1", 3, "NOT AUDITED: what answered is no database"),
        (
            '{"skip_reason": "not found on PyPI"}',
            "fine==1",
            3,
            "1 of 1 packages were passed over, such as: not found",
        ),
        (
            'sys.exit("connection refused")',
            "fine==1",
            3,
            "NOT AUDITED: no database answered: connection refused",
        ),
    ],
)
def test_an_audit_without_a_database_is_no_good_news(
    answer: str, lock: str, code: int, told: str, tmp_path: Path
) -> None:
    """pip-audit itself says `No known vulnerabilities found` where an index answers and knows of none, or of nothing."""
    program, packages = tmp_path / "pip-audit", tmp_path / "lock.txt"
    program.write_text(FAKE.format(python=sys.executable, answer=answer))
    program.chmod(0o755)
    packages.write_text(lock)
    said = subprocess.run(
        [ROOT / "scripts" / "audit.sh", packages],
        env=os.environ | {"PIP_AUDIT": str(program)},
        capture_output=True,
        text=True,
    )
    assert (said.returncode, told in said.stdout + said.stderr) == (code, True), said


# ---------------------------------------------------------------- jars


@pytest.fixture
def jar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One jar, as the project knows it; `cluster/other.jar` is known and not there."""
    path = tmp_path / "one-1.0.jar"
    path.write_bytes(b"as it should be")
    sums = tmp_path / "SHA256SUMS"
    good = hashlib.sha256(b"as it should be").hexdigest()
    sums.write_text(f"{good}  one-1.0.jar\n{'0' * 64}  cluster/other.jar\n")
    monkeypatch.setattr(jar_checksums, "SUMS", sums)
    return path


def test_there_is_a_checksum_for_each_jar_that_is_fetched_and_for_no_other() -> None:
    tree = ElementTree.parse(ROOT / "jars" / "ivy.xml")
    wanted = {part: set() for part in jar_checksums.PARTS}
    for one in tree.iter("dependency"):
        wanted[one.attrib["conf"].partition("->")[0]].add(f"{one.attrib['name']}-{one.attrib['rev']}.jar")
    assert {part: set(jar_checksums.expected(part)) for part in jar_checksums.PARTS} == wanted


def test_a_jar_with_another_content_is_refused_by_name_and_both_checksums_and_does_not_stay(
    jar: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jar.write_bytes(b"something else")
    assert jar_checksums.main(["check", str(jar.parent), "embedded"]) == 1
    said = capsys.readouterr().err
    assert str(jar) in said
    assert hashlib.sha256(b"something else").hexdigest() in said
    assert hashlib.sha256(b"as it should be").hexdigest() in said
    assert "fetches it anew" in said
    assert not jar.exists()


def test_right_jars_pass_and_missing_ones_are_told_apart_from_wrong_ones(jar: Path) -> None:
    assert jar_checksums.main(["check", str(jar.parent), "embedded"]) == 0
    assert jar_checksums.main(["check", str(jar.parent / "cluster"), "cluster"]) == 2
    assert jar.exists()


def test_checksums_that_cannot_be_read_stop_the_set_up(jar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jar_checksums.SUMS.write_text("<html>404</html>\n")
    assert jar_checksums.main(["check", str(jar.parent), "embedded"]) == 1
    assert "make lock-jars" in capsys.readouterr().err
    assert jar.exists()


def test_checksums_are_written_as_sha256sum_reads_them(jar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (jar.parent / "cluster").mkdir()
    (jar.parent / "cluster" / "other.jar").write_bytes(b"of a cluster")
    assert jar_checksums.main(["lock", str(jar.parent)]) == 0
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=jar.parent, capture_output=True
    )
    assert checked.returncode == 0, checked.stderr
    assert jar_checksums.main(["check", str(jar.parent / "cluster"), "cluster"]) == 0


@pytest.mark.e2e
def test_a_wrong_jar_from_the_repository_replaces_no_jar_and_stays_in_no_cache(tmp_path: Path) -> None:
    """The whole script, with a Java that answers as Ivy does."""
    jars, cache, java = tmp_path / "jars", tmp_path / "cache", tmp_path / "java" / "bin" / "java"
    for folder in (jars, cache / "org", java.parent):
        folder.mkdir(parents=True)
    (jars / "of-today.jar").write_text("good")
    names = list(jar_checksums.expected("embedded"))
    java.write_text(
        "#!/bin/sh\nfor last; do true; done\n"
        f"for name in {' '.join(names)}; do\n"
        f'  echo evil >"$(dirname "$last")/$name"; echo evil >"{cache}/org/$name"\ndone\n'
    )
    java.chmod(0o755)
    variables = {"EXP_JARS_DIR": str(jars), "IVY_CACHE": str(cache), "JAVA_HOME": str(tmp_path / "java")}
    script = ROOT / "scripts" / "fetch-jars.sh"
    said = subprocess.run([script, "embedded"], env=os.environ | variables, capture_output=True, text=True)
    assert said.returncode == 1
    assert all(name in said.stderr for name in names)
    assert [path.name for path in jars.iterdir()] == ["of-today.jar"]
    assert not list((cache / "org").iterdir())


# ---------------------------------------------------------------- actions


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_an_action_is_pinned_by_commit_and_says_which_version_that_is(workflow: Path) -> None:
    """A tag can be moved to other code; a commit cannot."""
    used = re.findall(r"uses: *(.*)$", workflow.read_text(), re.MULTILINE)
    steps = [step for job in yaml.safe_load(workflow.read_text())["jobs"].values() for step in job["steps"]]
    assert len(used) == sum("uses" in step for step in steps)
    for one in used:
        assert re.match(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+\b", one), one
