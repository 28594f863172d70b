"""What a task takes from Airflow's connections: which Spark it submits to, and the keys of the object store."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook
from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowNotFoundException

from exp_platform.config.awaited import files_on_s3
from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.locations import tables_of
from exp_platform.diagnosis import told
from exp_platform.errors import ConfigError, DataError, LeaseError
from exp_platform.private_files import keep_private

AWS_CONNECTION = "aws_default"
OBJECT_STORE = "keys for the object store"

_MASTER_SECONDS = 5


def use_object_store(environment: Environment, experiment: Experiment | None = None) -> None:
    """Put what `aws_default` says into this task's own process, where PyIceberg and spark-submit look for it.

    Nothing where neither the environment nor the experiment's source lies in an object store. A connection without keys leaves them to the clients' own
    search, which finds and renews an instance's role. Raises ConfigError where there is no such connection.
    """
    if not environment.uses_s3 and not (experiment and files_on_s3(experiment, environment.source_rules)):
        return
    from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook  # takes a second to import

    connection = connection_of(AWS_CONNECTION, OBJECT_STORE)
    hook: AwsGenericHook[Any] = AwsGenericHook(aws_conn_id=AWS_CONNECTION, client_type="s3")
    found = {
        "AWS_REGION": hook.region_name,
        "AWS_ENDPOINT_URL": hook.conn_config.get_service_endpoint_url("s3"),
    }
    if connection.login or hook.conn_config.role_arn or hook.conn_config.profile_name:
        keys = hook.get_credentials()
        found |= {
            "AWS_ACCESS_KEY_ID": keys.access_key,
            "AWS_SECRET_ACCESS_KEY": keys.secret_key,
            "AWS_SESSION_TOKEN": keys.token,
        }
    os.environ.update({name: value for name, value in found.items() if value})


def use_databases(experiment: Experiment) -> None:
    """Put the connections that the experiment's tables are read by into this task's own process, where `exp` has them too.

    Raises ConfigError where there is no such connection.
    """
    names = {table.location for _, _, table in tables_of(experiment.source) if table.format == "sql"}
    for name in sorted(names):
        found = connection_of(name, f"database to read {experiment.id} from")
        parts = ("conn_type", "host", "login", "password", "schema", "port")
        said = {part: getattr(found, part) for part in parts} | {"extra": found.extra_dejson}
        os.environ[f"AIRFLOW_CONN_{name.upper()}"] = json.dumps(said)


def use_spark(connection_id: str) -> str:
    """The master that stages are submitted to, put into this process as EXP_SPARK_MASTER, which environments may name.

    Raises ConfigError for a connection that stages cannot be submitted by: none, or not in client mode. The hook would
    turn one that it does not know into the master `yarn`.
    """
    mode = connection_of(connection_id, "Spark to submit to").extra_dejson.get("deploy-mode", "client")
    if mode != "client":
        raise ConfigError(
            f"the Airflow connection {connection_id!r}: deploy-mode: found {mode!r}, allowed is 'client', in which stages "
            f"run"
        )
    master: str = SparkSubmitHook(conn_id=connection_id)._connection["master"]
    os.environ["EXP_SPARK_MASTER"] = master
    return master


def check_master_answers(master: str, connection_id: str) -> None:
    """Raise AirflowException where a standalone master's port is closed: Spark itself would try for a minute."""
    if not master.startswith("spark://"):
        return
    reason: object = ""
    for address in master.removeprefix("spark://").split(","):  # one of several is enough
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=_MASTER_SECONDS).close()
            return
        except OSError as error:
            reason = error
    raise AirflowException(
        f"the Spark master {master} does not answer ({reason}): start it, or correct the Airflow connection "
        f"{connection_id!r}"
    )


@contextmanager
def told_plainly() -> Iterator[None]:
    """Within the block, what can be explained ends the task with one message, cause and remedy, and no traceback.

    Every task of the platform begins with one, so from then on nothing that the task and its spark-submit write is for others.

    A retry is of use where a lease, a database, a store or a disk is at fault; not where the config or the data are.
    """
    keep_private()
    try:
        yield
    except (ConfigError, DataError) as error:
        raise AirflowFailException(str(error)) from None
    except LeaseError as error:
        raise AirflowException(str(error)) from None
    except AirflowException:
        raise
    except Exception as error:
        meaning = told(error)
        if meaning is None:
            raise
        raise AirflowException(meaning) from None


def connection_of(connection_id: str, what_for: str) -> Connection:
    """The connection. Raises ConfigError, which says `what_for` it is needed, where there is none."""
    try:
        return BaseHook.get_connection(connection_id)
    except AirflowNotFoundException:
        raise ConfigError(
            f"the Airflow connection {connection_id!r} does not exist, so there is no {what_for}. Add it in the UI "
            f"(Admin, Connections), or set AIRFLOW_CONN_{connection_id.upper()} as scripts/airflow-env.sh does"
        ) from None
