"""What keeps named notifiers from being told is found beforehand, and nothing is sent for it."""

from __future__ import annotations

import json

import pytest

from exp_platform.config.notify import SHORT_NAMES, Notify
from exp_platform.orchestration import named_notifiers
from exp_platform.orchestration.named_notifiers import wrong
from orchestration import airflow_home
from orchestration.notifiers import HEARD

HERE = "orchestration.notifiers"
KNOWN = {*SHORT_NAMES.values(), f"{HERE}.Keeps", f"{HERE}.NoNotifier", "no_such_package.Pager"}
TO = {"to": ["a@example.com"]}


@pytest.fixture(autouse=True)
def _airflow() -> None:
    airflow_home.make_database()
    named_notifiers._is_there.cache_clear()


def found(*listeners: Notify) -> list[str]:
    return [text for text, _ in wrong({"one": listeners}, KNOWN)]


def test_a_class_that_is_there_and_needs_no_connection_has_no_fault() -> None:
    assert found(Notify(f"{HERE}.Keeps")) == []
    assert HEARD == []


def test_a_connection_is_looked_for_by_its_default_or_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment and in Airflow's database, which has `smtp_default` as Airflow makes it."""
    assert found(Notify("smtp", arguments=TO)) == []
    mine = Notify("smtp", arguments={**TO, "smtp_conn_id": "my_mail"})
    assert found(mine) == [
        "smtp needs the connection my_mail, and Airflow has none of this name (named by one)"
    ]
    assert found(Notify("slack", arguments={"slack_webhook_conn_id": "my_chat"})) == [
        "slack needs the connection my_chat, and Airflow has none of this name (named by one)"
    ]
    named_notifiers._is_there.cache_clear()
    monkeypatch.setenv("AIRFLOW_CONN_MY_MAIL", json.dumps({"conn_type": "smtp", "host": "127.0.0.1"}))
    assert found(mine) == []


def test_where_airflows_database_does_not_answer_nothing_is_said_of_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sqlalchemy.exc import OperationalError

    def down() -> None:
        raise OperationalError("select", {}, Exception("nobody listens"))

    monkeypatch.setattr("airflow.utils.session.create_session", down)
    assert found(Notify("smtp", arguments={**TO, "smtp_conn_id": "my_mail"})) == []


def test_classes_that_cannot_be_imported_or_are_none_or_are_not_listed_are_told_with_who_names_them() -> None:
    listeners = [Notify("no_such_package.Pager"), Notify(f"{HERE}.NoNotifier"), Notify(f"{HERE}.Raises")]
    told = dict(wrong(dict.fromkeys(("one", "two", "three", "four", "five"), listeners), KNOWN))
    by = " (named by one, two, three and 2 more)"
    absent, none, unlisted = sorted(told, key=lambda text: ("Pager" not in text, "NoNotifier" not in text))
    assert absent.startswith("no_such_package.Pager cannot be imported: ModuleNotFoundError")
    assert none.startswith(f"{HERE}.NoNotifier cannot be imported: ConfigError")
    assert unlisted == f"{HERE}.Raises is not sent to: specs may not name it{by}"
    assert "`notifiers`" in told[unlisted]
    assert absent.endswith(by)
