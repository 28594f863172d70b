"""Processes of our own that take a share of one stage's tasks: what one machine needs of Spark, without a JVM.

The process that asks works too, so a pool of n starts n − 1 others. Each is a new Python (never a fork: Arrow and DuckDB have
threads) that imports what its tasks name and nothing else, `__main__` least of all, whatever that is. Tasks and answers go
through one connection, whose end, however the asking process ended, ends the other one in whatever it does.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from multiprocessing.connection import Connection, Pipe
from typing import Any, NoReturn, TypeVar

import pyarrow as pa

from exp_platform.errors import ConfigError, DataError, ExpPlatformError
from exp_platform.without_pandas import hide_pandas

T = TypeVar("T")
R = TypeVar("R")

# It imports from where this process does: tests, notebooks and spark-submit add to that.
_START = (
    "import sys; from multiprocessing.connection import Connection; asking = Connection(int(sys.argv[1])); "
    "sys.path[:] = asking.recv(); from exp_platform.stages.pool import serve; serve(asking)"
)
_OWN = (ConfigError, DataError, ExpPlatformError)


class WorkerEndedError(ExpPlatformError):
    """A process of the pool is gone in the middle of work."""


class Pool:
    """Up to `processes` at work, this one among them; the others start when there is work for them."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._others: list[_Worker] = []

    def map(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """What `work` gives of each item, in their order; both must pickle. After a failure nothing is begun, and the first is raised."""
        others = min(self._processes, len(items)) - 1
        while len(self._others) < others:
            self._others.append(_Worker())
        todo = _Todo(items)
        threads = [
            threading.Thread(target=todo.do, args=(worker.doing(work),)) for worker in self._others[:others]
        ]
        for thread in threads:
            thread.start()
        try:
            todo.do(work)
        except BaseException:  # Ctrl-C, while the threads wait for answers
            self.close()
            raise
        finally:
            for thread in threads:
                thread.join()
        return todo.results()

    def close(self) -> None:
        """Kill the other processes, whatever they do: nothing of theirs counts that they have not answered."""
        for worker in self._others:
            worker.kill()


class _Todo:
    """Items that several threads take one after another, until one of them fails."""

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = enumerate(items)
        self._lock = threading.Lock()
        self._done: dict[int, Any] = {}
        self._failure: Exception | None = None

    def do(self, work: Callable[[Any], Any]) -> None:
        """Do what nobody else has begun."""
        for number, item in self._next():
            try:
                self._done[number] = work(item)
            except Exception as error:
                self._failure = self._failure or error

    def results(self) -> list[Any]:
        """What all items gave. Raises the first failure."""
        if self._failure is not None:
            raise self._failure
        return [self._done[number] for number in sorted(self._done)]

    def _next(self) -> Iterator[tuple[int, Any]]:
        while self._failure is None:
            with self._lock:
                found = next(self._items, None)
            if found is None:
                return
            yield found


class _Worker:
    """One other process, as this one sees it."""

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        with theirs:
            # In no group that a terminal's Ctrl-C is told to: this process ends its workers. What libraries print is not
            # what a command says.
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    *(f"-W{option}" for option in sys.warnoptions),
                    "-c",
                    _START,
                    str(theirs.fileno()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=2,
                pass_fds=(theirs.fileno(),),
                process_group=0,
            )
        self._connection.send(sys.path)

    def doing(self, work: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The same work done there, to where it is sent once."""
        told: list[bytes] = [pickle.dumps((True, work))]

        def done(item: Any) -> Any:
            try:
                while told:
                    self._connection.send_bytes(told.pop())
                self._connection.send_bytes(pickle.dumps((False, item)))
                errors, result = self._connection.recv()
            except (EOFError, ConnectionError, BrokenPipeError):
                self._raise_how_it_ended()
            if errors:
                raise _relinked(errors)
            return result

        return done

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
        self._connection.close()

    def _raise_how_it_ended(self) -> NoReturn:
        code = self._process.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise WorkerEndedError(
            f"a process that took a share of the work ended in the middle of it ({how}): run again; if it stays so, memory is "
            "short: give the machine more, let fewer processes share the work (spark.master of the environment: local[1]), "
            "or run fewer stages at once"
        ) from None


def serve(asking: Connection) -> None:
    """The other process: do what comes, and answer, until nobody asks any more."""
    hide_pandas()
    came: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(asking, came), daemon=True).start()
    work: Callable[[Any], Any] = repr
    while True:
        try:
            is_work, message = pickle.loads(came.get())
            if is_work:
                work = message
                continue
            answer = pickle.dumps((None, work(message)))
        except Exception as error:
            answer = pickle.dumps((_links(error), None))
        message = None  # a task's rows are let go before the next task
        asking.send_bytes(answer)
        pa.default_memory_pool().release_unused()


def _listen(asking: Connection, came: queue.SimpleQueue[bytes]) -> None:
    try:
        while True:
            came.put(asking.recv_bytes())
    except (EOFError, OSError):
        os._exit(0)  # from the middle of a task too, whose result nobody waits for


def _links(error: Exception) -> list[Exception]:
    """The error and what it came from: pickled by itself it would come without, and its cause says what a remedy is told by."""
    error.add_note("in another process:\n" + "".join(traceback.format_exception(error)))
    links: list[Exception] = []
    link: BaseException | None = error
    while isinstance(link, Exception) and len(links) < 10:
        links.append(_picklable(link))
        link = link.__cause__ or link.__context__
    return links


def _picklable(error: Exception) -> Exception:
    try:
        again = pickle.loads(pickle.dumps(error))
        if type(again) is type(error) and str(again) == str(error):
            return error
    except Exception:  # whatever its class makes of its own message
        again = None
    kind = next((kind for kind in _OWN if isinstance(error, kind)), None)
    plain = kind(str(error)) if kind else RuntimeError(f"{type(error).__name__}: {error}")
    for note in getattr(error, "__notes__", ()):
        plain.add_note(note)
    return plain


def _relinked(links: list[Exception]) -> Exception:
    for link, cause in pairwise(links):
        link.__cause__ = cause
    return links[0]
