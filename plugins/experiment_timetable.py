"""Tells Airflow of the timetable that stops with its experiment."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from exp_platform.orchestration.timetable import ExperimentTimetable


class ExperimentTimetablePlugin(AirflowPlugin):
    name = "experiment_timetable"
    timetables = [ExperimentTimetable]  # noqa: RUF012  Airflow's own way to declare it
