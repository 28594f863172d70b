"""The command `exp`: validate, list, run, results, memo, report, plan, unlock, delete, and the commands of `cli_state`."""

from __future__ import annotations

import json
import math
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from exp_platform.cli_metrics import commands as metric_commands
from exp_platform.cli_privacy import commands as privacy_commands
from exp_platform.cli_schema import commands as schema_commands
from exp_platform.cli_start import commands as start_commands
from exp_platform.cli_state import commands as state_commands
from exp_platform.config.analyses import METHODS, UNADJUSTED
from exp_platform.config.environment import load_environment
from exp_platform.config.faults import render_key
from exp_platform.config.loading import load_all, load_experiment
from exp_platform.config.locations import always_read
from exp_platform.errors import ConfigError, DataError
from exp_platform.escaping import terminal
from exp_platform.json_file import write_whole
from exp_platform.pipelines import run_end_to_end as end_to_end
from exp_platform.pipelines.skipping import with_skip_flags

if TYPE_CHECKING:
    from exp_platform.config.experiment import Experiment
    from exp_platform.planning.known import Earlier
    from exp_platform.report.content import Report

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A/B experiments from raw data to decision. Start with: exp list",
)
console = Console(markup=False, emoji=False)  # brackets and colons in what users wrote mean themselves

ExperimentId = Annotated[
    str, typer.Argument(metavar="EXPERIMENT_ID", help="The experiment's id; see exp list.")
]


