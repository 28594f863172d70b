from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from exp_platform.results import newest


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The data files that were opened."""
    paths: list[str] = []

    def counted(read: Any) -> Any:
        def counting(scan: Any, io: Any, tasks: Sequence[Any]) -> Any:
            paths.extend(task.file.file_path for task in tasks)
            return read(scan, io, tasks)

        return counting

    for name in ("rows_of", "rows_by_file"):
        monkeypatch.setattr(newest, name, counted(getattr(newest, name)))
    return paths
