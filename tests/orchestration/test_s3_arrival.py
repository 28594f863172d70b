"""What counts as arrived on S3 is what `ingest` would read, and what waiting cannot mend is told at once."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowException
from airflow.triggers.base import TriggerEvent
from pyarrow.fs import LocalFileSystem

from exp_platform.config.awaited import Awaited
from exp_platform.errors import ConfigError
from exp_platform.orchestration.s3_arrival import S3, ArrivalTrigger
from exp_platform.stages.source_files import found_at
from orchestration.fake_s3 import ACCESS_DENIED, BUSY, WRONG_SECRET, FakeS3, Refusal, fake_s3

CONNECTION = "aws_default"
FILES = (
    "exposures/day=1/part-0.parquet",
    "exposures/_temporary/part-1.parquet",
    "exposures/_SUCCESS",
    "exposures-old/part-0.parquet",
    "hidden/.part-0.parquet",
    "table.parquet/part-0.parquet",
    "words/readme.txt",
    "words/more.csv.gz",
    "single.parquet",
    "data [old] #1 100%/part-0.parquet",
    "what?.parquet",
)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeS3]:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(S3, "_made", {})  # of other tests, whose environment was another
    with fake_s3() as store:
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", store.connection())
        store.put(*(f"lake/{name}" for name in FILES))
        yield store


def _is_there(location: str, kind: str | None = "parquet") -> bool:
    return S3.of(CONNECTION).missing([Awaited("exposures", location, kind)]) == []


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("exposures", True),
        ("exposures/", True),
        ("exposures/day=?/*.parquet", True),
        ("exposures/*.parquet", False),  # one folder deep only; and what is in _temporary is not finished
        ("expo", False),  # neither a file nor a folder, though names begin like this
        ("exposures*", True),
        ("hidden", False),
        ("table.parquet", True),  # a folder that is named like a file
        ("words", False),  # nothing in it is Parquet
        ("words/*.txt", True),
        ("single.parquet", True),
        ("single.parq", False),
        ("[st]*.parquet", True),
        ("**/part-0.parquet", True),
        ("exposures/_SUCCESS", True),  # named in full
        ("absent/", False),
        ("data [old] #1 100%", True),  # what exists by that name is meant, not what a glob would match
        ("data [old] #1 100%/*.parquet", True),
        ("data [new] #1 100%", False),
        ("data [!d]*/*.parquet", True),
        ("data [![]*/*.parquet", False),
        ("what?.parquet", True),
        ("[z-a].parquet", False),  # no range: the name itself
        ("single[].parquet", False),
    ],
)
def test_it_is_there_where_ingest_would_find_a_file(
    s3: FakeS3, tmp_path: Path, path: str, there: bool
) -> None:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert (found_at(f"{tmp_path}/{path}", "parquet", LocalFileSystem()).files != ()) is there

    assert _is_there(f"s3://lake/{path}") is there


@pytest.mark.parametrize(
    ("path", "there"),
    [("words", True), ("exposures/_SUCCESS", True), ("exposures/_START", False), ("hidden", False)],
)
def test_any_object_is_a_marker(s3: FakeS3, path: str, there: bool) -> None:
    assert _is_there(f"s3://lake/{path}", None) is there


def test_a_folder_that_holds_only_its_own_mark_is_empty(s3: FakeS3) -> None:
    s3.put("lake/made/")
    assert not _is_there("s3://lake/made/", None)
    assert not _is_there("s3://lake/made", None)


def test_all_pages_of_a_listing_are_read(s3: FakeS3) -> None:
    s3.put(*(f"lake/many/{number:04d}.txt" for number in range(1500)))
    assert not _is_there("s3://lake/many")
    s3.put("lake/many/z.parquet")
    assert _is_there("s3://lake/many")


def test_only_what_is_missing_is_told(s3: FakeS3) -> None:
    here, absent = (Awaited("exposures", f"s3://lake/{name}", "parquet") for name in ("exposures", "absent"))
    assert S3.of(CONNECTION).missing([here, absent]) == [absent]


@pytest.mark.parametrize(
    ("refusal", "remedy"),
    [
        (ACCESS_DENIED, "allow this user s3:ListBucket on the bucket"),
        (WRONG_SECRET, "correct the Airflow connection aws_default"),
    ],
)
def test_a_refusal_names_its_place_its_cause_and_a_remedy(s3: FakeS3, refusal: Refusal, remedy: str) -> None:
    s3.refusal = refusal
    _, code, message = refusal
    with pytest.raises(ConfigError) as told:
        _is_there("s3://lake/exposures")
    assert str(told.value) == f"exposures: s3://lake/exposures: S3 refuses ({code}: {message}); {remedy}"


def test_a_bucket_that_does_not_exist_is_not_waited_for(s3: FakeS3) -> None:
    with pytest.raises(ConfigError) as told:
        _is_there("s3://lakes/exposures/_SUCCESS", None)
    assert str(told.value) == (
        "exposures: s3://lakes/exposures/_SUCCESS: S3 refuses (NoSuchBucket: The specified bucket does not exist); "
        "correct the location in the spec, or make the bucket"
    )


@pytest.mark.parametrize(
    ("changed", "location", "words"),
    [
        ({"login": None, "password": None}, "s3://lake/x", "Unable to locate credentials"),
        ({"extra": {"endpoint_url": "lake:9000"}}, "s3://lake/x", "Invalid endpoint: lake:9000"),
        ({"extra": {"region_name": "not one"}}, "s3://lake/x", "doesn't match a supported format"),
        ({}, "s3://la ke/x", 'Invalid bucket name "la ke"'),
    ],
)
def test_settings_that_cannot_be_right_are_told_on_one_line(
    s3: FakeS3, monkeypatch, changed, location, words
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", s3.connection(**changed))
    with pytest.raises(ConfigError) as told:
        _is_there(location)
    assert words in str(told.value)
    assert str(told.value).endswith("correct the location in the spec, or the Airflow connection aws_default")
    assert "\n" not in str(told.value)


def test_a_server_that_is_busy_or_gone_may_answer_later(s3: FakeS3, monkeypatch) -> None:
    s3.refusal = BUSY
    with pytest.raises(AirflowException, match=r"S3 failed \(SlowDown: Please reduce your request rate.\)"):
        _is_there("s3://lake/exposures")
    monkeypatch.setenv(
        "AIRFLOW_CONN_AWS_DEFAULT", s3.connection(extra={"endpoint_url": "http://127.0.0.1:1"})
    )
    with pytest.raises(
        AirflowException, match=r'Could not connect to the endpoint URL: "http://127.0.0.1:1/lake'
    ):
        _is_there("s3://lake/exposures")


def test_a_connection_without_keys_leaves_them_to_the_machine(s3: FakeS3, monkeypatch) -> None:
    """As on Amazon's own, where the instance's role is the user."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://")
    for name, value in {
        "AWS_ENDPOINT_URL": s3.url,
        "AWS_ACCESS_KEY_ID": "user",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }.items():
        monkeypatch.setenv(name, value)
    assert _is_there("s3://lake/exposures")


