"""All situations, in the order of the pages, and which page each is on."""

from __future__ import annotations

from dataclasses import dataclass

from exp_scenarios.scenario import Scenario
from exp_scenarios.traps import TRAPS
from exp_scenarios.trust import TRUST
from exp_scenarios.verdicts import VERDICTS


@dataclass(frozen=True)
class Topic:
    """The situations of one page: its name below the folder of pages, and its title."""

    name: str
    title: str
    scenarios: tuple[Scenario, ...]


TOPICS = (
    Topic("verdicts", "Sound data: what a decision says", VERDICTS),
    Topic("trust", "Data that cannot be trusted", TRUST),
    Topic("traps", "Traps", TRAPS),
)
SCENARIOS = tuple(scenario for topic in TOPICS for scenario in topic.scenarios)
