"""All situations, in the order of the page."""

from __future__ import annotations

from exp_platform.scenarios.traps import TRAPS
from exp_platform.scenarios.trust import TRUST
from exp_platform.scenarios.verdicts import VERDICTS

SCENARIOS = (*VERDICTS, *TRUST, *TRAPS)
