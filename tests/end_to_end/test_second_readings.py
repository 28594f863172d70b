"""What people do after they have seen the result, through whole runs: the test is not taken again, and it is told why."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from end_to_end.installation import Installation

WINDOW = {"start": "2026-03-02", "days": 14}
SMALL, GROWN = 600, 4000  # users: of the whole table p is below .045, of its beginning it is not


def users() -> tuple[np.ndarray, np.ndarray]:
    """Arms and values; an effect that a small table does not show."""
    rng = np.random.default_rng(34)
    arm = rng.integers(0, 2, GROWN)
    return arm, rng.normal(10.0, 3.0, GROWN) + 0.35 * arm


def deliver(folder: Path, rows: int) -> None:
    arm, value = users()
    lines = [
        f"u{i},{('control', 'treatment')[a]},{v:.6f}"
        for i, (a, v) in enumerate(zip(arm[:rows], value[:rows], strict=True))
    ]
    (folder / "users.csv").write_text("\n".join(["user_id,arm,spend", *lines]) + "\n")


def p_of(rows: int) -> float:
    arm, value = users()
    of_arms = (value[:rows][arm[:rows] == a] for a in (1, 0))
    return float(stats.ttest_ind(*of_arms, equal_var=False).pvalue)


class Shop:
    def __init__(self, folder: Path) -> None:
        self.folder, self.place = folder, Installation(folder)

    def read(self, **changes: Any) -> dict[str, Any]:
        spec = {
            "id": "second_look",
            "owner": "me",
            "hypothesis": "h",
            "variants": [{"id": "control", "control": True}, {"id": "treatment"}],
            "window": WINDOW,
            "source": {
                "kind": "units",
                "path": str(self.folder / "users.csv"),
                "columns": {"user_id": "user_id", "variant_id": "arm"},
            },
            "metrics": [{"id": "spend", "type": "mean", "column": "spend", "role": "primary"}],
            "decision": {"sequential_share": 0},
        }
        self.place.run(self.place.spec(**{**spec, **changes}))
        decisions = self.place.rows("decisions", "second_look")
        return max(decisions, key=lambda d: d["computed_at"])


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    assert p_of(SMALL) > 0.05 > 0.045 > p_of(GROWN)
    return Shop(tmp_path)


def codes(decision: dict[str, Any]) -> dict[str, str]:
    return {r["code"]: r["text"] for r in json.loads(decision["reasons"])}


def test_a_table_that_grows_after_it_was_read_ships_nothing(shop: Shop) -> None:
    deliver(shop.folder, SMALL)
    assert shop.read()["action"] == "stop"
    deliver(shop.folder, GROWN)
    later = shop.read()
    assert later["action"] != "ship"
    assert "not counted: spend of treatment" in codes(later)["FIXED_HORIZON_READ"]
    memo = (shop.place.state / "memos" / "second_look" / "appendix.md").read_text()
    assert "A later reading may take back what it found and adds nothing" in memo


def test_a_spec_that_is_edited_after_it_was_read_ships_nothing(shop: Shop) -> None:
    deliver(shop.folder, SMALL)
    assert shop.read()["action"] == "stop"
    raised = shop.read(decision={"alpha": 0.9, "sequential_share": 0})
    assert raised["action"] != "ship"
    assert "decision.alpha 0.05 -> 0.9" in codes(raised)["PLAN_CHANGED"]
    shorter = shop.read(window={"start": "2026-03-02", "days": 10}, decision={"alpha": 0.9})
    assert shorter["action"] != "ship"
    assert "window.end 2026-03-15 -> 2026-03-11" in codes(shorter)["PLAN_CHANGED"]
    today = datetime.now(UTC).date().isoformat()
    assert f"on {today}: decision.alpha 0.05 -> 0.9" in codes(shorter)["SPEC_CHANGED"]
    assert "stands: stop" in codes(raised)["FINAL_STANDS"]
    (published,) = shop.place.rows("experiment_registry", "second_look")
    assert [edit["on"] for edit in json.loads(published["edits"])] == [today, today]
    again = shop.read()
    assert (again["action"], "PLAN_CHANGED" in codes(again)) == ("stop", False)


def test_a_first_reading_of_the_whole_table_ships(shop: Shop) -> None:
    deliver(shop.folder, GROWN)
    assert shop.read()["action"] == "ship"
