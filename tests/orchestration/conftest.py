from __future__ import annotations

from orchestration import airflow_home  # noqa: F401  first: Airflow reads its settings when it is imported
