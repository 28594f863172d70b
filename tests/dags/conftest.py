from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestration import airflow_home  # first: Airflow reads its settings when it is imported
from orchestration.deployment import Deployment


@pytest.fixture
def deployment(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    airflow_home.make_database()
    return Deployment(tmp_path, monkeypatch)
