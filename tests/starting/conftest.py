from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from exp_platform.config.environment import load_environment, project_root
from exp_platform.starting.draft import Said
from exp_platform.starting.init import Written, write_spec
from starting.inputs import TODAY, Init, default


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configs of an installation without experiments, whose state is a folder that nobody has made."""
    folder = tmp_path / "configs"
    shutil.copytree(project_root() / "configs" / "environments", folder / "environments")
    monkeypatch.setenv("EXP_CONFIG_DIR", str(folder))
    monkeypatch.setenv("EXP_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("EXP_DATA_DIR", raising=False)
    return folder


@pytest.fixture
def init(configs: Path) -> Init:
    """`exp init --yes` in an installation without experiments."""

    def written(*locations: Path | str, force: bool = False, **said: str) -> Written:
        return write_spec(
            [str(one) for one in locations], load_environment(), Said(**said), default, TODAY, force=force
        )

    return written
