"""Whether the notifiers that specs and environment name can be made and find their connections: what `exp doctor` asks.

In a process of its own, `python -m exp_platform.orchestration.named_notifiers`, as only this room knows Airflow. It writes a JSON list
of faults, each with its remedy, and sends nothing.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Collection, Iterator, Mapping
from functools import cache

from airflow.sdk import BaseNotifier

from exp_platform.config.environment import Environment, load_environment
from exp_platform.config.loading import load_all
from exp_platform.config.notify import Notify
from exp_platform.errors import bounded
from exp_platform.escaping import line
from exp_platform.orchestration.notify import allowed, class_of, refused_class


def main() -> None:
    """Write what is wrong to standard output."""
    environment = load_environment()
    named = named_by(environment)
    json.dump(list(wrong(named, allowed(environment))), sys.stdout)


def named_by(environment: Environment) -> dict[str, list[Notify]]:
    """Who names notifiers, and which: the environment, and each spec that can be used and has a list of its own."""
    found = {f"environment {environment.name}": [one.resolve() for one in environment.notify]}
    experiments = load_all().experiments.values()
    return found | {experiment.id: list(experiment.notify or ()) for experiment in experiments}


def wrong(named: Mapping[str, Collection[Notify]], known: Collection[str]) -> Iterator[tuple[str, str]]:
    """Each fault once, with all who name that notifier, and its remedy."""
    faults: dict[tuple[str, str], list[str]] = {}
    for who, listeners in named.items():
        for fault in {fault for listener in listeners for fault in _faults(listener, known)}:
            faults.setdefault(fault, []).append(who)
    for (found, remedy), of in faults.items():
        more = f" and {len(of) - 3} more" if len(of) > 3 else ""
        yield f"{found} (named by {', '.join(of[:3])}{more})", remedy


def _faults(listener: Notify, known: Collection[str]) -> Iterator[tuple[str, str]]:
    name = line(listener.notifier)
    if refused := refused_class(listener, known):
        yield f"{name} is not sent to: specs may not name it", bounded(str(refused).partition("; ")[2])
        return
    try:
        made = class_of(listener)
    except Exception as error:  # of whatever kind: the module is anybody's
        why = bounded(line(f"{type(error).__name__}: {error}"))
        yield (
            f"{name} cannot be imported: {why}",
            "install it where tasks run, or correct the name of the class",
        )
        return
    for connection in _connections(made, listener):
        if not _is_there(connection):
            yield (
                f"{name} needs the connection {line(connection)}, and Airflow has none of this name",
                "add it in the UI (Admin, Connections), or name another under `with`",
            )


def _connections(made: type[BaseNotifier], listener: Notify) -> list[str]:
    """The ids of connections that a notifier is made with: arguments called so, by their own value or the class's default."""
    parameters = inspect.signature(made).parameters.values()
    given = {parameter.name: parameter.default for parameter in parameters} | listener.arguments
    return [value for key, value in given.items() if key.endswith("conn_id") and isinstance(value, str)]


@cache
def _is_there(connection_id: str) -> bool:
    """Whether Airflow finds a connection from here; where it cannot be known, because its database does not answer, it counts as there."""
    from airflow.models import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException
    from airflow.utils.session import create_session
    from sqlalchemy import select
    from sqlalchemy.exc import SQLAlchemyError

    try:
        Connection.get_connection_from_secrets(connection_id)
    except AirflowNotFoundException:
        try:
            with create_session() as session:
                session.scalar(select(Connection.id).limit(1))
        except SQLAlchemyError:
            return True
        return False
    return True


if __name__ == "__main__":
    main()