def test_without_the_connection_nobody_is_asked(s3: FakeS3, monkeypatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_AWS_DEFAULT")
    with pytest.raises(ConfigError, match="the Airflow connection 'aws_default' does not exist"):
        _is_there("s3://lake/exposures")
    assert s3.asked == []


# ---------------------------------------------------------------- the trigger


def _events(trigger: ArrivalTrigger) -> list[TriggerEvent]:
    async def collect() -> list[TriggerEvent]:
        return [event async for event in trigger.run()]

    return asyncio.run(asyncio.wait_for(collect(), timeout=30))


def _stored(trigger: ArrivalTrigger) -> ArrivalTrigger:
    """The trigger as a triggerer makes it, from what is stored in the database."""
    path, arguments = trigger.serialize()
    assert path == "exp_platform.orchestration.s3_arrival.ArrivalTrigger"
    return ArrivalTrigger(**json.loads(json.dumps(arguments)))


AWAITED = [
    Awaited("exposures", "s3://lake/exposures", "parquet"),
    Awaited("schedule.wait_for", "s3://lake/mark", None),
]


def test_the_trigger_fires_once_everything_is_there(s3: FakeS3) -> None:
    s3.after[9] = lambda: s3.put("lake/mark")
    (event,) = _events(_stored(ArrivalTrigger.of(AWAITED, CONNECTION, 0.01)))
    assert event.payload == {"status": "success"}
    assert len(s3.asked) > 9


def test_the_trigger_ends_where_it_cannot_ask(s3: FakeS3) -> None:
    def forbid() -> None:
        s3.refusal = ACCESS_DENIED

    s3.after[9] = forbid
    (event,) = _events(_stored(ArrivalTrigger.of(AWAITED, CONNECTION, 0.01)))
    assert event.payload["status"] == "error"
    assert "S3 refuses (AccessDenied: Access Denied)" in event.payload["message"]


# ---------------------------------------------------------------- many waits in one triggerer


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every client that is made."""
    made: list[Any] = []
    make = S3Hook.get_client_type

    def counted(hook: S3Hook, **options: Any) -> Any:
        made.append(make(hook, **options))
        return made[-1]

    monkeypatch.setattr(S3Hook, "get_client_type", counted)
    return made


def _all(triggers: list[ArrivalTrigger]) -> None:
    """Run them side by side till each has fired, as a triggerer does."""

    async def run(trigger: ArrivalTrigger) -> TriggerEvent:
        return await anext(trigger.run())

    async def together() -> None:
        await asyncio.wait_for(asyncio.gather(*map(run, triggers)), timeout=60)

    asyncio.run(together())


def test_fifty_waits_share_one_client_and_few_threads(s3: FakeS3, clients: list[Any]) -> None:
    s3.after[150] = lambda: s3.put("lake/mark")
    _all([ArrivalTrigger.of(AWAITED, CONNECTION, 0.2) for _ in range(50)])
    assert len(clients) == 1
    assert len(s3.asked) > 150
    assert sum(thread.name.startswith("s3-arrival") for thread in threading.enumerate()) <= 8


def test_a_connection_that_was_changed_is_asked_with_what_it_says_now(
    s3: FakeS3, clients: list[Any], monkeypatch
) -> None:
    first = S3.of(CONNECTION)
    assert S3.of(CONNECTION) is first
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", s3.connection(password="new"))
    assert S3.of(CONNECTION) is not first
    assert len(clients) == 2


def test_keys_that_were_renewed_in_a_file_end_no_wait(s3: FakeS3, clients: list[Any]) -> None:
    def renewed() -> None:
        s3.refusal = None

    s3.refusal = WRONG_SECRET
    s3.after[2] = renewed  # with the second client
    s3.put("lake/mark")
    (event,) = _events(ArrivalTrigger.of(AWAITED, CONNECTION, 0.01))
    assert event.payload == {"status": "success"}
    assert len(clients) == 2


def test_waits_that_begin_at_once_ask_one_after_another(s3: FakeS3, monkeypatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("exp_platform.orchestration.s3_arrival.asyncio.sleep", sleep)
    s3.put("lake/mark")
    _all([ArrivalTrigger.of(AWAITED, CONNECTION, 60) for _ in range(40)])
    assert len(slept) == 40  # before anybody asked
    quarters = [sum(start <= seconds < start + 15 for seconds in slept) for start in (0, 15, 30, 45)]
    assert min(quarters) > 0
