"""`python -m exp_validation`: carry out the whole validation and write its pages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from exp_platform.config.environment import state_dir
from exp_validation.page import Findings, write_pages
from exp_validation.run import PIPELINE_REPLICATES, REPLICATES, Work


def command(
    replicates: Annotated[int, typer.Option(min=1, help="Replicates a cell of drawn Moments.")] = REPLICATES,
    pipeline_replicates: Annotated[
        int, typer.Option(min=1, help="Replicates a setting of the whole pipeline.")
    ] = PIPELINE_REPLICATES,
    processes: Annotated[int, typer.Option(min=1, help="How many cells are carried out at a time.")] = 2,
    docs: Annotated[Path, typer.Option(help="The folder that the pages are written to.")] = Path("docs"),
    match: Annotated[
        str, typer.Option(help="Repeat only cells whose name has this; others are taken from the last run.")
    ] = "",
) -> None:
    """Judge every method where the truth is known, and write docs/08_statistical_validation.md and the pages that it lists."""
    work = Work(replicates, processes, state_dir() / "validation", match)
    cells = work.carry_out("cells")
    wrong = replace(work, replicates=min(replicates, 10_000)).carry_out("wrong")
    settings = replace(work, replicates=pipeline_replicates).carry_out("settings")
    found = Findings(cells, settings, wrong, replicates, pipeline_replicates, processes)
    first = write_pages(found, docs)
    print(f"{len(found.misses)} of {found.judged} rates outside their bands; see {first}")


if __name__ == "__main__":
    typer.run(command)
