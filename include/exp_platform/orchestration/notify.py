"""Word when something changes: an experiment's events go to the notifiers that its spec names, else to its environment's.

In the task's own process, under the run's lease, each notifier in a thread with a time limit: one that raises, hangs or cannot be
imported costs a line in the log, and no task.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from airflow.sdk import BaseNotifier, Context

from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.notify import SHORT_NAMES, Notify
from exp_platform.errors import ConfigError, bounded
from exp_platform.escaping import line
from exp_platform.orchestration.message import arguments_of
from exp_platform.orchestration.shown import result_page
from exp_platform.report.event import Event, Told, after_failure, after_good_run, after_results, untold
from exp_platform.tables.told import Key, heard_of, note_told, told_of

log = logging.getLogger(__name__)

SECONDS = 20.0  # that a notifier may take for a message
EVENT = "experiment_event"  # in the context that a notifier is given


def tell_results(
    context: Context, environment: Environment, experiment: Experiment, details: Mapping[str, Any]
) -> None:
    """Tell what new results changed, from the manifest of `memo`. Raises nothing."""
    events = [Event.from_json(event) for event in details["events"]]
    _tell(context, environment, experiment.id, experiment.notify, events, lambda told: after_results(events))


def tell_failure(
    context: Context,
    environment: Environment,
    experiment_id: str,
    listeners: tuple[Notify, ...] | None,
    events: Sequence[Event],
) -> None:
    """Tell why a run failed; without `events` it ended well, which is remembered. Raises nothing."""

    def remembered(told: Told) -> Told:
        return after_failure(events, told) if events else after_good_run(told)

    _tell(context, environment, experiment_id, listeners, events, remembered)


def _tell(
    context: Context,
    environment: Environment,
    experiment_id: str,
    listeners: tuple[Notify, ...] | None,
    events: Sequence[Event],
    remembered: Callable[[Told], Told],
) -> None:
    """Send what is new, then remember it: a task that is killed between the two tells it once more."""
    known = allowed(environment)
    if listeners is None:
        listeners = _own(environment)
    try:
        told, heard = told_of(environment, experiment_id), heard_of(environment, experiment_id)
        new = untold(events, told)
        due = [event for event in events if event in new or (event.key in told and event.key in heard)]
        outcome = _send(context, listeners, known, experiment_id, due, heard)
        unheard = {key for key, names in outcome.items() if names is not None and not names}
        # What should have been heard and was not is told by the next run, as a change of what was told last
        kinds = {kind for kind, _ in unheard}
        now = (remembered(told) - unheard) | {key for key in told if key[0] in kinds}
        some = {key: names for key, names in {**heard, **outcome}.items() if names and key in now}
        if (now, some) != (told, heard):
            _remember(environment, experiment_id, now, some)
    except Exception as error:  # of whatever kind: no word is worth a run
        log.warning("nobody was told what changed: %s", bounded(f"{type(error).__name__}: {error}"))


def _remember(
    environment: Environment, experiment_id: str, told: Told, heard: Mapping[Key, frozenset[str]]
) -> None:
    try:
        note_told(environment, experiment_id, told, heard)
    except OSError as error:  # such as of a DAG processor, which may only read
        why = bounded(f"{type(error).__name__}: {error}")
        log.warning("what was told cannot be remembered, so it may be told again: %s", why)


def _send(
    context: Context,
    listeners: Sequence[Notify],
    known: Collection[str],
    experiment_id: str,
    events: Sequence[Event],
    heard: Mapping[Key, frozenset[str]],
) -> dict[Key, frozenset[str] | None]:
    """Tell each event to whoever listens and has not heard it, and return who has heard it by now; None: everybody who listens.

    A notifier that did not end in time is not asked again: a run waits once for each, however many events there are.
    """
    hanging: set[int] = set()
    outcome: dict[Key, frozenset[str] | None] = {}
    for event in events:
        link = result_page(context["ti"].dag_id, context["ti"].run_id)
        names, missed = set(heard.get(event.key, ())), False
        for n, listener in enumerate(listeners):
            if event.kind not in listener.events or listener.name in names:
                continue
            failure: BaseException | None = TimeoutError()
            if n not in hanging:
                failure = refused_class(listener, known) or _notify(
                    context, listener, event, experiment_id, link
                )
                hanging |= {n} if isinstance(failure, TimeoutError) else set()
                _log(listener, event, failure)
            if failure is None:
                names.add(listener.name)
            missed |= failure is not None
        outcome[event.key] = frozenset(names) if missed else None
    return outcome


def allowed(environment: Environment) -> frozenset[str]:
    """The classes of notifiers that specs may name."""
    own = (one.class_name for one in _own(environment))
    return frozenset((*SHORT_NAMES.values(), *environment.notifiers, *own))


def _own(environment: Environment) -> tuple[Notify, ...]:
    return tuple(one.resolve() for one in environment.notify)


def refused_class(listener: Notify, known: Collection[str]) -> ConfigError | None:
    """Why a class is not even imported: whoever writes a spec does not say what code runs here."""
    if listener.class_name in known:
        return None
    return ConfigError(
        f"notify: specs may not name {listener.notifier}; whoever looks after the environment can add it to its `notifiers`"
    )


def _log(listener: Notify, event: Event, failure: BaseException | None) -> None:
    name = line(listener.notifier)
    if failure is None:
        log.info("told by %s: %s", name, line(event.sentence))
        return
    why = bounded(line(f"{type(failure).__name__}: {failure}"))
    log.warning("could not tell %s by %s (the run goes on): %s", event.kind, name, why)


def _notify(
    context: Context, listener: Notify, event: Event, experiment_id: str, link: str
) -> BaseException | None:
    """Tell one event by one notifier; what went wrong, else None."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            notifier = _made(listener, event, experiment_id, link)
            # Not by calling it, which would evaluate the message as a template: there are texts of data in it.
            notifier.notify(_with_event(context, event, experiment_id, link))
        except BaseException as error:  # a notifier may even ask the process to exit
            failures.append(error)

    thread = threading.Thread(target=work, name=f"notify {listener.notifier}", daemon=True)
    thread.start()
    thread.join(SECONDS)
    if thread.is_alive():
        return TimeoutError(f"no end within {SECONDS:g} seconds")
    return failures[0] if failures else None


def _made(listener: Notify, event: Event, experiment_id: str, link: str) -> BaseNotifier:
    """The notifier with its message. Raises what `class_of` does, and whatever the class raises."""
    found = class_of(listener)
    return found(**arguments_of(found, listener.arguments, event, experiment_id, link))


def class_of(listener: Notify) -> type[BaseNotifier]:
    """The notifier's class. Raises ConfigError for what is none, and whatever its module raises."""
    module, _, name = listener.class_name.rpartition(".")
    found = getattr(importlib.import_module(module), name, None)
    if not (isinstance(found, type) and issubclass(found, BaseNotifier)):
        raise ConfigError(
            f"notify: {listener.notifier} is no notifier of Airflow; name a subclass of airflow.sdk.BaseNotifier"
        )
    return found


def _with_event(context: Context, event: Event, experiment_id: str, link: str) -> Any:
    told = event.to_json() | {"experiment_id": experiment_id, "link": link}
    return {**context, EVENT: told}
