"""An event as a message: its texts are those of specs and data, and none of them is more than text where it is shown."""

from __future__ import annotations

import html.parser

import pytest
from airflow.providers.slack.notifications.slack_webhook import SlackWebhookNotifier
from airflow.providers.smtp.notifications.smtp import SmtpNotifier

from exp_platform.orchestration.message import arguments_of, as_html, plain, slack, subject_of
from exp_platform.report.event import Event
from orchestration.notifiers import Keeps

LINK = "https://airflow.example.com/dags/exp__x/runs/manual__1%2B2/plugin/run-results"
HOSTILE = (
    "<script>alert(1)</script>",
    "<!channel> <https://evil.test|Result>",
    "a\r\nBcc: everybody@example.com\r\n\r\nbody",
    "{{ var.value.secret }}{% for x in y %}",
    "\x1b[2J\u202egnihton\x00",
    '"><img src=x onerror=alert(1)>',
)
SHIP = Event(
    "decision_changed",
    "treatment ship t1",
    "x as of 2026-01-04: ship t1. orders went from 1 to 2.",
    (("users", "8,000"), ("relative effect", "+5.0 %")),
    "Roll out t1 to everybody.",
)


def hostile(text: str) -> Event:
    return Event("guardrail_breached", text, text, ((text, text),), text)


class Read(html.parser.HTMLParser):
    """The elements and the text of a piece of HTML."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str | None] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_message_is_the_sentence_the_numbers_what_to_do_and_the_link() -> None:
    assert plain(SHIP, LINK).split("\n") == [
        "x as of 2026-01-04: ship t1. orders went from 1 to 2.",
        "users: 8,000",
        "relative effect: +5.0 %",
        "Roll out t1 to everybody.",
        LINK,
    ]
    assert slack(SHIP, LINK).endswith(f"Roll out t1 to everybody.\n<{LINK}|Result>")
    assert subject_of(SHIP, "x") == "x: decision"
    read = Read(as_html(SHIP, LINK))
    assert read.tags == ["p", "table", "tr", "td", "td", "tr", "td", "td", "p", "p", "a"]
    assert read.links == [LINK]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text_in_every_form(text: str) -> None:
    event = hostile(text)
    subject = subject_of(event, "x")
    assert subject.startswith("x: guardrail breached (")
    assert len(subject.splitlines()) == 1
    assert subject.isprintable()
    assert len(plain(event, LINK).splitlines()) == 4
    said = slack(event, LINK).removesuffix(f"<{LINK}|Result>")
    assert "<" not in said
    assert ">" not in said
    read = Read(as_html(event, LINK))
    assert (read.tags, read.links) == (["p", "table", "tr", "td", "td", "p", "p", "a"], [LINK])


def test_a_subject_is_short_however_long_a_name_is() -> None:
    assert len(subject_of(hostile("long " * 500), "x")) <= 200


def test_each_notifier_is_made_with_what_its_class_takes_and_what_is_given_wins() -> None:
    mail = arguments_of(SmtpNotifier, {"to": "a@example.com", "subject": "Mine"}, SHIP, "x", LINK)
    assert sorted(mail) == ["html_content", "subject", "to"]
    assert mail["subject"] == "Mine"
    assert arguments_of(SlackWebhookNotifier, {}, SHIP, "x", LINK) == {"text": slack(SHIP, LINK)}
    assert arguments_of(Keeps, {"room": "growth"}, SHIP, "x", LINK) == {
        "message": plain(SHIP, LINK),
        "room": "growth",
    }
