"""Every broken spec of `specs/invalid` gives exactly the messages that its header expects."""

from __future__ import annotations

from pathlib import Path

import pytest

from exp_platform.config.loading import load_all

INVALID = sorted((Path(__file__).parent / "specs" / "invalid").glob("*.yaml"))
HEADER = "# expects: "


@pytest.mark.parametrize("spec", INVALID, ids=lambda spec: spec.stem)
def test_says_what_is_wrong_and_what_is_allowed(spec: Path, tmp_path: Path) -> None:
    folder = tmp_path / "experiments"
    folder.mkdir()
    copy = folder / spec.name
    copy.write_text(spec.read_text())

    loaded = load_all(tmp_path)

    expected = [
        line.removeprefix(HEADER) for line in spec.read_text().splitlines() if line.startswith(HEADER)
    ]
    told = [str(error).removeprefix(f"{copy}:").partition(": ") for error in loaded.errors]
    found = [
        message if place.isdecimal() else str(error).removeprefix(f"{copy}: ")
        for (place, _, message), error in zip(told, loaded.errors, strict=True)
    ]
    assert sorted(found) == sorted(expected)
    assert loaded.experiments == {}


def test_there_are_enough_of_them() -> None:
    assert len(INVALID) >= 30
