"""What reading hundreds of specs holds in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from exp_platform.config import spec_file
from exp_platform.config.loading import load_all

GOOD = (Path(__file__).parent / "specs" / "valid" / "first_own.yaml").read_text()


def test_of_hundreds_of_files_one_document_is_in_memory_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that lists 500 experiments would keep what was free for a moment: each file that is read is checked at once."""
    alive: set[int] = set()
    most: list[int] = []

    class Counted(spec_file.Document):
        def __init__(self, text: bytes) -> None:
            super().__init__(text)
            alive.add(id(self))
            most.append(len(alive))

        def __del__(self) -> None:
            alive.discard(id(self))

    monkeypatch.setattr(spec_file, "Document", Counted)
    texts = {f"many_{number}": GOOD.replace("id: first_own", f"id: many_{number}") for number in range(20)}
    texts |= {"twice": texts["many_3"], "wrong": texts["many_4"].replace("many_4", "wrong") + "nonsense: 1\n"}
    (tmp_path / "experiments").mkdir()
    for name, text in texts.items():
        (tmp_path / "experiments" / f"{name}.yaml").write_text(text)

    loaded = load_all(tmp_path)

    assert len(loaded.experiments) == 20
    assert [error.line is not None for error in loaded.errors] == [True, True]
    assert len(most) == 22
    assert max(most) <= 2  # the one that is read next, before the last is let go
    assert not alive
