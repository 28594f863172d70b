"""The running stack, and what its tables hold after runs that nothing disturbed."""

from __future__ import annotations

import pytest

from exp_demo.stack import applications
from stack.running import FIRST, SECOND, Content, Stack, content

SPARK_STAGES = ("ingest", "aggregates")


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker("stack")


@pytest.fixture(scope="session")
def stack() -> Stack:
    return Stack()


@pytest.fixture(scope="session")
def undisturbed(stack: Stack) -> dict[str, Content]:
    """Both experiments' tables after a run of both at once that nothing disturbed."""
    before = {application["id"] for application in applications(stack.master)}
    runs = stack.start(FIRST, SECOND)
    assert [stack.end(run) for run in runs] == ["success", "success"]
    names = [app["name"] for app in applications(stack.master) if app["id"] not in before]
    assert sorted(names) == sorted(f"{stage} {run.experiment_id}" for run in runs for stage in SPARK_STAGES)
    return {name: content(stack.environment, name) for name in (FIRST, SECOND)}
