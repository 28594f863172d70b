"""Who may see which experiment: whoever may read its DAG, by whatever auth manager Airflow has."""

from __future__ import annotations

from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from fastapi import Depends, HTTPException, Request

from exp_platform.config.asset import dag_id_of, experiment_of


def readable_dags(request: Request) -> frozenset[str]:
    """The DAGs that Airflow knows and this user may read: lists and single pages ask this one question, so they agree."""
    return frozenset(get_auth_manager().get_authorized_dag_ids(user=request.state.reader, method="GET"))


ReadableDags = Annotated[frozenset[str], Depends(readable_dags)]


def readable_experiments(dags: ReadableDags) -> frozenset[str]:
    """The experiments whose DAG this user may read."""
    return frozenset(found for dag in dags if (found := experiment_of(dag)) is not None)


Readable = Annotated[frozenset[str], Depends(readable_experiments)]


def one_experiment(experiment_id: str, dags: ReadableDags) -> str:
    """An experiment that this user may read; 404 for any other, whether there is one or not."""
    if dag_id_of(experiment_id) not in dags:
        raise HTTPException(404)
    return experiment_id


ExperimentId = Annotated[str, Depends(one_experiment)]


def one_dag(dag_id: str, dags: ReadableDags) -> str:
    """A DAG that this user may read; 404 for any other, whether there is one or not."""
    if dag_id not in dags:
        raise HTTPException(404)
    return dag_id


DagId = Annotated[str, Depends(one_dag)]


def may_see_runs(request: Request, dag_id: str | None = None) -> bool:
    """Whether this user may also see runs: of a DAG, or of DAGs at all."""
    manager: Any = get_auth_manager()
    seen: bool = manager.is_authorized_dag(
        method="GET",
        access_entity=DagAccessEntity.RUN,
        details=DagDetails(id=dag_id),
        user=request.state.reader,
    )
    return seen
