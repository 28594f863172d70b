"""`schedule.after`: an update of somebody's Airflow asset starts a run of the experiment.

Airflow makes one run of all updates that came before it got to them. The run has no logical date; its day is the last
complete one before the newest of these updates. Nothing can keep Airflow from making runs before and after the experiment's
days, so those end at once, green.
"""

from __future__ import annotations

from airflow.sdk import Asset, Context
from airflow.sdk.definitions.asset import AssetRef

from exp_platform.config.asset import is_uri
from exp_platform.config.experiment import Experiment
from exp_platform.orchestration.timetable import season

_BY_AN_ASSET: str = "asset_triggered"  # the type of such runs


def asset_before(experiment: Experiment) -> AssetRef | None:
    """What the experiment's DAG is scheduled on; None where no asset starts it. Raises ValueError for what Airflow refuses.

    A reference, not an asset of our own: another DAG says which name and URI belong together, and Airflow takes a second
    opinion about that for a conflict.
    """
    asset = experiment.schedule.after
    if asset is None:
        return None
    if not is_uri(asset):
        return Asset.ref(name=asset)
    return Asset.ref(uri=Asset(uri=asset).uri)  # as Airflow writes the URI of the asset itself


def out_of_season(context: Context, experiment: Experiment) -> str | None:
    """Why a run that an asset started has nothing to do, as the experiment has not begun or is over; else None."""
    run, schedule = context["dag_run"], experiment.schedule
    if run.run_type != _BY_AN_ASSET:
        return None
    first, last = season(experiment)
    if run.run_after < first:
        return (
            f"nothing to do: {experiment.id} begins on {experiment.window.start} ({experiment.window.timezone}), and "
            f"{schedule.after} was updated before the end of that day"
        )
    if run.run_after > last:
        return (
            f"nothing to do: the last day that counts for {experiment.id} was {experiment.last_as_of}, and updates of "
            f"{schedule.after} start runs until {schedule.grace_days} days after (schedule.grace_days). Runs by hand work "
            "for ever"
        )
    return None