def _finite(value: float | None) -> float | None:
    """Of a number that a plan is made of: NaN and infinities pass a range."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number to plan with")
    return value


Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"])]


@app.command()
def validate() -> None:
    """Check every config file and list all errors at once."""
    loaded = load_all()
    for error in loaded.errors:
        console.print(terminal(str(error)), highlight=False, soft_wrap=True)
    files = {e.spec_file for e in loaded.experiments.values()}
    console.print(
        terminal(
            f"{len(loaded.experiments)} experiments in {len(files)} files are valid, {len(loaded.errors)} errors."
        )
    )
    if shared := loaded.library.counted():
        console.print(terminal(f"They share {shared}."))
    for experiment in loaded.experiments.values():
        for key in always_read(experiment):
            told = "no watermark, so nothing tells whether the table changed: every run reads it, as other data than before"
            console.print(
                terminal(f"{experiment.spec_file}: {render_key(key)}: {told}"), style="yellow", soft_wrap=True
            )
    if loaded.errors:
        raise typer.Exit(1)


@app.command("list")
def list_experiments() -> None:
    """List the experiments with their newest decision."""
    from exp_platform.results.reader import Results

    loaded = load_all()
    results = Results(load_environment(), skip_damaged=True)
    newest = results.newest_decisions()
    wide = console.width >= 110
    table = Table()
    for name in ("Experiment", *(("Source", "Primary metric") if wide else ()), "Ends", "As of", "Decision"):
        table.add_column(name, no_wrap=name != "Primary metric")
    for experiment in loaded.experiments.values():
        stored = newest.get(experiment.id)
        primary = ", ".join(m.id for m in experiment.metrics if m.role == "primary")
        cells = (experiment.source.kind, primary) if wide else ()
        found = (str(stored.as_of_date), f"{stored.winner}, {stored.action}") if stored else ("–", "–")
        table.add_row(experiment.id, *cells, str(experiment.window.end), *found)
    console.print(table)
    for fault in results.unreadable:
        console.print(terminal(f"damaged, so not shown: {fault}"), style="yellow", highlight=False)
    if loaded.errors:
        told = f"{len(loaded.errors)} config errors hide experiments: run exp validate"
        console.print(terminal(told), style="yellow")


@app.command()
@with_skip_flags
def run(
    experiment_id: ExperimentId,
    config: end_to_end.ConfigOption = None,
    as_of: end_to_end.AsOfOption = None,
    first: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First of several as_of days.")
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last of them; all in one pass.")
    ] = None,
    synth: Annotated[
        bool,
        typer.Option(
            "--synth/--no-synth", help="Write a synthetic experiment's raw data first, or use what is there."
        ),
    ] = True,
    force: end_to_end.ForceOption = False,
    full: end_to_end.FullOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run; write nothing.")] = False,
    skipped: tuple[str, ...] = (),
) -> None:
    """Run an experiment here, without Airflow: the same stages in one Spark session."""
    outcome = end_to_end.run_and_report(
        experiment_id,
        config,
        _days(as_of, first, last),
        force=force,
        full=full,
        skipped=skipped,
        generate_synth=synth,
        dry_run=dry_run,
    )
    if outcome is not None:
        _show(experiment_id, None, UNADJUSTED, config)


def _days(as_of: datetime | None, first: datetime | None, last: datetime | None) -> list[date] | None:
    if first is None and last is None:
        return [as_of.date()] if as_of else None
    if as_of is not None:
        raise ConfigError("--as-of names one day and --from --to several: give one or the other")
    if first is None or last is None:
        raise ConfigError("--from and --to go together")
    if last < first:
        raise ConfigError(f"--to {last.date()} is before --from {first.date()}")
    return [first.date() + timedelta(days=i) for i in range((last - first).days + 1)]


@app.command()
def results(
    experiment_id: ExperimentId,
    as_of: end_to_end.AsOfOption = None,
    method: Annotated[str, typer.Option(help=", ".join(METHODS))] = UNADJUSTED,
    as_json: Annotated[bool, typer.Option("--json", help="Print the memo's JSON twin.")] = False,
) -> None:
    """Show the decision and a table of results."""
    day = as_of.date() if as_of else None
    if method not in METHODS:
        raise ConfigError(f"--method: found {method!r}; allowed are {', '.join(METHODS)}")
    if as_json:
        from exp_platform.report.memo import as_json as report_json

        print(json.dumps(report_json(_report(experiment_id, day)), indent=1, default=str))
        return
    _show(experiment_id, day, method)


def _show(experiment_id: str, as_of: date | None, method: str, config: Path | None = None) -> None:
    from exp_platform.report.tables import decision_panel, results_table, rows_table

    report = _report(experiment_id, as_of, config)
    console.print(decision_panel(report))
    console.print(results_table(report, method, width=console.width))
    if report.stored.rows:
        console.print(rows_table(report))


def _report(experiment_id: str, as_of: date | None, config: Path | None = None) -> Report:
    from exp_platform.report.content import load_report
    from exp_platform.results.reader import Results

    return load_report(Results(load_environment()), load_experiment(experiment_id, config), as_of)


@app.command()
def memo(
    experiment_id: ExperimentId,
    as_of: end_to_end.AsOfOption = None,
    behind: Annotated[bool, typer.Option("--appendix", help="All that lies behind it.")] = False,
) -> None:
    """Print the memo, built from the stored results."""
    from exp_platform.report.memo import appendix
    from exp_platform.report.one_page import render

    stored = _report(experiment_id, as_of.date() if as_of else None)
    print(appendix(stored)) if behind else print(render(stored))


@app.command()
def report(
    experiment_id: ExperimentId,
    as_of: end_to_end.AsOfOption = None,
    out: Annotated[
        Path | None, typer.Option(help="The file to write; without it <id>.html here.", dir_okay=False)
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
) -> None:
    """Write the report as one HTML file, built from the stored results: it opens offline, can be mailed, and prints."""
    import webbrowser

    from exp_platform.report.html.file import html_file

    page = html_file(_report(experiment_id, as_of.date() if as_of else None))
    path = out or Path(f"{experiment_id}.html")
    write_whole(path, page)
    print(terminal(str(path.resolve())))
    if open_it and not webbrowser.open(path.resolve().as_uri()):
        print("No browser could be opened here: open the file yourself.")


@app.command()
def plan(
    experiment_id: ExperimentId,
    metric: Annotated[str | None, typer.Option(help="Only this metric.")] = None,
    users: Annotated[
        float | None,
        typer.Option(min=2, max=1e15, callback=_finite, help="Users expected in all arms together."),
    ] = None,
    daily_users: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=1e15,
            callback=_finite,
            help="New users per day; by default stored ones, or the spec's.",
        ),
    ] = None,
    baseline: Annotated[
        float | None, typer.Option(callback=_finite, help="Control's expected mean (with --metric).")
    ] = None,
    sd: Annotated[
        float | None,
        typer.Option(min=0, callback=_finite, help="Standard deviation per user (with --metric)."),
    ] = None,
    variance_reduction: Annotated[
        float | None,
        typer.Option(
            min=-1, max=0.999, callback=_finite, help="What adjusting takes off the variance (with --metric)."
        ),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(metavar="EXPERIMENT_ID", help="Plan by another experiment's stored results."),
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(
            help="Plan by a Parquet or CSV file of earlier users: columns named as metrics, covariates."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Say how many users and days each metric's mde needs, and which effect given users or days would find."""
    from exp_platform.analyses.planned import Expected
    from exp_platform.planning.arrivals import Arrivals
    from exp_platform.planning.metric_plan import plan_metric
    from exp_platform.report.plan import durations_table, plan_json, plan_lines, plan_table

    experiment = load_experiment(experiment_id)
    given = Expected(baseline, sd, variance_reduction)
    if given != Expected() and metric is None:
        raise ConfigError(
            "--baseline, --sd and --variance-reduction are of one metric: name it with --metric"
        )
    known = [m.id for m in experiment.metrics]
    if metric is not None and metric not in known:
        raise ConfigError(f"--metric {metric}: {experiment_id} has the metrics {', '.join(known)}")
    earlier = _earlier_users(experiment, like, history)
    daily = daily_users or (None if earlier.arrivals else experiment.decision.daily_users)
    arrivals = Arrivals(daily) if daily else earlier.arrivals
    plans = [
        plan_metric(
            experiment, m, known=earlier.metrics.get(m.id), given=given, users=users, arrivals=arrivals
        )
        for m in (experiment.metrics if metric is None else [experiment.metric(metric)])
    ]
    if as_json:
        print(json.dumps(plan_json(experiment, plans), indent=1, default=str))
    else:
        console.print(plan_table(experiment, plans, width=console.width))
        for made in plans:
            if made.durations and (metric is not None or made.metric.role == "primary"):
                console.print(durations_table(experiment, made))
        for line in plan_lines(experiment, plans):
            console.print(terminal(line), highlight=False)
        if arrivals is None:
            console.print("Give --daily-users (or decision.daily_users in the spec) for the days.")
    if not any(made.possible for made in plans):
        raise DataError(
            f"{experiment_id}: nothing could be planned; the notes of each metric say why and what helps"
        )


