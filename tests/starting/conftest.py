from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from exp_platform.config.environment import project_root


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configs of an installation without experiments, whose state is a folder that nobody has made."""
    folder = tmp_path / "configs"
    shutil.copytree(project_root() / "configs" / "environments", folder / "environments")
    monkeypatch.setenv("EXP_CONFIG_DIR", str(folder))
    monkeypatch.setenv("EXP_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("EXP_DATA_DIR", raising=False)
    return folder
