"""The manifest of `memo` holds the events of the newest day, as whoever tells them reads them."""

from __future__ import annotations

import json

from exp_platform.config.analyses import NAMES
from exp_platform.config.environment import Environment
from exp_platform.report.event import Event
from exp_platform.results.reader import Results
from stages.frozen_runs import D2, D3, a_run, carry_out


def test_the_manifest_says_what_holds_as_of_the_newest_day(environment: Environment) -> None:
    for name, days in (("r1", (D3,)), ("r2", (D2,))):  # the second words the newest day again
        run = a_run(environment, name, days)
        carry_out(run, "publish", *NAMES, "decision")
        manifest = json.loads(json.dumps(carry_out(run, "memo").to_json()))
        decided, *_ = map(Event.from_json, manifest["details"]["events"])
        stored = Results(environment).latest_decision("exp_a", D3)
        assert stored is not None
        assert decided.key == (
            "decision_changed",
            " ".join(filter(None, (stored.winner, stored.action, stored.winning_variant))),
        )
        assert decided.sentence.startswith(f"exp_a as of {D3}: ")
