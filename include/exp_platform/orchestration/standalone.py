"""`make airflow`: Airflow standalone that listens on one address only, its API server's.

Airflow's scheduler and triggerer each serve task logs on every interface of the machine, and no setting binds them. On one
machine nobody needs them: the API server reads the same files.
"""

from __future__ import annotations

from airflow.cli.commands import standalone_command

_SERVE_LOGS = ("scheduler", "triggerer")


class QuietCommand(standalone_command.SubCommand):
    """One of standalone's processes, started without a log server."""

    def __init__(
        self, parent: standalone_command.StandaloneCommand, name: str, command: list[str], env: dict[str, str]
    ) -> None:
        quiet = ["--skip-serve-logs"] if name in _SERVE_LOGS else []
        super().__init__(parent, name, [*command, *quiet], env)


def main() -> None:
    """Start all of Airflow, until Ctrl-C."""
    standalone_command.SubCommand = QuietCommand  # type: ignore[misc]  # the one place where it says what it starts
    standalone_command.standalone(None)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
