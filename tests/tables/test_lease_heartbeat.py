"""The lease is beaten while work runs, a lost one is told once, and a silent database is borne."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import pytest

from exp_platform.errors import LeaseError
from exp_platform.tables.lease import beating


@dataclass
class Beaten:
    """A lease that raises what it is told to, one after another, then nothing."""

    raises: list[Exception | None]
    experiment_id: str = "e"
    beats: int = 0
    enough: threading.Event = field(default_factory=threading.Event)

    def heartbeat(self) -> None:
        self.beats += 1
        if self.beats >= 3:
            self.enough.set()
        error = self.raises.pop(0) if self.raises else None
        if error is not None:
            raise error


def test_it_beats_until_the_block_ends() -> None:
    lease = Beaten([])
    with beating(lease, lost=pytest.fail, every=0.01):
        assert lease.enough.wait(5)
    beats = lease.beats
    time.sleep(0.05)
    assert lease.beats == beats


def test_a_lost_lease_is_told_once_and_ends_the_beats() -> None:
    lease, told = Beaten([LeaseError("taken"), LeaseError("taken")]), threading.Semaphore(0)
    with beating(lease, lost=told.release, every=0.01):
        assert told.acquire(timeout=5)
        time.sleep(0.05)
    assert not told.acquire(blocking=False)
    assert lease.beats == 1


def test_a_database_that_does_not_answer_is_asked_again() -> None:
    lease = Beaten([OSError("locked"), OSError("locked")])
    with beating(lease, lost=lambda: pytest.fail("nobody took it"), every=0.01):
        assert lease.enough.wait(5)