def _earlier_users(experiment: Experiment, like: str | None, history: Path | None) -> Earlier:
    if like is not None and history is not None:
        raise ConfigError("--like and --history both say what to expect: give one of them")
    if history is not None:
        from exp_platform.planning.history import earlier_users

        return earlier_users(experiment, history)
    from exp_platform.results.earlier import earlier_results
    from exp_platform.results.reader import Results

    return earlier_results(
        Results(load_environment()), experiment, None if like is None else load_experiment(like)
    )


@app.command()
def unlock(
    experiment_id: ExperimentId,
    force: Annotated[bool, typer.Option("--force", help="Also where the run may be alive.")] = False,
) -> None:
    """Release the lease that a dead run of an experiment left behind."""
    from exp_platform.tables.audit import record
    from exp_platform.tables.lease import force_release, release_dead

    environment = load_environment()
    holder = (force_release if force else release_dead)(environment, experiment_id)
    held = f"was held by {holder}; it is free now" if holder else "was not held"
    print(terminal(f"{experiment_id} {held}."))
    if holder:
        record(
            environment, "unlocked", experiment_id=experiment_id, details={"holder": holder, "forced": force}
        )


@app.command()
def log(
    experiment_id: Annotated[
        str | None, typer.Argument(metavar="[EXPERIMENT_ID]", help="Of one experiment; without it of all.")
    ] = None,
    newest: Annotated[int, typer.Option("--newest", min=1, help="So many of the newest events.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print the events whole, as JSON.")] = False,
) -> None:
    """Show who ran, changed, unlocked, deleted and forgot what, and when."""
    from exp_platform.report.log import log_table
    from exp_platform.tables.audit import events

    found = events(load_environment(), experiment_id, newest)
    if as_json:
        print(json.dumps([vars(event) for event in found], indent=1))
    elif found:
        console.print(log_table(found))
    else:
        whose = f" of {experiment_id}" if experiment_id else ""
        console.print(terminal(f"Nothing is written down{whose}."), highlight=False)


@app.command()
def delete(
    experiment_id: ExperimentId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete an experiment's rows in every table, its raw data if synthetic, its runs and its memo."""
    from exp_platform.tables.deletion import delete_experiment

    if not yes:
        typer.confirm(f"Delete all stored data of {experiment_id}? This cannot be undone", abort=True)
    for line in delete_experiment(load_environment(), experiment_id):
        print(terminal(line))


app.add_typer(metric_commands)
app.add_typer(start_commands)
app.add_typer(privacy_commands)
app.add_typer(schema_commands)
app.add_typer(state_commands)  # without a name: its commands are `exp`'s own


def main() -> None:
    """Entry point of the command `exp`."""
    end_to_end.run_cli(app)


if __name__ == "__main__":
    main()
