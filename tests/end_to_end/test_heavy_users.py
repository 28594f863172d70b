"""Users with millions of events: all of one lie in one bucket, which a process of a machine with many must hold, and no more than that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from end_to_end.installation import Installation
from exp_platform.kernels.hashing import hashes
from exp_platform.tables.catalog import open_catalog, table

BUCKETS, EVENTS, OTHERS = 4, 2_000_000, 4_000
START = np.datetime64("2026-03-02", "us")
MOST = 1_500  # MB of one process, of which 250 are what it imports

# `exp` with so many buckets, by processes of our own; says at the end what the largest of them took.
MEASURED = f"""
import pathlib, resource
from exp_platform.stages import rounds, workers
rounds.bucket_count = lambda exposures, outcomes: {BUCKETS}
workers.FEW_ROWS = 0
from exp_platform.cli import main
try:
    main()
finally:
    # Not its own `ru_maxrss`, which begins with the memory of the process of the tests that started it
    said = pathlib.Path("/proc/self/status").read_text()
    own = next(line.split()[1] for line in said.splitlines() if line.startswith("VmHWM"))
    print("peak", own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def write(folder: Path, heavy: list[str]) -> None:
    """Exposures of all, and outcomes in four files: EVENTS of the heavy users together, one of each other."""
    users = [*heavy, *(f"user-{number}" for number in range(OTHERS))]
    arms = ["control" if number % 2 else "treatment" for number in range(len(users))]
    exposed = pa.array(np.full(len(users), START), pa.timestamp("us", "UTC"))
    (folder / "outcomes").mkdir(parents=True)
    pq.write_table(
        pa.table({"user_id": users, "variant_id": arms, "exposed_at": exposed}), folder / "exposures.parquet"
    )
    rng = np.random.default_rng(3)
    for part in range(4):
        who = np.concatenate(
            [rng.integers(0, len(heavy), EVENTS // 4), np.arange(len(heavy) + part, len(users), 4)]
        )
        at = START + rng.integers(0, 14 * 86_400_000_000, len(who)).astype("timedelta64[us]")
        columns = {
            "user_id": pa.array(users).take(pa.array(who)),
            "event": pa.repeat("order", len(who)),
            "occurred_at": pa.array(at, pa.timestamp("us", "UTC")),
            "value": pa.array(np.ones(len(who))),
        }
        pq.write_table(pa.table(columns), folder / "outcomes" / f"{part}.parquet")


def in_one_bucket(number: int) -> list[str]:
    """Ids that the hash deals to the same bucket."""
    ids = [f"heavy-{n}" for n in range(BUCKETS * 20)]
    mine = hashes(pa.chunked_array([ids])) % np.uint64(BUCKETS) == 0
    return [name for name, there in zip(ids, mine, strict=True) if there][:number]


@pytest.mark.parametrize("users", [1, 8])
def test_a_heavy_bucket_takes_what_its_rows_take(users: int, tmp_path: Path) -> None:
    """One user with two million events, and eight who share them and a bucket."""
    place = Installation(tmp_path)
    heavy = in_one_bucket(users)
    write(tmp_path / "raw", heavy)
    place.spec(
        id="heavy",
        owner="shop",
        hypothesis="It sells.",
        variants=[{"id": "control", "control": True}, {"id": "treatment"}],
        window={"start": "2026-03-02", "days": 14},
        source={
            "kind": "events",
            "exposures": {"path": str(tmp_path / "raw" / "exposures.parquet")},
            "outcomes": {"path": str(tmp_path / "raw" / "outcomes"), "columns": {"value": "value"}},
        },
        metrics=[{"id": "orders", "type": "count", "event": "order", "role": "primary"}],
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", MEASURED, "run", "heavy", "--as-of", "2026-03-15"],
        env=os.environ | place.variables,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert (done.returncode, done.stderr) == (0, "")
    peaks = [int(kilobytes) / 1000 for kilobytes in done.stdout.splitlines()[-1].split()[1:]]
    assert max(peaks) < MOST
    assert not [path for path in (place.state / "tmp").iterdir() if path.is_dir()]
    with place.here():
        rows = (
            table(open_catalog(place.environment), "outcomes")
            .scan(selected_fields=("user_id", "bucket"))
            .to_arrow()
        )
    assert len(rows) == EVENTS + OTHERS
    assert rows.filter(pc.starts_with(rows["user_id"], "heavy"))["bucket"].unique().to_pylist() == [0]
