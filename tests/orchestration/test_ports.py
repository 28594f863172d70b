"""Every port of an Airflow follows from one variable, so that two Airflows run on one machine."""

from __future__ import annotations

import inspect
import os
import socket
import subprocess
import warnings
from types import SimpleNamespace

import pytest

from orchestration.airflow_home import ROOT

OF_8080 = {  # Airflow's own defaults
    "AIRFLOW__API__PORT": "8080",
    "AIRFLOW__API__BASE_URL": "http://127.0.0.1:8080",
    "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": "http://127.0.0.1:8080/execution/",
    "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": "8793",
    "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": "8794",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": "8974",
}


def _ports(script: str, **variables: str) -> tuple[int, dict[str, str], str]:
    """What `script` leaves set, run by a shell at the root."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if name not in OF_8080 and name != "EXP_AIRFLOW_PORT"
    }
    command = ["bash", "-c", f"{script} && env"]
    done = subprocess.run(command, cwd=ROOT, env=clean | variables, capture_output=True, text=True)
    found = dict(line.split("=", 1) for line in done.stdout.splitlines() if line.partition("=")[0] in OF_8080)
    return done.returncode, found, done.stderr


def test_without_the_variable_they_are_airflows_own() -> None:
    assert _ports(". scripts/airflow-env.sh") == (0, OF_8080, "")


def test_all_follow_from_one_variable_and_none_is_shared() -> None:
    code, other, _ = _ports(". scripts/airflow-env.sh", EXP_AIRFLOW_PORT="8090")
    assert code == 0
    assert other == {
        "AIRFLOW__API__PORT": "8090",
        "AIRFLOW__API__BASE_URL": "http://127.0.0.1:8090",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": "http://127.0.0.1:8090/execution/",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": "8803",
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": "8804",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": "8984",
    }


def test_a_shell_that_has_them_for_one_port_gets_them_for_another() -> None:
    again = ". scripts/airflow-env.sh; export EXP_AIRFLOW_PORT=8090; . scripts/airflow-env.sh"
    assert _ports(again)[1] == _ports(". scripts/airflow-env.sh", EXP_AIRFLOW_PORT="8090")[1]


def test_what_is_set_already_stays() -> None:
    url = {"AIRFLOW__CORE__EXECUTION_API_SERVER_URL": "http://airflow-apiserver:8080/execution/"}
    assert _ports(". scripts/airflow-env.sh", **url)[1] == OF_8080 | url


@pytest.mark.parametrize("found", ["abc", "80", "99999", "64001", "08090", "8090x", "-1", "8090 8091"])
def test_what_is_no_port_is_refused_with_what_is_allowed(found: str) -> None:
    code, _, told = _ports(". scripts/airflow-env.sh", EXP_AIRFLOW_PORT=found)
    assert code == 1
    assert told == f"EXP_AIRFLOW_PORT: found '{found}', allowed is a port from 1024 to 64000, such as 8090\n"


def test_a_port_in_use_is_told_with_the_variable_that_mends_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, told = _ports("scripts/airflow-port.sh", AIRFLOW__API__PORT=str(port))
    assert code == 1
    assert f"port {port} of 127.0.0.1 is in use" in told
    assert f"EXP_AIRFLOW_PORT={port + 10} make airflow" in told


@pytest.mark.e2e  # seconds of imports
def test_no_log_server_listens_on_every_interface() -> None:
    """No setting of Airflow binds them to one; on one machine its API server reads the same files."""
    with warnings.catch_warnings():  # what Airflow's own dependencies say of each other
        warnings.simplefilter("ignore")
        from airflow.cli.commands import standalone_command

        from exp_platform.orchestration.standalone import QuietCommand
    for name in ("scheduler", "triggerer", "api-server", "dag-processor"):
        command = QuietCommand(SimpleNamespace(), name, [name], {}).command
        assert command == ([name, "--skip-serve-logs"] if name in ("scheduler", "triggerer") else [name])
    # What is replaced is still there
    assert "SubCommand(" in inspect.getsource(standalone_command.StandaloneCommand.run)
