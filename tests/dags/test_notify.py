"""Word when something changes, by real runs of the DAG: to a real SMTP server, a real HTTP endpoint, and notifiers that misbehave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from airflow.callbacks.callback_requests import DagCallbackRequest
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.dag_processing.processor import _execute_dag_callbacks
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.dagrun import DagRun
from airflow.models.serialized_dag import SerializedDagModel
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import delete

from exp_platform.checks import CheckResult
from exp_platform.config.environment import load_environment
from exp_platform.errors import DataError
from exp_platform.orchestration import notify
from exp_platform.orchestration.run_end import tell_timeout
from exp_platform.report.event import Event
from exp_platform.stages import execute, start
from exp_platform.stages.quality import write_checks
from exp_platform.stages.run import Run, StageResult
from exp_platform.tables.told import told_of
from orchestration.airflow_home import ROOT
from orchestration.deployment import EXPERIMENT, SPEC, DagRunOutcome, Deployment
from orchestration.notifiers import HEARD
from orchestration.receivers import http_receiver, smtp_receiver

pytestmark = pytest.mark.e2e  # with Airflow's own tasks: longer than a unit test may take

DAG_ID = f"exp__{EXPERIMENT}"
HERE = "orchestration.notifiers"
LISTED = [
    *(f"{HERE}.{name}" for name in ("Keeps", "Raises", "Exits", "Hangs", "NoNotifier", "Absent")),
    "no_such_package.Pager",
]
KEEPS = {"notifier": f"{HERE}.Keeps", "with": {"room": "growth"}}
HOSTILE = "a\r\nBcc: everybody@example.com\r\n\r\n<script>{{ 1 / 0 }}</script> <!channel> ☕"
SHIP = Event(
    "decision_changed", "treatment ship treatment", f"{EXPERIMENT}: ship treatment.", (("users", "8,000"),)
)
STOP = Event("decision_changed", "control stop", f"{EXPERIMENT}: stop.")
BREACH = Event("guardrail_breached", HOSTILE, f"{EXPERIMENT}: {HOSTILE}", ((HOSTILE, HOSTILE),), HOSTILE)


class Nights:
    """Runs of the DAG one after another, whose stages run in their tasks; `events` are what the next memo finds."""

    def __init__(self, deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
        self.deployment = deployment
        self.events: list[Event] = []
        self.failing: dict[str, Exception] = {}
        self.failed_checks: list[CheckResult] = []
        path = deployment.configs / "environments" / "embedded.yaml"
        self.environment = path.read_text().replace("spark:\n", "spark:\n  submit: sessions\n")
        path.write_text(f"{self.environment}\nnotifiers: {json.dumps(LISTED)}\n")
        monkeypatch.setattr(execute, "_run", self._work)
        monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com")

    def listen(self, *listeners: dict[str, Any]) -> None:
        self.deployment.specs({EXPERIMENT: SPEC | {"notify": list(listeners)}})

    def run(self, *events: Event) -> DagRunOutcome:
        """One run, and what `Keeps` heard in it is in HEARD."""
        HEARD.clear()
        self.events = list(events)
        return self.deployment.test_dag()

    def _work(self, run: Run, stage: str) -> StageResult:
        if stage == "quality":
            write_checks(run.path / "quality.json", self.failed_checks)
        if stage in self.failing:
            raise self.failing[stage]
        found = [event.to_json() for event in self.events]
        return StageResult(details={"events": found} if stage == "memo" else {})


@pytest.fixture
def nights(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nights]:
    yield Nights(deployment, monkeypatch)
    HEARD.clear()


def heard() -> list[tuple[str, str]]:
    return [(event["kind"], event["about"]) for _, event in HEARD if event]


def test_a_change_is_told_once_with_its_numbers_and_the_link_to_its_run(nights: Nights) -> None:
    nights.listen(KEEPS)
    outcome = nights.run(SHIP)
    assert outcome.state == "success"
    ((text, event),) = HEARD
    page = f"https://airflow.example.com/dags/exp__{EXPERIMENT}/runs/"
    assert text.split("\n")[:2] == [SHIP.sentence, "users: 8,000"]
    assert event["link"].startswith(page)
    assert text.endswith(event["link"])
    assert event["link"].endswith("/plugin/run-results")
    assert (event["experiment_id"], event["room"]) == (EXPERIMENT, "growth")
    nights.run(SHIP)
    assert HEARD == []
    nights.run(SHIP, BREACH)
    assert heard() == [BREACH.key]
    nights.run(STOP)
    assert heard() == [STOP.key]


def test_a_mail_and_a_message_in_slack_arrive_and_hostile_text_in_them_is_text(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    with smtp_receiver() as post, http_receiver() as chat:
        extra = {"disable_ssl": True, "disable_tls": True, "from_email": "exp@example.com"}
        mail = {"conn_type": "smtp", "host": "127.0.0.1", "port": post.port, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_TEAM_MAIL", json.dumps(mail))
        hook = {"conn_type": "slackwebhook", "password": f"{chat.url}/services/T0/B0/hook"}
        monkeypatch.setenv("AIRFLOW_CONN_TEAM_CHAT", json.dumps(hook))
        nights.listen(
            {
                "notifier": "smtp",
                "with": {"to": ["a@example.com", "b@example.com"], "smtp_conn_id": "team_mail"},
            },
            {
                "notifier": "slack",
                "events": ["guardrail_breached"],
                "with": {"slack_webhook_conn_id": "team_chat"},
            },
        )
        assert nights.run(SHIP, BREACH).state == "success"
        first, second = post.mails
        (posted,) = chat.to("/services/T0/B0/hook")
    assert first[0] == second[0] == ["a@example.com", "b@example.com"]
    assert first[1]["Subject"] == f"{EXPERIMENT}: decision (treatment ship treatment)"
    assert first[1]["From"] == "exp@example.com"
    assert second[1]["Bcc"] is None
    assert second[1]["Subject"].startswith(f"{EXPERIMENT}: guardrail breached (a Bcc: everybody@example.com")
    body = second[1].get_body(("html",))
    assert body is not None
    shown = body.get_content()
    assert "&lt;script&gt;{{ 1 / 0 }}&lt;/script&gt;" in shown
    assert "☕" in shown
    assert "<script>" not in shown
    assert 'href="https://airflow.example.com/dags/' in shown
    text = json.loads(posted)["text"]
    assert "&lt;!channel&gt;" in text
    assert "<!channel>" not in text
    assert "{{ 1 / 0 }}" in text
    assert text.rstrip().endswith("/plugin/run-results|Result>")


def test_notifiers_that_misbehave_cost_a_line_in_the_log_and_neither_the_run_nor_the_others(
    nights: Nights, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notify, "SECONDS", 0.5)
    names = ("Raises", "Exits", "Hangs", "NoNotifier", "Absent")
    wrong_arguments = {"notifier": f"{HERE}.Keeps", "with": {"no_such": 1}}
    nights.listen(
        *({"notifier": f"{HERE}.{name}"} for name in names),
        {"notifier": "no_such_package.Pager"},
        wrong_arguments,
        KEEPS,
    )
    outcome = nights.run(SHIP, BREACH)
    assert (outcome.state, outcome.tasks["memo"], outcome.tries["memo"]) == ("success", "success", 1)
    assert heard() == [SHIP.key, BREACH.key]
    assert [text for text, _ in HEARD].count("hangs") == 1  # and is not asked again
    said = [record.getMessage() for record in caplog.records if "could not tell" in record.getMessage()]
    of_ship = [line for line in said if "decision_changed" in line]
    for part in (
        "Raises (the run goes on): RuntimeError: no line \\x1b[2Jto the pager",
        "Exits (the run goes on): SystemExit: enough",
        "Hangs (the run goes on): TimeoutError: no end within 0.5 seconds",
        "NoNotifier is no notifier of Airflow",
        "Absent is no notifier of Airflow",
        "no_such_package.Pager (the run goes on): ModuleNotFoundError",
        "Keeps (the run goes on): TypeError",
    ):
        assert sum(part in line for line in of_ship) == 1, part
    assert len(of_ship) == 7


def test_a_class_that_the_environment_does_not_list_is_not_even_imported(
    nights: Nights, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = nights.deployment.configs / "environments" / "embedded.yaml"
    path.write_text(f"{nights.environment}\nnotifiers: [my_package.Pager]\n")
    imported: list[str] = []
    monkeypatch.setattr(notify.importlib, "import_module", imported.append)
    nights.listen(KEEPS)
    assert nights.run(SHIP).state == "success"
    assert (HEARD, imported) == ([], [])
    said = [record.getMessage() for record in caplog.records if "could not tell" in record.getMessage()]
    assert ["specs may not name orchestration.notifiers.Keeps" in line for line in said] == [True]


def test_what_nobody_could_be_told_is_told_by_the_next_run(nights: Nights) -> None:
    nights.listen({"notifier": f"{HERE}.Raises"})
    nights.run(SHIP, BREACH)
    assert told_of(load_environment(), EXPERIMENT) == frozenset()
    nights.listen(KEEPS)
    nights.run(SHIP, BREACH)
    assert heard() == [SHIP.key, BREACH.key]
    nights.listen({"notifier": f"{HERE}.Raises"})
    nights.run(going_on := Event("decision_changed", "inconclusive extend", "It goes on.", beginning=True))
    nights.listen(KEEPS)
    nights.run(going_on)
    assert heard() == [going_on.key]


def test_who_missed_a_message_is_told_by_the_next_run_and_who_heard_it_is_not_again(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_receiver() as chat:
        slack = {"notifier": "slack", "with": {"slack_webhook_conn_id": "late_chat"}}

        def posted() -> int:
            return len(chat.to("/services/T0/B0/late"))

        nights.listen(KEEPS, slack)  # there is no such connection yet
        nights.run(SHIP, BREACH)
        assert heard() == [SHIP.key, BREACH.key]
        nights.run(SHIP, BREACH)
        assert (HEARD, posted()) == ([], 0)

        hook = {"conn_type": "slackwebhook", "password": f"{chat.url}/services/T0/B0/late"}
        monkeypatch.setenv("AIRFLOW_CONN_LATE_CHAT", json.dumps(hook))
        nights.failing = {"ab": DataError("of another kind")}
        nights.run()  # a failed run says nothing of results, and forgets nothing of who missed them
        assert (heard(), posted()) == ([("run_failed", "ab")], 1)
        nights.failing = {}
        nights.run(SHIP)  # what holds no more is told to nobody
        assert (HEARD, posted()) == ([], 2)
        nights.run(SHIP)
        assert (HEARD, posted()) == ([], 2)


def test_a_change_back_is_told_though_some_had_missed_the_change(nights: Nights) -> None:
    nights.listen(KEEPS)
    nights.run(SHIP)
    nights.listen(KEEPS, {"notifier": f"{HERE}.Raises"})
    nights.run(STOP)
    nights.run(SHIP)
    assert heard() == [SHIP.key]


def test_what_was_told_and_could_not_be_remembered_is_told_once_more(
    nights: Nights, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nights.listen(KEEPS)

    def full(*_: Any) -> None:
        assert heard() == [SHIP.key], "it is remembered after it was told"
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(notify, "note_told", full)
        assert nights.run(SHIP).state == "success"
    assert "OSError: no space left" in caplog.text
    nights.run(SHIP)
    assert heard() == [SHIP.key]
    nights.run(SHIP)
    assert HEARD == []


def test_who_is_named_later_is_not_told_what_was_before(nights: Nights) -> None:
    nights.run(SHIP)
    nights.listen(KEEPS)
    nights.run(SHIP)
    assert HEARD == []
    nights.run(STOP)
    assert heard() == [STOP.key]


def test_the_environment_tells_of_specs_that_do_not_say_and_an_empty_list_silences(nights: Nights) -> None:
    path = nights.deployment.configs / "environments" / "embedded.yaml"
    path.write_text(path.read_text() + f"\nnotify: {json.dumps([KEEPS])}\n")
    nights.run(SHIP)
    assert heard() == [SHIP.key]
    nights.listen()
    nights.run(STOP)
    assert HEARD == []


def test_a_failed_run_is_told_once_with_its_reason_and_after_a_good_one_again(nights: Nights) -> None:
    nights.listen(KEEPS)
    for expected in ([("run_failed", "ab")], [], None, [("run_failed", "ab")]):
        nights.failing = {} if expected is None else {"ab": DataError("no such column; name another")}
        outcome = nights.run()
        assert outcome.state == ("success" if expected is None else "failed")
        assert heard() == (expected or [])
    ((text, _),) = HEARD
    assert text.startswith(f"{EXPERIMENT}: the run failed in ab: no such column; name another.")


def test_refused_data_are_told_by_their_checks_and_not_as_a_failed_run(nights: Nights) -> None:
    nights.listen(KEEPS)
    nights.failing = {"quality": DataError("the data were refused")}
    day = nights.deployment._default_as_of(None, None)  # type: ignore[arg-type]
    nights.failed_checks = [
        CheckResult(day, "nulls", "error", "failed", 0.2, 0.01, "20 % without user_id; deliver them")
    ]
    nights.run()
    assert heard() == [("quality_failed", "nulls")]
    assert "refused by the check nulls: 20 % without user_id; deliver them." in HEARD[0][0]
    nights.run()
    assert HEARD == []


def test_a_run_that_failed_before_it_was_frozen_is_told_by_whom_the_environment_names(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = nights.deployment.configs / "environments" / "embedded.yaml"
    path.write_text(path.read_text() + f"\nnotify: {json.dumps([KEEPS])}\n")

    def gone(*_: Any, **__: Any) -> Any:
        raise DataError("the lake is gone")

    monkeypatch.setattr(start, "start_run", gone)
    assert nights.run().state == "failed"
    assert heard() == [("run_failed", "check")]


def test_a_spec_that_breaks_after_a_run_is_told_to_whom_that_run_named(nights: Nights) -> None:
    nights.listen(KEEPS)
    nights.run(SHIP)
    nights.deployment.specs({EXPERIMENT: SPEC | {"notify": [KEEPS], "n_user": 3}})
    HEARD.clear()
    assert nights.deployment.test_dag(broken=True).state == "failed"
    assert heard() == [("run_failed", "check")]
    assert "n_user: found an unknown key" in HEARD[0][0]
    nights.listen(KEEPS)
    assert (nights.run(SHIP).state, HEARD) == ("success", [])


def test_a_run_that_airflow_ends_for_its_time_is_told_though_no_task_of_it_is_left(nights: Nights) -> None:
    nights.listen(KEEPS)
    HEARD.clear()
    bag = DagBag(ROOT / "dags")
    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(bag, "dags-folder", None)
    limit = bag.dags[DAG_ID].dagrun_timeout
    assert limit is not None
    for began, words in ((datetime.now(UTC) - limit, 1), (datetime.now(UTC), 0)):
        request = ended_by_the_scheduler(began)
        assert (request is not None) == bool(words)
        if request is not None:
            _execute_dag_callbacks(bag, request, structlog.get_logger())
            ((text, event),) = HEARD
            assert f"the run had not ended within {limit.total_seconds() / 3600:g} hours" in text
            assert (event["kind"], event["experiment_id"]) == ("run_failed", EXPERIMENT)
            _execute_dag_callbacks(bag, request, structlog.get_logger())
            assert len(HEARD) == 1, "it is told once"


def test_any_other_run_that_failed_is_told_by_its_own_tasks_alone(nights: Nights) -> None:
    nights.listen(KEEPS)
    HEARD.clear()
    for reason in ("task_failure", "all_tasks_deadlocked", None):
        tell_timeout({"reason": reason}, EXPERIMENT)  # type: ignore[typeddict-item]
    assert HEARD == []


def ended_by_the_scheduler(began: datetime) -> DagCallbackRequest | None:
    """What Airflow's scheduler asks a DAG processor for when it comes to a run that began then."""
    with create_session() as session:
        dag = SerializedDagModel.get_dag(DAG_ID, session=session)
        assert dag is not None
        run = dag.create_dagrun(
            run_id=began.isoformat(),
            run_after=began,
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.RUNNING,
            start_date=began,
            session=session,
        )
        session.commit()
        request = SchedulerJobRunner(Job())._schedule_dag_run(run, session)
        session.commit()
        session.execute(delete(DagRun).where(DagRun.dag_id == DAG_ID))
    return request
