"""Whether awaited objects have come to S3: asked once, or by a trigger every minute until they have.

Airflow's own S3KeyTrigger is not used. It needs aiobotocore, which allows three releases of botocore and so holds boto3
back; it asks for single keys, where a bucket that does not exist looks like a key that has not come yet; its patterns
are not those of a spec's paths; and what goes wrong in it comes back as words without their kind.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple
from http import HTTPStatus
from typing import Any, ClassVar

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowException
from airflow.triggers.base import BaseTrigger, TriggerEvent
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    InvalidRegionError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)

from exp_platform.config.awaited import Awaited
from exp_platform.errors import ConfigError
from exp_platform.orchestration.connections import OBJECT_STORE, connection_of
from exp_platform.stages.source_files import files_below

# Hundreds of waits of a triggerer ask by so many threads at once; each thread, and each connection that a client
# keeps open, costs memory.
_AT_ONCE = 8
_threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="s3-arrival")

# A server that does not answer is told within a minute, not within the five that botocore takes by itself.
_PATIENCE = Config(
    connect_timeout=10, read_timeout=20, retries={"max_attempts": 1}, max_pool_connections=_AT_ONCE
)

_WRONG_SETTINGS = (NoCredentialsError, PartialCredentialsError, InvalidRegionError, ParamValidationError)
_REMEDIES = {
    "NoSuchBucket": "correct the location in the spec, or make the bucket",
    "AccessDenied": "allow this user s3:ListBucket on the bucket",
}


class S3:
    """S3 as one Airflow connection reaches it; any number of threads may ask it at once.

    Raises ConfigError for what waiting cannot mend (no such bucket, no permission, wrong credentials), and
    AirflowException where S3 gave no answer, which a later try may get.
    """

    _made: ClassVar[dict[str, tuple[str, S3]]] = {}  # connection -> its settings and who was made of them
    _making: ClassVar[threading.Lock] = threading.Lock()

    @classmethod
    def of(cls, connection_id: str) -> S3:
        """The one of this process for the connection as it is now.

        A client takes 12 MB, so a triggerer has one and not one for each of its waits.
        """
        connection = connection_of(connection_id, OBJECT_STORE)  # without one the hook would be anybody
        settings = connection.get_uri()
        with cls._making:
            before, made = cls._made.get(connection_id, ("", None))
            if made is None or before != settings:
                made = cls(connection_id)
                cls._made[connection_id] = (settings, made)
            return made

    @classmethod
    def forget(cls, connection_id: str) -> None:
        """Have another one made for who asks next."""
        with cls._making:
            cls._made.pop(connection_id, None)

    def __init__(self, connection_id: str) -> None:
        self._connection = f"the Airflow connection {connection_id}"
        hook = S3Hook(connection_id)
        with self._explained(self._connection):
            # The connection's own settings win over our patience.
            self._client = hook.get_client_type(config=_PATIENCE.merge(hook.config))

    def missing(self, awaited: Sequence[Awaited]) -> list[Awaited]:
        """Those of which no object is there, by the rules that `ingest` finds files by."""
        return [item for item in awaited if not self._is_there(item)]

    def _is_there(self, item: Awaited) -> bool:
        path = item.location.partition("://")[2]
        bucket, _, key = path.partition("/")
        with self._explained(f"{item.what}: {item.told}"):
            if not key.endswith("/") and self._is_object(bucket, key):
                return True
            folder, wanted = files_below(path, item.format, self._exists)
            below = folder.partition("/")[2]
            keys = self._keys(bucket, f"{below}/" if below else "")
            return any(wanted(f"{bucket}/{found}") for found in keys if not found.endswith("/"))

    def _exists(self, path: str) -> bool:
        """Whether a path, bucket first, is an object's or that of a folder with an object in it."""
        bucket, _, key = path.partition("/")
        below = next(self._keys(bucket, f"{key}/", PageSize=1), None)
        return below is not None or self._is_object(bucket, key)

    def _is_object(self, bucket: str, key: str) -> bool:
        # Listing, not HEAD, whose 404 may also mean the bucket. The first name with a prefix is the prefix itself.
        return key != "" and next(self._keys(bucket, key, PageSize=1), None) == key

    def _keys(self, bucket: str, prefix: str, **limits: int) -> Iterator[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=prefix, PaginationConfig=limits
        )
        return (found["Key"] for page in pages for found in page.get("Contents", ()))

    @contextmanager
    def _explained(self, where: str) -> Iterator[None]:
        """What botocore raises, as errors that name cause and remedy."""
        try:
            yield
        except ClientError as error:
            code, words = (error.response.get("Error", {}).get(key, "") for key in ("Code", "Message"))
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if not HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
                raise AirflowException(
                    f"{where}: S3 failed ({code}: {words}); see whether it is well"
                ) from None
            remedy = _REMEDIES.get(code, f"correct {self._connection}")
            raise ConfigError(f"{where}: S3 refuses ({code}: {words}); {remedy}") from None
        except (*_WRONG_SETTINGS, ValueError) as error:
            words = " ".join(str(error).split())
            raise ConfigError(
                f"{where}: S3 cannot be asked ({words}); correct the location in the spec, or {self._connection}"
            ) from None
        except BotoCoreError as error:
            raise AirflowException(
                f"{where}: S3 gave no answer ({error}); see whether it is well and {self._connection} has its endpoint_url"
            ) from None


class ArrivalTrigger(BaseTrigger):
    """Fires once everything awaited is there, or S3 could not be asked: {"status": "success" | "error", "message": ...}."""

    def __init__(self, awaited: list[list[Any]], connection_id: str, poke_interval: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.awaited = awaited  # the fields of each Awaited: a trigger's arguments are stored as JSON
        self.connection_id = connection_id
        self.poke_interval = poke_interval

    @classmethod
    def of(cls, awaited: Sequence[Awaited], connection_id: str, poke_interval: float) -> ArrivalTrigger:
        """The trigger of these objects."""
        return cls([list(astuple(item)) for item in awaited], connection_id, poke_interval)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Where the class is, and its arguments."""
        arguments = {
            "awaited": self.awaited,
            "connection_id": self.connection_id,
            "poke_interval": self.poke_interval,
        }
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Sleep, ask, sleep, ask again; S3 is asked in a thread, so that other triggers go on meanwhile.

        The task has just asked. The first sleep is of a random length, so that the waits that a midnight or a new
        triggerer begins all at once ask one after another.
        """
        awaited = [Awaited(*fields) for fields in self.awaited]
        loop = asyncio.get_running_loop()
        try:
            await asyncio.sleep(random.uniform(0, self.poke_interval))
            while absent := await loop.run_in_executor(_threads, self._absent, awaited):
                self.log.info("not there yet: %s", ", ".join(item.told for item in absent))
                await asyncio.sleep(self.poke_interval)
        except Exception as error:  # an event is the only way to tell the task
            yield TriggerEvent({"status": "error", "message": str(error)})  # type: ignore[no-untyped-call]
            return
        yield TriggerEvent({"status": "success"})  # type: ignore[no-untyped-call]

    def _absent(self, awaited: Sequence[Awaited]) -> list[Awaited]:
        try:
            return S3.of(self.connection_id).missing(awaited)
        except ConfigError:  # perhaps of keys in a file, or a role's, which are others by now
            S3.forget(self.connection_id)
            return S3.of(self.connection_id).missing(awaited)
