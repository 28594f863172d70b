"""A ramp as people write it: dated allocations, each with a share for every variant."""

from __future__ import annotations

from pydantic import Field

from exp_platform.config.allocation import Allocation
from exp_platform.config.spec_base import Day, Spec


class AllocationSpec(Spec):
    """The shares of new users from local day `start` on, until the next allocation."""

    start: Day
    shares: dict[str, float] = Field(min_length=1)

    def resolve(self, variants: tuple[str, ...]) -> Allocation:
        """The same with the shares in the order of `variants`."""
        return Allocation(self.start, tuple(self.shares[variant] for variant in variants))
