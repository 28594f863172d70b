"""Result rows -> winner, action and reasons. Pure: no file, no clock.

`rules` holds the list of rules in order, `findings` what is known of each treatment, `guardrails` and `trust` what
may overrule it, `adequacy` whether the planned size is reached, `model` the types.
"""

from __future__ import annotations

from exp_platform.decision.model import Action, Adequacy, Decision, Reason, TreatmentVerdict, Winner
from exp_platform.decision.rules import decide

__all__ = ["Action", "Adequacy", "Decision", "Reason", "TreatmentVerdict", "Winner", "decide"]
