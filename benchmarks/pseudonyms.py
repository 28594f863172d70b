"""What pseudonyms, and a list of forgotten users, cost at ingest.

Run with `.venv/bin/python benchmarks/pseudonyms.py [USERS]` (1,000,000); generates that many users with some 7 outcomes each,
lets one process read, clean and stage them, and prints seconds of CPU of each way and their ratio to plain ids, the least
of three rounds in turn.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.fs as pafs

from exp_platform.config.environment import Environment, load_environment, temporary_state
from exp_platform.config.experiment import Experiment
from exp_platform.config.loading import load_experiment
from exp_platform.config.privacy import Key
from exp_platform.kernels.privacy import Privacy
from exp_platform.stages.ingest import TABLES
from exp_platform.stages.rounds import bucket_count
from exp_platform.stages.shards import Shard, clean_and_write, read_and_split
from exp_platform.stages.sources import plan_reading, raw_folder
from exp_platform.synth.files import write_raw
from exp_platform.tables.files import task_writer

KEY = Key(b"a key of thirty-two characters or more")
WAYS = {
    "plain ids": Privacy(),
    "pseudonyms": Privacy(pseudonyms=KEY),
    "one user forgotten": Privacy(forgotten_by=KEY, forgotten=frozenset({"of nobody"})),
    "both": Privacy(KEY, KEY, frozenset({"of nobody"})),
}
ROUNDS = 3


def main() -> None:
    """Time every way in turn."""
    users = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with temporary_state():
        environment = load_environment("embedded")
        experiment = _experiment(users)
        write_raw(experiment, pafs.LocalFileSystem(), raw_folder(experiment, environment))
        least: dict[str, float] = {}
        for _ in range(ROUNDS):
            for way, privacy in WAYS.items():
                least[way] = min(least.get(way, float("inf")), _ingest(experiment, environment, privacy))
    for way, seconds in least.items():
        print(f"{way:<20} {seconds:6.1f} s CPU {seconds / least['plain ids']:6.2f}")


def _experiment(users: int) -> Experiment:
    shipped = load_experiment("exp_checkout_button_001")
    return replace(shipped, source=replace(shipped.source, n_users=users))  # type: ignore[call-arg, type-var]


def _ingest(experiment: Experiment, environment: Environment, privacy: Privacy) -> float:
    """Seconds of CPU of one core that does all tasks of the stage one after another."""
    plan = plan_reading(experiment, environment)
    buckets = bucket_count(plan.rows("exposures", "units"), plan.rows("outcomes"))
    writers = {name: task_writer(environment, name, experiment.id, "benchmark") for name in TABLES}
    began = time.process_time()
    dealt: dict[int, list[tuple[int, Shard]]] = {}
    for bucket, shard in read_and_split(enumerate(plan.pieces), buckets):
        dealt.setdefault(bucket, []).append((bucket, shard))
    for shards in dealt.values():
        for staged in clean_and_write(
            shards, experiment, datetime.now(UTC), writers, experiment.window.end, privacy=privacy
        ):
            for path in staged.files.values():
                Path(path.removeprefix("file://")).unlink()
    return time.process_time() - began


if __name__ == "__main__":
    main()
