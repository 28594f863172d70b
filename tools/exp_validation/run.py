"""Carrying out what is judged, some at a time; every outcome is kept, so that a page can be made of several runs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

from exp_platform.json_file import write_json
from exp_validation.bands import Check
from exp_validation.cells import Judged, cells, wrong
from exp_validation.settings import settings

REPLICATES, PIPELINE_REPLICATES = 100_000, 1_000  # a cell of drawn Moments, and a setting of the pipeline


@dataclass(frozen=True)
class Outcome:
    """What was found of one cell, and the processor time it took."""

    name: str
    replicates: int
    checks: tuple[Check, ...]
    seconds: float


def listed_settings() -> list[Judged]:
    """The settings of the pipeline."""
    return list(settings())


LISTS: dict[str, Callable[[], list[Judged]]] = {"cells": cells, "settings": listed_settings, "wrong": wrong}


@dataclass(frozen=True)
class Work:
    """How a list of cells is carried out: `match` repeats only cells whose name has it, where others are kept."""

    replicates: int
    processes: int
    kept: Path
    match: str = ""
    say: Callable[[str], None] = print

    def carry_out(self, listed: str) -> list[Outcome]:
        """Every cell of a list, in its order; a cell's random numbers are its own, so processes do not matter."""
        names = [judged.name for judged in LISTS[listed]()]
        outcomes = {i: o for i, o in enumerate(map(self._stored, names)) if o is not None}
        todo = [i for i in range(len(names)) if i not in outcomes]
        with ProcessPoolExecutor(self.processes, mp_context=get_context("spawn")) as pool:
            waiting = {pool.submit(_one, listed, i, self.replicates): i for i in todo}
            for position, done in enumerate(as_completed(waiting), start=1):
                outcome = outcomes[waiting[done]] = done.result()
                write_json(self._file(outcome.name), asdict(outcome))
                self.say(f"{position:3} of {len(todo)} {listed}  {outcome.seconds:6.1f} s  {outcome.name}")
        return [outcomes[i] for i in range(len(names))]

    def _stored(self, name: str) -> Outcome | None:
        file = self._file(name)
        if not self.match or self.match in name or not file.is_file():
            return None
        kept = json.loads(file.read_text())
        if kept["replicates"] != self.replicates:
            return None
        return Outcome(**{**kept, "checks": tuple(Check(**check) for check in kept["checks"])})

    def _file(self, name: str) -> Path:
        return self.kept / f"{name.replace('/', '-')}.json"


def _one(listed: str, position: int, replicates: int) -> Outcome:
    # By its position: a cell holds functions, which do not travel between processes.
    cell, clock = LISTS[listed]()[position], time.process_time()
    checks = tuple(cell.checks(replicates))
    return Outcome(cell.name, replicates, checks, time.process_time() - clock)


def checks_of(outcomes: Sequence[Outcome]) -> list[Check]:
    """All checks, in order."""
    return [check for outcome in outcomes for check in outcome.checks]
