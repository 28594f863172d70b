"""Hooks and proposals of new versions: hooks are the locked tools and nothing fetched, and what is proposed for is there."""

from __future__ import annotations

import re

import pytest
import yaml

from exp_platform.config.environment import project_root

ROOT = project_root()
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
DEPENDABOT = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())
WATCHED = {"pip": "requirements*.in", "docker": "Dockerfile", "github-actions": ".github/workflows/*.yml"}


def test_hooks_are_tools_of_the_lock_and_what_make_lint_runs() -> None:
    assert [repo["repo"] for repo in HOOKS] == ["local"]
    locked = re.findall(r"^([a-z-]+)==", (ROOT / "requirements-dev.txt").read_text(), re.MULTILINE)
    (lint,) = re.findall(r"^lint:.*?^$", (ROOT / "Makefile").read_text(), re.MULTILINE | re.DOTALL)
    for hook in HOOKS[0]["hooks"]:
        tool, *words = hook["entry"].removeprefix(".venv/bin/").split()
        command = " ".join([tool, *(word for word in words if not word.startswith("--"))])
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")
        assert tool in locked
        assert f"@.venv/bin/{command}" in lint, command


@pytest.mark.parametrize("update", DEPENDABOT["updates"], ids=lambda update: update["package-ecosystem"])
def test_new_versions_are_proposed_for_everything_that_is_pinned(update: dict[str, object]) -> None:
    folders = update.get("directories") or [update["directory"]]
    pattern = WATCHED[str(update["package-ecosystem"])]
    assert isinstance(folders, list)
    for folder in folders:
        assert list((ROOT / folder.strip("/")).glob(pattern)), folder
    if "directories" in update:  # and none is left out
        found = {
            path.parent
            for path in ROOT.glob(f"**/{pattern}")
            if not {".venv", "data", ".git"} & set(path.parts)
        }
        assert {ROOT / folder.strip("/") for folder in folders} == found
