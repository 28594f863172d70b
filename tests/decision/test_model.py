"""A decision survives its JSON, and everything in it is plain JSON."""

from __future__ import annotations

import json

from decision.cases import Given, effect, experiment, guard_row, guarded, metric, nothing, split
from exp_platform.config.metrics import Effect
from exp_platform.decision import Decision


def test_round_trip_of_decisions_with_every_part() -> None:
    spec = experiment(metric("orders", mde=Effect(0.05, "relative")), guarded(), shares=(0.4, 0.3, 0.3))
    rows = [effect("t1"), nothing("t2"), guard_row("unproven", "t1"), guard_row("proven_breach", "t2")]
    for decision in (
        Given(rows, spec).decide(),
        Given(rows, spec, split=[split("mismatch")], skipped=("quality", "ab")).decide(),
        Given([]).decide(),
    ):
        text = json.dumps(decision.to_json(), allow_nan=False)
        assert Decision.from_json(json.loads(text)) == decision
