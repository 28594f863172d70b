"""An auth manager that lets only admins see one DAG, and is else Airflow's own simple one."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

FORBIDDEN = "exp_secret"


class ForbiddingAuthManager(SimpleAuthManager):
    def is_authorized_dag(self, *, user: Any, details: Any = None, **asked: Any) -> bool:
        if details and details.id == f"exp__{FORBIDDEN}" and user.role != "admin":
            return False
        return super().is_authorized_dag(user=user, details=details, **asked)
