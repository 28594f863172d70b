"""The commands of `exp` for whoever keeps the stored state: maintain, repair, backup, restore, doctor."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from exp_platform.config.environment import load_environment
from exp_platform.escaping import terminal

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
        told = ", ".join(amount) if isinstance(amount, tuple) else amount
        print(terminal(f"{what.replace('_', ' '):<14} {told}"))


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
    """Register tables that are in the warehouse and missing from the catalog."""
    from exp_platform.tables.repair import repair as repaired

    for line in repaired(load_environment(), forward):
        print(terminal(line))


@commands.command()
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file; runs may go on meanwhile.")],
) -> None:
    """Save the catalog and the leases, as of one moment, to a file."""
    from exp_platform.tables.backup import backup as backed_up

    for line in backed_up(load_environment(), file):
        print(terminal(line))


@commands.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `exp backup` wrote.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Restore the catalog from a backup, and say which tables have changed since."""
    from exp_platform.tables.backup import restore as restored

    if not yes:
        typer.confirm(f"Replace the catalog by that of {file}? What it is now is kept beside", abort=True)
    for line in restored(load_environment(), file):
        print(terminal(line))


@commands.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check the installation and the stored state, write nothing, and say what to do; exit code 1 on a fault."""
    from exp_platform.doctor.examine import examine

    findings = examine()
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            print(terminal(finding.line))
        counted = {state: sum(one.state == state for one in findings) for state in ("fault", "warning")}
        print(terminal(f"{len(findings)} checks, {counted['fault']} faults, {counted['warning']} warnings."))
    if any(finding.state == "fault" for finding in findings):
        raise typer.Exit(1)
