"""On a cluster, with files in S3 and the catalog on Postgres, nights add as on one machine, two experiments at once."""

from __future__ import annotations

import json
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster.cluster import Cluster, ClusterInstallation
from end_to_end.arrivals import START, Arrivals, exposures_come_late
from end_to_end.both_ways import differences, spec, stored
from end_to_end.installation import Installation

SHOPS = ("shop_a", "shop_b")
NIGHTS = 3


class Shops:
    """Two experiments on the cluster, whose nights add, and on one machine, where each night reads everything."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        for name in ("cluster", "whole"):
            (folder / name).mkdir()
        self.adds, self.whole = (
            ClusterInstallation(folder / "cluster", cluster),
            Installation(folder / "whole"),
        )
        self.store = cluster.object_store.files()
        self.bucket = f"raw/{self.adds.catalog}"
        self.came = {
            name: Arrivals(folder / "raw" / name, random.Random(seed)) for seed, name in enumerate(SHOPS)
        }
        for name, came in self.came.items():
            self.adds.spec(**spec(f"s3://{self.bucket}/{name}") | {"id": name})
            self.whole.spec(**spec(came.folder) | {"id": name})

    def night(self, day: int) -> None:
        """Files come, and both experiments are run at once."""
        as_of = START + timedelta(days=day)
        for name, came in self.came.items():
            came.a_day(day)
            if day:
                exposures_come_late(came, day)
            self._upload(name, came)
        runs = {
            name: self.adds.process("-m", "exp_platform.cli", "run", name, "--as-of", as_of.isoformat())
            for name in SHOPS
        }
        for name, run in runs.items():
            said = run.communicate(timeout=500)[0]
            assert run.returncode == 0, said
            self.whole.run(name, as_of_dates=[as_of], full=True)

    def refresh(self, name: str) -> dict[str, str]:
        """That of the experiment's newest run on the cluster."""
        newest = max(self.adds.state.glob(f"runs/{name}/*/publish.json"))
        return dict(json.loads(newest.read_text())["refresh"])

    def _upload(self, name: str, came: Arrivals) -> None:
        for path in came.folder.rglob("*.parquet"):
            key = f"{self.bucket}/{name}/{path.relative_to(came.folder)}"
            if (name, key) not in came.read:
                came.read.add((name, key))
                with self.store.open_output_stream(key) as stream:
                    stream.write(path.read_bytes())


@pytest.fixture(scope="module")
def shops(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Shops:
    made = Shops(tmp_path_factory.mktemp("increments"), cluster)
    for day in range(NIGHTS):
        made.night(day)
    return made


@pytest.mark.parametrize("name", SHOPS)
def test_a_night_adds_its_files_and_stores_what_one_machine_does_that_reads_everything(
    shops: Shops, name: str
) -> None:
    told = shops.refresh(name)
    assert told["kind"] == "incremental"
    assert told["why"].startswith("3 new files")
    assert told["why"].endswith(f"{2 + 3 * (NIGHTS - 2)} files of before stand")
    assert [*differences(_of(shops.adds, name), _of(shops.whole, name), "")] == []


def _of(place: Installation, name: str) -> dict[str, Any]:
    """What is stored of an experiment, without where its files lie."""
    return {
        table: [
            {key: value for key, value in row.items() if key != "config_hash"}
            for row in rows
            if row.get("experiment_id") == name
        ]
        for table, rows in stored(place).items()
        if table != "experiment_registry"
    }
