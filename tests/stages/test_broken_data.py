"""Every broken delivery of `broken_data.py` is refused with exactly the message of `broken_data.yaml`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from exp_platform.config.environment import Environment, load_environment
from exp_platform.errors import DataError
from exp_platform.stages import ingest, quality
from exp_platform.stages.run import Run
from stages.broken_data import KINDS
from stages.raw_data import frozen

EXPECTED: dict[str, str] = yaml.safe_load(Path(__file__).with_name("broken_data.yaml").read_text())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """One state root for all of them: each has files and a run of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXP_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield load_environment("embedded")


def taken_in(run: Run) -> None:
    ingest.run(run)
    quality.run(run)


@pytest.mark.parametrize("kind", KINDS)
def test_says_what_is_wrong_with_the_data_and_what_to_do(
    kind: str, place: Environment, tmp_path: Path
) -> None:
    run = frozen(place, KINDS[kind](tmp_path), kind)

    with pytest.raises(DataError) as refused:
        taken_in(run)

    said = str(refused.value).replace(str(tmp_path), "<folder>")
    assert said == f"{run.experiment.id}: data refused, the last good ones stay. {EXPECTED[kind]}"
    assert said.isprintable()


def test_there_are_enough_of_them() -> None:
    assert len(KINDS) >= 60
    assert set(KINDS) == set(EXPECTED)
