"""What disturbs nights that add: kills, two at once, damage, and what else happens to an installation between two runs."""

from __future__ import annotations

import random
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from end_to_end.arrivals import START, Arrivals, Night
from end_to_end.both_ways import SUMS, Both, spec
from exp_platform.cli import main as exp
from exp_platform.pipelines.runner import StageFailedError

# `exp` that kills itself as it calls a function of a module, or as it makes its commit number N
KILLED = """
import os, signal, sys
from importlib import import_module
from exp_platform.cli import main
from pyiceberg.catalog.sql import SqlCatalog

def killed(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)

class Nth:
    def __init__(self, number, original):
        self.left, self.original = number, original
    def __call__(self, *arguments, **options):
        self.left -= 1
        return killed() if self.left < 0 else self.original(*arguments, **options)

where, name = sys.argv.pop(1), sys.argv.pop(1)
if where == "commit":
    SqlCatalog._write_metadata = staticmethod(Nth(int(name), SqlCatalog._write_metadata))
else:
    setattr(import_module("exp_platform.stages." + where), name, killed)
main()
"""


def _night(day: int) -> Night:
    return Night((START + timedelta(days=day),))


@pytest.fixture
def shop(tmp_path: Path) -> tuple[Both, Arrivals]:
    """A source whose first night has been run."""
    both, came = Both(tmp_path), Arrivals(tmp_path / "raw", random.Random(7))
    both.spec(spec(came.folder, metrics=SUMS))
    came.a_day(0)
    assert both.night(_night(0))["kind"] == "full"
    return both, came


def test_a_run_that_is_killed_anywhere_leaves_nothing_that_the_next_one_does_not_mend(
    shop: tuple[Both, Arrivals],
) -> None:
    """A day of files each: killed while it reads, before and after each commit of its publication, and after that."""
    both, came = shop
    places = [
        ("ingest", "write_json"),  # all is staged, and no file says so
        ("publish", "open_catalog"),
        ("commit", "1"),  # exposures are there, outcomes are not
        ("commit", "4"),  # all is there, and the registry does not say so
        ("publish", "write_json"),  # it says so
        ("commit", "5"),  # unit days are written, and not committed
        ("decision", "open_catalog"),
    ]
    for day, (where, name) in enumerate(places, 1):
        came.a_day(day)
        as_of = (START + timedelta(days=day)).isoformat()
        run = both.adds.process("-c", KILLED, where, name, "run", "shop", "--as-of", as_of)
        said = run.communicate(timeout=120)[0]
        assert run.returncode == -signal.SIGKILL, said
        assert both.night(_night(day))["kind"] == "incremental", (where, name)


def test_of_two_runs_at_once_one_adds_and_the_other_is_refused(shop: tuple[Both, Arrivals]) -> None:
    both, came = shop
    came.a_day(1)
    as_of = (START + timedelta(days=1)).isoformat()
    command = ("-m", "exp_platform.cli", "run", "shop", "--as-of", as_of, "--force")
    runs = [both.adds.process(*command) for _ in range(2)]
    said = [run.communicate(timeout=120)[0] for run in runs]
    ended = sorted(zip((run.returncode for run in runs), said, strict=True))
    assert [code for code, _ in ended] in ([0, 0], [0, 1]), said  # or one after the other, on a busy machine
    assert all("incremental" in text if code == 0 else "is being run by" in text for code, text in ended), (
        said
    )
    told = both.night(_night(1))
    assert told == {"kind": "incremental", "why": "no new file; 4 files of before stand"}


def test_what_is_refused_tonight_is_added_tomorrow(shop: tuple[Both, Arrivals]) -> None:
    """A file of half its bytes, and one of an arm that nobody knows."""
    both, came = shop
    came.a_day(1)
    file = came.folder / "outcomes" / "01.parquet"
    content = file.read_bytes()
    good = came.rows["exposures"]["01"]

    def refused(why: str) -> None:
        for one in (both.adds, both.whole):
            with pytest.raises(StageFailedError, match=why):
                one.run("shop", as_of_dates=_night(1).days)

    file.write_bytes(content[: len(content) // 2])
    refused(r"01\.parquet cannot be read")
    file.write_bytes(content)
    came.write("exposures", "01", [row | {"arm": "gone"} for row in good])
    refused("unknown_variants")
    came.write("exposures", "01", good)
    came.a_day(2)
    assert both.night(_night(2))["why"].endswith("; 2 files of before stand")


def test_after_somebody_was_forgotten_everything_is_read_once_and_nobody_comes_back(
    shop: tuple[Both, Arrivals],
) -> None:
    """One who is exposed, and one of whom there are outcomes alone, which wait aside."""
    both, came = shop
    gone = ("user 7", f"user {came.users + 1}")
    came.write("exposures", "gone", [came.exposure(0, 7)])
    came.write("outcomes", "gone", [came.outcome(0, user) for user in (7, came.users + 1)])
    both.night(_night(0))
    places = ("exposures", "outcomes", "outcomes_aside", "outcomes_seen")
    assert {row["user_id"] for name in places for row in both.adds.rows(name)} >= {*gone}
    for one in (both.adds, both.whole):
        for user in gone:
            assert one.call(exp, "forget", "--user-id", user, "--yes").code == 0
    whys = []
    for day in (1, 2):
        came.a_day(day)
        came.write("exposures", f"again-{day}", [came.exposure(day, 7), came.exposure(day, came.users + 1)])
        whys.append(both.night(_night(day), but=("forgotten_users", "experiment_registry"))["why"])
    assert whys[0] == "rows of single users were taken out"
    assert whys[1].startswith("3 new files")
    assert not {row["user_id"] for name in places for row in both.adds.rows(name)} & {*gone}
