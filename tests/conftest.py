from __future__ import annotations

from pathlib import Path

import pytest

from exp_platform.config.environment import Environment, load_environment


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """The embedded environment, with an empty state root of the test's own."""
    monkeypatch.setenv("EXP_STATE_DIR", str(tmp_path / "state"))
    return load_environment("embedded")
