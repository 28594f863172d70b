"""What a stage read and wrote, as OpenLineage names it; asked for by Airflow's OpenLineage provider, and only where that is on.

A dataset is named by where it lies (`s3://bucket` and a key, or `file` and a path), as OpenLineage's own Spark integration
names Iceberg tables. A table's second name, `<namespace>.<table>` in the warehouse, is its `symlinks` facet, and the snapshot
its `version`. https://openlineage.io/docs/spec/naming
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from exp_platform.config.environment import CATALOG, Environment, load_environment
from exp_platform.stages.run import Manifest, Run

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import Dataset

SOURCE, MEMO, RESULTS = "the raw data", "the memo", "the result tables"
# What each stage reads and writes; analyses read and leave files of the run's own folder only.
READS = {
    "ingest": (SOURCE,),
    "publish": (SOURCE,),  # as `ingest` staged them
    "aggregates": ("exposures", "outcomes"),
    "decision": ("exposures", "outcomes"),  # of which the Moments are
    "memo": ("decisions", RESULTS),
}
WRITES = {
    "synth": (SOURCE,),
    "publish": ("exposures", "outcomes", "experiment_registry"),
    "aggregates": ("unit_days",),
    "decision": ("decisions", RESULTS),
    "memo": (MEMO,),
}


def lineage_of(run: Run, stage: str, manifest: Manifest | None) -> OperatorLineage[Any, Any]:
    """The datasets of a stage that starts (no manifest yet), or of a try that ended: a failed one wrote nothing that counts."""
    from airflow.providers.openlineage.extractors import OperatorLineage

    named = _Named(run, manifest)
    failed = manifest is not None and manifest.status == "failed"
    return OperatorLineage(
        inputs=list(named.all_of(READS.get(stage, ()))),
        outputs=[] if failed else list(named.all_of(WRITES.get(stage, ()))),
    )


class _Named:
    """The datasets of one run."""

    def __init__(self, run: Run, manifest: Manifest | None) -> None:
        self.run = run
        self.environment: Environment = load_environment(run.environment)
        self.snapshots = manifest.snapshots if manifest else {}

    def all_of(self, names: Iterable[str]) -> Iterator[Dataset]:
        for name in names:
            if name == SOURCE:
                yield from self._source()
            elif name == MEMO:
                yield _dataset(f"{self.environment.memos_dir}/{self.run.experiment.id}.md")
            else:
                yield from self._tables(name)

    def _tables(self, name: str) -> Iterator[Dataset]:
        from exp_platform.tables.schemas import NAMESPACE, RESULT_TABLES, table_location

        for table in RESULT_TABLES if name == RESULTS else (name,):
            location = table_location(self.environment, table)
            yield self._table(f"{NAMESPACE}.{table}", location, self.snapshots.get(table))

    def _source(self) -> Iterator[Dataset]:
        """Files by their folder; tables that others made once `ingest` has said where they lie and what it read of them."""
        from exp_platform.stages.sources import readings

        ingested = self.run.path / "ingest.json"
        tables = json.loads(ingested.read_text()).get("tables", {}) if ingested.is_file() else {}
        for reading in readings(self.run.experiment, self.environment):
            location = reading.source.location
            if reading.source.query is not None:
                yield _dataset(f"connection://{location}/{reading.source.query.table or reading.table}")
            elif reading.source.format != "iceberg":
                yield _dataset(_folder(location))
            elif location in tables:
                read = tables[location]
                yield self._table(location.removeprefix(f"{CATALOG}."), read["location"], read["snapshot"])

    def _table(self, name: str, location: str, snapshot: int | None) -> Dataset:
        from openlineage.client.facet_v2 import dataset_version_dataset, symlinks_dataset

        identifier = symlinks_dataset.Identifier(self.environment.warehouse, name, "TABLE")
        facets: dict[str, Any] = {"symlinks": symlinks_dataset.SymlinksDatasetFacet([identifier])}
        if snapshot is not None:
            facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(str(snapshot))
        return _dataset(location, facets)


def _dataset(location: str, facets: dict[str, Any] | None = None) -> Dataset:
    from openlineage.client.event_v2 import Dataset

    namespace, name = _parts(location)
    return Dataset(namespace=namespace, name=name, facets=facets or {})


def _parts(location: str) -> tuple[str, str]:
    """The namespace and the name of a path or URI."""
    from openlineage.client.naming.dataset import S3, LocalFileSystem

    scheme, _, rest = location.partition("://")
    if not rest or scheme == "file":
        local = LocalFileSystem((rest or location).rstrip("/"))
        return local.get_namespace(), local.get_name()
    bucket, _, key = rest.partition("/")
    if scheme in ("s3", "s3a", "s3n"):  # one store, by whichever client it is read
        stored = S3(bucket, key.strip("/") or "/")
        return stored.get_namespace(), stored.get_name()
    return f"{scheme}://{bucket}", key.strip("/") or "/"


def _folder(location: str) -> str:
    """A location without its glob: the folder below which all that it stands for lies."""
    parts = location.split("/")
    fixed = next((n for n, part in enumerate(parts) if re.search(r"[*?\[]", part)), len(parts))
    return "/".join(parts[:fixed])
