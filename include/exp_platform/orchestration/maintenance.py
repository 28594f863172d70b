"""The operator of the DAG `maintenance`: keeps the tables small, in this process (no JVM)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from airflow.sdk import BaseOperator, Context

from exp_platform.config.environment import load_environment
from exp_platform.orchestration.asked import refuse_unknown
from exp_platform.orchestration.connections import told_plainly, use_object_store


class MaintenanceOperator(BaseOperator):
    """Compacts, expires and removes what is old; returns what it did. Experiments that are being run are left out."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Run `tables.maintenance.maintain` and return its result."""
        from exp_platform.tables.maintenance import maintain

        environment = load_environment()
        with told_plainly():
            refuse_unknown(context, ())
            use_object_store(environment)
            done = maintain(environment)
        if done.busy:
            self.log.info("left out, because a run of theirs is under way: %s", ", ".join(done.busy))
        if done.damaged:
            self.log.warning("files left alone, see `exp doctor`, of: %s", ", ".join(done.damaged))
        if done.aged:
            self.log.info("rows of single users went by the rule of retention, of: %s", ", ".join(done.aged))
        return {what: list(n) if isinstance(n, tuple) else n for what, n in asdict(done).items()}
