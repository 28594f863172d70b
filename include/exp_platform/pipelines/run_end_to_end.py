"""`python -m exp_platform.pipelines.run_end_to_end`: one experiment from raw data to memo."""

from __future__ import annotations

import gc
import os
import sys
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exp_platform.config.environment import load_environment
from exp_platform.config.loading import load_experiment, named_environment
from exp_platform.diagnosis import told
from exp_platform.errors import ConfigError
from exp_platform.escaping import terminal
from exp_platform.pipelines.skipping import with_skip_flags
from exp_platform.postponed import postpone_parsers
from exp_platform.private_files import keep_private
from exp_platform.tables.read_once import read_once
from exp_platform.without_pandas import without_pandas

if TYPE_CHECKING:
    from exp_platform.pipelines.runner import Outcome

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="A config file; the folder experiments/ beside it counts too.")
]
AsOfOption = Annotated[
    datetime | None,
    typer.Option(
        "--as-of", formats=["%Y-%m-%d"], help="Count what happened up to the end of this local day."
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Run even if the stored results are up to date.")]
FullOption = Annotated[
    bool, typer.Option("--full", help="Read everything from the source again, not only what is new.")
]


def run_and_report(
    experiment_id: str,
    config: Path | None,
    as_of_dates: list[date] | None,
    *,
    force: bool,
    full: bool,
    skipped: tuple[str, ...],
    generate_synth: bool,
    dry_run: bool = False,
) -> Outcome | None:
    """Run an experiment with a progress display and say where its memo is; `dry_run` only says what would run."""
    # Every command imports this file, and few of them run anything.
    from exp_platform.pipelines.progress import Stopwatch, console_observer
    from exp_platform.pipelines.runner import run_experiment
    from exp_platform.stages.graph import stages_of
    from exp_platform.stages.start import start_run

    watch = Stopwatch()
    experiment = load_experiment(experiment_id, config)
    environment = load_environment(
        os.environ.get("EXP_ENVIRONMENT") or (named_environment(config) if config else None)
    )
    if generate_synth and experiment.source.kind != "synthetic":
        generate_synth = False
    if dry_run:
        plan = start_run(
            experiment,
            environment,
            as_of_dates=as_of_dates,
            force=force,
            full=full,
            skipped=skipped,
            generate_synth=generate_synth,
            dry_run=True,
        )
        print(terminal(plan.message))
        for stage in stages_of(experiment, memo_only=plan.memo_only):
            if stage.name != "synth" or generate_synth:
                does = "stored input instead" if stage.name in skipped else stage.doc
                print(terminal(f"  {stage.name:<11} {does}"))
        print("Dry run: nothing was read, run or written.")
        return None
    outcome = run_experiment(
        experiment,
        environment,
        console_observer(),
        as_of_dates=as_of_dates,
        force=force,
        full=full,
        skipped=skipped,
        generate_synth=generate_synth,
    )
    if outcome.started.run is None:
        print(terminal(outcome.started.message))
    else:
        memo = f"{environment.memos_dir}/{experiment_id}"
        print(terminal(f"Done in {watch}. Memo: {memo}.md, report: {memo}.html"))
    return outcome


@with_skip_flags
def command(
    experiment_id: Annotated[
        str, typer.Option("--experiment-id", help="The experiment's id in the configs.")
    ],
    config: ConfigOption = None,
    generate_synth: Annotated[
        bool,
        typer.Option(
            "--generate-synth", help="Write the synthetic raw data first; without it, use what is there."
        ),
    ] = False,
    as_of: AsOfOption = None,
    force: ForceOption = False,
    full: FullOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run; write nothing.")] = False,
    skipped: tuple[str, ...] = (),
) -> None:
    """Run one experiment from raw data to memo, all stages in one process."""
    if generate_synth and load_experiment(experiment_id, config).source.kind != "synthetic":
        raise ConfigError(
            f"--generate-synth: {experiment_id} has a source of its own; run it without the flag"
        )
    run_and_report(
        experiment_id,
        config,
        [as_of.date()] if as_of else None,
        force=force,
        full=full,
        skipped=skipped,
        generate_synth=generate_synth,
        dry_run=dry_run,
    )


def run_cli(app: typer.Typer) -> None:
    """Run a Typer app; a known error is one message on standard error and exit code 1, never a traceback."""
    keep_private()
    # What a command imports are half a million objects that stay; to look through them again and again is a tenth of its start.
    gc.set_threshold(50_000)
    postpone_parsers()
    try:
        with without_pandas(), read_once():
            app()
    except Exception as error:
        meaning = told(error)
        if meaning is None:
            raise
        print(terminal(f"error: {meaning}"), file=sys.stderr)
        sys.exit(1)


def main() -> None:
    """Entry point of the module."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    run_cli(app)


if __name__ == "__main__":
    main()
