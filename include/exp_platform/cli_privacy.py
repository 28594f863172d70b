"""The command of `exp` for whoever answers a request to be forgotten."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from exp_platform.config.environment import load_environment
from exp_platform.errors import ConfigError, ExpPlatformError
from exp_platform.escaping import terminal

commands = typer.Typer()


@commands.command()
def forget(
    user_id: Annotated[
        str,
        typer.Option(
            "--user-id", help="The id as it stands in the data; -: read it from standard input, with --yes."
        ),
    ],
    experiment: Annotated[
        str | None, typer.Option("--experiment", metavar="EXPERIMENT_ID", help="Only of this experiment.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is held; write nothing.")] = False,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for experiments that are being run.")
    ] = 60.0,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove a person from every table, snapshot, file and message, and keep them out of later runs."""
    from exp_platform.tables.forget import COPIES, find
    from exp_platform.tables.forget import forget as forgotten

    environment = load_environment()
    if user_id == "-":  # where command lines are seen or kept
        if not (yes or dry_run):
            raise ConfigError(
                "--user-id -: standard input holds the id, so nobody can be asked: add --yes or --dry-run"
            )
        user_id = sys.stdin.readline()
    found = find(environment, user_id, experiment)
    for one in found:
        print(terminal(f"{one.experiment_id}: {one.told}"))
    if not found:
        print(terminal("nothing is held of that id" + (f" in {experiment}" if experiment else "")))
    if dry_run:
        print("Dry run: nothing was written.")
        return
    if not yes:
        typer.confirm("Erase this, and leave the user out of all later runs? It cannot be undone", abort=True)
    done = forgotten(environment, user_id, experiment, wait)
    for one in done.found:
        print(terminal(f"erased in {one.experiment_id}"))
    for line in done.told:
        print(terminal(line))
    print("later runs leave the user out, and count their rows as those of users who are to be forgotten")
    print("results that are stored go on counting them: they are sums over users")
    print(terminal(COPIES))
    if done.remaining:
        raise ExpPlatformError(
            "still to do: "
            + "; ".join(done.remaining)
            + ". Run the same command again once that has ended; what is done already stays done"
        )
