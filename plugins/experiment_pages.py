"""Tells Airflow of the pages of experiments: an entry of the navigation, and a tab on each DAG and run."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from exp_platform.web.lazy import LazyApp


class ExperimentPagesPlugin(AirflowPlugin):
    name = "experiment_pages"
    fastapi_apps = [{"app": LazyApp(), "url_prefix": "/experiments", "name": "Experiments"}]  # noqa: RUF012  Airflow's own way
    # Relative, so that they hold behind a prefix of [api] base_url too; the app answers with a trailing slash only.
    external_views = [  # noqa: RUF012
        {
            "name": "A/B tests",
            "href": "experiments/",
            "destination": "nav",
            "url_route": "experiments",
            "nav_top_level": True,
            "icon": "experiments/static/icon.svg",
            "icon_dark_mode": "experiments/static/icon-dark.svg",
        },
        {
            "name": "Results",
            "href": "experiments/dag/{DAG_ID}",
            "destination": "dag",
            "url_route": "results",
        },
        {
            "name": "Results",
            "href": "experiments/dag/{DAG_ID}/run/{RUN_ID}",
            "destination": "dag_run",
            "url_route": "run-results",
        },
    ]
