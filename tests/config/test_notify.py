"""Who is told: as specs and environments say it, the one in place of the other, and no secret in either."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from exp_platform.config.environment import load_environment, project_root
from exp_platform.config.loading import load_experiment
from exp_platform.config.notify import EVENTS, Notify
from exp_platform.errors import ConfigError

PAGER = {"notifier": "my_package.notifiers.Pager", "with": {"severity": 2}}


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(project_root() / "configs" / "environments", tmp_path / "environments")
    monkeypatch.setenv("EXP_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("EXP_STATE_DIR", str(tmp_path / "state"))
    return tmp_path


def flat(configs: Path, **keys: Any) -> tuple[Notify, ...] | None:
    (configs / "dev.yaml").write_text(
        json.dumps({"experiments": {"one": {"days": 3, "n_users": 100} | keys}})
    )
    return load_experiment("one").notify


def environment_says(configs: Path, notify: Any) -> None:
    path = configs / "environments" / "embedded.yaml"
    path.write_text(path.read_text() + f"\nnotify: {json.dumps(notify)}\n")


def test_a_full_spec_says_who_hears_of_what() -> None:
    valid = project_root() / "tests" / "config" / "specs" / "valid" / "events_full.yaml"
    experiment = load_experiment("events_full", valid)
    assert experiment.notify == (
        Notify("smtp", ("decision_changed", "srm"), {"to": ["growth@example.com"], "smtp_conn_id": "mail"}),
        Notify(
            "my_package.notifiers.Pager",
            EVENTS,
            {"severity": 2, "labels": {"team": "growth", "urgent": True}, "routes": ["a", None]},
        ),
    )
    assert [one.class_name.rpartition(".")[2] for one in experiment.notify] == ["SmtpNotifier", "Pager"]


def test_a_spec_that_says_nothing_leaves_it_to_the_environment_and_an_empty_list_is_nobody(
    configs: Path,
) -> None:
    assert flat(configs) is None
    assert flat(configs, notify=[]) == ()
    assert flat(configs, notify=[PAGER]) == (Notify("my_package.notifiers.Pager", EVENTS, {"severity": 2}),)


def test_an_environment_names_whom_it_tells(configs: Path) -> None:
    assert load_environment().notify == ()
    environment_says(configs, [PAGER, {"notifier": "slack", "events": ["run_failed"]}])
    told = [one.resolve() for one in load_environment().notify]
    assert told == [Notify(PAGER["notifier"], EVENTS, {"severity": 2}), Notify("slack", ("run_failed",))]  # type: ignore[arg-type]


def test_an_environment_tells_every_fault_with_its_key_and_no_secret(configs: Path) -> None:
    faulty = [
        {"notifier": "smtp", "with": {"to": "a@example.com", "password": "hunter2"}},
        {"notifier": "slack", "events": ["srn"], "whom": 1},
    ]
    environment_says(configs, faulty)
    with pytest.raises(ConfigError) as error:
        load_environment()
    said = str(error.value)
    assert "embedded.yaml: notify[0].with.password: secrets are never written here" in said
    assert "embedded.yaml: notify[1].events[0]: Input should be 'decision_changed'" in said
    assert "embedded.yaml: notify[1].whom: Extra inputs are not permitted" in said
    assert "hunter2" not in said
