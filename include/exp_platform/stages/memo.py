"""Stage memo: writes the memo of the newest stored result, with its appendix, the report as HTML and its JSON twin."""

from __future__ import annotations

from exp_platform.config.environment import load_environment
from exp_platform.report.content import Report, load_report
from exp_platform.report.events import events_of
from exp_platform.report.memo import write_memo
from exp_platform.report.wording import headline, why
from exp_platform.results.reader import Results
from exp_platform.stages.run import Run, StageResult
from exp_platform.tables import fence
from exp_platform.tables.status import Status, note_status


def run(run: Run) -> StageResult:
    """Write the memo. It is about the newest as_of date that has a result, which a rerun of an earlier day is not."""
    environment = load_environment(run.environment)
    report = load_report(Results(environment), run.experiment, state=run.state)
    fence.verify()  # files have no transaction: this is as close as it gets
    files = write_memo(report, environment)
    note_status(environment, run.experiment.id, _status(report))
    return StageResult(
        rows_in=len(report.rows),
        rows_out=1,
        details={
            "memo": files.markdown,
            "appendix": files.appendix,
            "html": files.html,
            "json": files.json,
            "as_of_date": report.as_of_date.isoformat(),
            "winner": report.decision.winner,
            "action": report.decision.action,
            "decided": f"{run.experiment.id} as of {report.as_of_date}: {headline(report.decision)}",
            "why": why(report),
            "events": [event.to_json() for event in events_of(report)],
        },
    )


def _status(report: Report) -> Status:
    """Where the experiment stands as of the memo's day; a shorter word than the list's, which knows what day it is."""
    if report.decision.final and report.decision.action in ("ship", "stop"):
        return "decided"
    return "ended" if report.as_of_date >= report.experiment.window.end else "running"
