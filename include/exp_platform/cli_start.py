"""The commands of `exp` for whoever begins: from data to a spec, and what a run of it would read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from exp_platform.config.environment import load_environment
from exp_platform.escaping import terminal

commands = typer.Typer()


@commands.command()
def init(
    locations: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE_OR_FOLDER_OR_TABLE...",
            help="One table of users; or exposures and tables of events. Globs in quotes.",
        ),
    ],
    experiment_id: Annotated[str | None, typer.Option("--id", help="The new experiment's id.")] = None,
    experiment: Annotated[
        str | None,
        typer.Option("--experiment", metavar="KEY", help="Of a log of several experiments this one."),
    ] = None,
    control: Annotated[
        str | None, typer.Option(help="The variant that the others are compared with.")
    ] = None,
    primary: Annotated[str | None, typer.Option(help="The metric that decides.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: take what is proposed.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a spec of that id.")] = False,
) -> None:
    """Look at data and write a starter spec of them, valid at once."""
    from exp_platform.starting.draft import Said
    from exp_platform.starting.init import write_spec

    written = write_spec(
        locations,
        load_environment(),
        Said(experiment_id, experiment, control, primary),
        _default if yes else _asked,
        datetime.now(UTC).date(),
        force=force,
    )
    for line in written.told:
        print(terminal(f"• {line}"))
    print(terminal(f"Wrote {' and '.join(map(str, written.paths))}. Next:"))
    print(terminal(f"  exp preview {written.experiment_id}"))
    print(terminal(f"  exp run {written.experiment_id}"))


@commands.command()
def preview(
    experiment_id: Annotated[
        str, typer.Argument(metavar="EXPERIMENT_ID", help="The experiment's id; see exp list.")
    ],
) -> None:
    """Show what a run would read, before any run: rows, users by arm and day, faults; no arm's outcomes."""
    from rich.console import Console

    from exp_platform.config.loading import load_experiment
    from exp_platform.starting.preview import preview as previewed
    from exp_platform.starting.shown import preview_parts

    found = previewed(load_experiment(experiment_id), load_environment(), datetime.now(UTC))
    console = Console(markup=False, emoji=False)
    for part in preview_parts(found):
        match part:
            case str():
                console.print(terminal(part), highlight=False, soft_wrap=True)
            case table:
                console.print(table)
    if found.refused:
        raise typer.Exit(1)


def _default(question: str, allowed: Sequence[str], default: str) -> str:
    return default


def _asked(question: str, allowed: Sequence[str], default: str) -> str:
    """The answer to a question, asked until it is one of those that are allowed."""
    if len(allowed) == 1:
        return default
    shown = f"{question} ({', '.join(allowed)})" if allowed else question
    while True:
        answer = str(typer.prompt(terminal(shown), default=default))
        if not allowed or answer in allowed:
            return answer
        print(terminal(f"{answer} is none of these."))
