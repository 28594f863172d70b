"""The DAG `maintenance`: every night, fewer files and snapshots in the tables. Airflow shows what it did as XCom."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable

from exp_platform.orchestration.dag import RETRY_DELAY, STAGES_POOL
from exp_platform.orchestration.maintenance import MaintenanceOperator

with DAG(
    dag_id="maintenance",
    description="Compacts tables, expires old snapshots, removes old runs and files that nothing names",
    doc_md=__doc__,
    tags=["platform"],
    schedule=CronTriggerTimetable("30 3 * * *", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    default_args={"owner": "platform", "retries": 1, "retry_delay": RETRY_DELAY},
) as dag:
    MaintenanceOperator(task_id="maintain", pool=STAGES_POOL, execution_timeout=timedelta(hours=2))
