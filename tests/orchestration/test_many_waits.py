"""What a wait for S3 costs the triggerer: next to nothing, however many there are."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from orchestration.fake_s3 import fake_s3

pytestmark = pytest.mark.e2e  # a process that imports Airflow

# Prints the MB that the process holds once its first waits have asked, and once many more have.
WAITING = """
import asyncio, json, sys
import psutil
from exp_platform.config.awaited import Awaited
from exp_platform.orchestration.s3_arrival import ArrivalTrigger

async def wait(number):
    awaited = [Awaited("exposures", f"s3://lake/{number}/", "parquet")]
    async for event in ArrivalTrigger.of(awaited, "aws_default", 0.5).run():
        raise SystemExit(str(event))

async def main():
    held, waits = [], []
    for count in (20, 200):
        waits += [asyncio.create_task(wait(n)) for n in range(len(waits), count)]
        await asyncio.sleep(SECONDS)
        held.append(psutil.Process().memory_info().rss / 2**20)
    print(json.dumps(held))
    sys.stdout.flush()
    for task in waits:
        task.cancel()

asyncio.run(main())
"""


def test_two_hundred_waits_take_hardly_more_memory_than_twenty() -> None:
    with fake_s3() as store:
        store.put("lake/other")
        program = WAITING.replace("SECONDS", "3")
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"AIRFLOW_CONN_AWS_DEFAULT": store.connection()},
            capture_output=True,
            text=True,
            check=True,
        )
        asked = {path.split("/")[1] for path in store.asked}
    few, many = json.loads(done.stdout.splitlines()[-1])
    assert len(asked) == 200, "not every wait has asked"
    assert many - few < 15, (few, many)  # MB; with a client of its own each took 12
