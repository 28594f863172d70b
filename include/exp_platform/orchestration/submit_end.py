"""How a spark-submit ended that left no manifest: by which exit code or signal, and what it said last that means something."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable

from exp_platform.diagnosis import diagnosis
from exp_platform.errors import bounded

# What Spark and its neighbours say of nothing; docs/10_operations/failures.md has each with its reason.
HARMLESS = (
    "Using incubator modules: jdk.incubator.vector",
    "Unable to load native-hadoop library",
    "resolves to a loopback address",
    "Set SPARK_LOCAL_IP if you need to bind to another address",
    "ps: command not found",
    "Can't translate true to source filter",
)
_LAST_LINES = 5
_OUT_OF_MEMORY = re.compile(
    r"OutOfMemoryError|Cannot allocate memory|insufficient memory for the Java Runtime"
)
_MEMORY = (
    "memory is likely: run fewer stages at once (the pools `spark` and `stages`), give the machine more, or correct spark.driver_memory of the "
    "environment, which is what one stage's Java may take"
)
_REMEDIES = {
    signal.SIGKILL: _MEMORY,
    signal.SIGTERM: "somebody or something asked it to end, as a machine or a container that shuts down does; clear the task",
}
_BY_ITSELF = "Java or Python crashed: keep the log above, and look for an hs_err file in the folder where Airflow was started"
_LARGEST_SIGNAL = 64


def how_it_ended(code: int | None, lines: Iterable[str]) -> str:
    """In one line: how a spark-submit ended (`code` as Python gives it; None: unknown), why, and what to do."""
    said = last_words(lines)
    how, remedy = _by(code)
    if meaning := diagnosis(RuntimeError(said)):
        return f"spark-submit {how} before the stage was done: {meaning}"
    if _OUT_OF_MEMORY.search(said):
        remedy = _MEMORY
    return f"spark-submit {how} before the stage was done, saying {said or 'nothing of why'}. {remedy[0].upper()}{remedy[1:]}"


def last_words(lines: Iterable[str]) -> str:
    """The last lines that are not known to be harmless, in one."""
    told = [line.strip() for line in lines if line.strip() and not any(words in line for words in HARMLESS)]
    return bounded("; ".join(told[-_LAST_LINES:]))


def _by(code: int | None) -> tuple[str, str]:
    """How it ended, and the remedy. A shell or Spark itself tells a signal that ended a child as 128 and its number."""
    number = None if code is None else -code if code < 0 else code - 128
    if code is None or number is None or not 0 < number <= _LARGEST_SIGNAL:
        return ("ended" if code is None else f"ended with exit code {code}"), "see the log above"
    try:
        name = f" ({signal.Signals(number).name})"
        remedy = _REMEDIES.get(signal.Signals(number), _BY_ITSELF)
    except ValueError:
        name, remedy = "", _BY_ITSELF
    return f"was killed by signal {number}{name}", remedy
