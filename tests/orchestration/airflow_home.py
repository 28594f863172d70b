"""An Airflow of the tests' own: importing this gives the process a throw-away AIRFLOW_HOME on SQLite.

Import it before anything of Airflow: Airflow reads its settings once. Nothing touches a developer's own Airflow.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import warnings
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(tempfile.mkdtemp(prefix="exp-airflow-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)

os.environ |= {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME}/airflow.db",
    "AIRFLOW_CONN_SPARK_DEFAULT": '{"conn_type": "spark", "host": "local[*]", "extra": {"deploy-mode": "client"}}',
}


@cache
def make_database() -> None:
    """Create Airflow's tables, once a process."""
    from airflow.utils.db import initdb

    # What Airflow's own dependencies say of each other when they are imported, and make their tables
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import airflow.api_fastapi.execution_api.app  # noqa: F401

        initdb()  # of providers that are installed too
