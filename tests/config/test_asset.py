"""The asset that a spec names is one that Airflow takes; what it would refuse, change or never find is told by `exp validate`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from config.test_awaited import LAKE, experiment
from exp_platform.config.asset import asset_fault, is_uri
from exp_platform.config.awaited import awaited, files_on_s3
from exp_platform.config.plans import Schedule
from exp_platform.config.source_rules import NOTHING_DECLARED
from exp_platform.config.spec_plan import ScheduleSpec

TAKEN = [
    "lake exports",
    "lake/exports",
    "träffic (v2)",
    "S3: the lake",
    "s3://lake/exports",
    "s3://lake/exports/",
    "file:///data/exports",
    "postgres://db.example:5432/lake/public/exposures",
    "redshift://dw.example/lake/public/exposures",
    "x-lake://exports",
    "exp-platform://decisions/another_one",
]
REFUSED = {
    "": None,  # by the type: at least one character
    " lake": "it begins or ends with a space",
    "lake\u200b": "characters that cannot be seen",
    "x" * 1501: "1,501 characters instead of at most 1,500",
    "self": "Airflow keeps this name for itself",
    "context": "Airflow keeps this name for itself",
    "s3://${LAKE}/exports": "variables are not filled in here",
    "s3://": "the bucket or host is missing",
    "s3:///exports": "the bucket or host is missing",
    "S3://lake": "'S3' is no scheme",
    "://lake": "'' is no scheme",
    "airflow://lake": "Airflow keeps the scheme 'airflow'",
    "postgres://me:secret@db/lake": "user and password do not belong",
    "s3://lake/exports?day=1": "Airflow drops or changes",
    "s3://lake/exports#part": "Airflow drops or changes",
    "http://[lake/x": "it is no URI",
    "http://lake:port/x": "it is no URI",
    "http://:80/x": "the bucket or host is missing",
    "file://": "the path is missing",
    "redshift://dw.example/lake": "a table of Redshift is named",
}


@pytest.mark.parametrize("asset", TAKEN)
def test_names_and_uris_of_assets_are_taken(asset: str) -> None:
    assert asset_fault(asset) is None
    assert ScheduleSpec(after=asset).resolve() == Schedule(cron=None, after=asset)
    said = ScheduleSpec(after=asset, cron=None, wait_for=None)
    assert said.resolve() == Schedule(cron=None, after=asset), (
        "what is said to be absent is not there beside it"
    )
    assert is_uri(asset) is ("://" in asset)


@pytest.mark.parametrize(("asset", "fault"), [(a, f) for a, f in REFUSED.items() if f is not None])
def test_what_airflow_refuses_or_would_never_find_is_refused(asset: str, fault: str) -> None:
    assert fault in (asset_fault(asset) or "")


def test_a_run_after_an_asset_waits_for_nothing() -> None:
    started = experiment(LAKE, cron=None, after="lake exports")
    assert awaited(started, NOTHING_DECLARED) == ()
    assert files_on_s3(started, NOTHING_DECLARED) == awaited(
        replace(started, schedule=Schedule()), NOTHING_DECLARED
    )


def test_without_after_the_default_stays_daily() -> None:
    assert ScheduleSpec(after=None).resolve() == Schedule() == Schedule(cron="@daily", after=None)
