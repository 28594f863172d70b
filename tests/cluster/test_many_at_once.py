"""The same as in `end_to_end/test_many_at_once.py` on Postgres and, for the commits' path, on a REST catalog."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cluster.cluster import Cluster, ClusterInstallation
from cluster.test_rest_catalog import RestInstallation
from exp_platform.errors import LeaseError
from exp_platform.tables import fence
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.lease import Lease, force_release
from exp_platform.tables.write import replace_rows
from stages.many import ROUNDS, nothing_lost_doubled_or_mixed


class OnPostgres(ClusterInstallation):
    """The catalog and leases on the cluster's Postgres, everything else in the installation's folder."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        super().__init__(folder, cluster)
        local = yaml.safe_load((self.configs / "environments" / "embedded.yaml").read_text())
        shared = yaml.safe_load((self.configs / "environments" / "cluster.yaml").read_text())
        made = {**local, "name": "postgres", "catalog": shared["catalog"]}
        (self.configs / "environments" / "postgres.yaml").write_text(yaml.safe_dump(made))

    @property
    def variables(self) -> dict[str, str]:
        return super().variables | {"EXP_ENVIRONMENT": "postgres"}


def test_eight_experiments_at_once_on_postgres(cluster: Cluster, tmp_path: Path) -> None:
    told = nothing_lost_doubled_or_mixed(OnPostgres(tmp_path, cluster), experiments=8, rounds=ROUNDS)
    assert told["read"] > 0


def test_experiments_at_once_on_a_rest_catalog(cluster: Cluster, tmp_path: Path) -> None:
    nothing_lost_doubled_or_mixed(RestInstallation(tmp_path, cluster), experiments=3, rounds=ROUNDS)


def test_a_lease_taken_before_the_swap_keeps_the_table_on_postgres(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look is in the transaction of the swap, which rolls back and leaves the connection usable."""
    made = OnPostgres(tmp_path, cluster)
    key, row = {"experiment_id": "exp_a"}, {"owner": "somebody"}
    with made.here():
        environment = made.environment
        catalog = open_catalog(environment)
        lease = Lease("exp_a", "a slow one", environment)
        lease.acquire()
        write = type(catalog)._write_metadata

        def taken(*arguments: object, **options: object) -> None:
            write(*arguments, **options)
            force_release(environment, "exp_a")
            Lease("exp_a", "another", environment).acquire()

        before = table(catalog, "experiment_registry").metadata_location
        with monkeypatch.context() as slow, fence.fenced(lease):
            slow.setattr(type(catalog), "_write_metadata", staticmethod(taken))
            with pytest.raises(LeaseError, match="may no longer write"):
                replace_rows(catalog, "experiment_registry", key, [row], "r1")
        assert table(catalog, "experiment_registry").metadata_location == before
        with fence.fenced(Lease("exp_a", "another", environment)):
            replace_rows(catalog, "experiment_registry", key, [row], "r2")
        assert table(catalog, "experiment_registry").scan().to_arrow()["owner"].to_pylist() == ["somebody"]
