"""Tells Airflow of the timetable that stops with its experiment, and of the order in which waiting tasks go."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from exp_platform.orchestration.priority import RunOrder
from exp_platform.orchestration.timetable import ExperimentTimetable


class ExperimentTimetablePlugin(AirflowPlugin):
    name = "experiment_timetable"
    timetables = [ExperimentTimetable]  # noqa: RUF012  Airflow's own way to declare it
    priority_weight_strategies = [RunOrder]  # noqa: RUF012
