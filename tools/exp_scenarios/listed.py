"""All situations, in the order of the page."""

from __future__ import annotations

from exp_scenarios.traps import TRAPS
from exp_scenarios.trust import TRUST
from exp_scenarios.verdicts import VERDICTS

SCENARIOS = (*VERDICTS, *TRUST, *TRAPS)
