"""The commands of `exp` for whoever keeps the stored state: maintain, repair."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from exp_platform.config.environment import load_environment

commands = typer.Typer()


@commands.command()
def maintain(
    force: Annotated[
        bool,
        typer.Option("--force", help="Also where the catalog seems to have lost the names of many files."),
    ] = False,
) -> None:
    """Do what the DAG `maintenance` does each night: compact, expire, quarantine, remove what is old."""
    from exp_platform.tables.maintenance import maintain as maintained

    for what, amount in asdict(maintained(load_environment(), force=force)).items():
        print(f"{what.replace('_', ' '):<14} {', '.join(amount) if isinstance(amount, tuple) else amount}")


@commands.command()
def repair(
    forward: Annotated[
        bool,
        typer.Option(
            "--forward",
            help="Move entries that work to newer metadata too, as after the restore of an older backup.",
        ),
    ] = False,
) -> None:
    """Register the tables that lie in the warehouse and that the catalog has lost."""
    from exp_platform.tables.repair import repair as repaired

    for line in repaired(load_environment(), forward):
        print(line)
