"""What does not fit within a ramp, and to the rest of the spec."""

from __future__ import annotations

from collections.abc import Iterator

from exp_platform.config.faults import NOTHING, Fault, Words, suggest
from exp_platform.config.spec import ExperimentSpec
from exp_platform.config.spec_ramp import AllocationSpec
from exp_platform.config.spec_sources import SHARE_TOLERANCE, UnitsSpec

_NO_USERS = (
    "allowed: more than 0, less than 1; an arm without users in a period has nobody to be compared with there: start the "
    "window when every arm runs, or make a late arm an experiment of its own"
)


def ramp_faults(spec: ExperimentSpec) -> Iterator[Fault]:
    """What does not fit within a ramp, to the variants and window, and what cannot be combined over its periods."""
    if not spec.ramp:
        return
    if len(spec.ramp) == 1:
        yield Fault(
            ("ramp",), Words("1 allocation"), "a ramp has several: give the variants their shares instead"
        )
    for position, variant in enumerate(spec.variants):
        if variant.share is not None:
            remedy = "the shares are those of `ramp`: leave it out"
            yield Fault(("variants", position, "share"), variant.share, remedy)
    yield from _starts(spec)
    for position, allocation in enumerate(spec.ramp):
        yield from _shares(spec, position, allocation)
    yield from _not_combined(spec)


def _starts(spec: ExperimentSpec) -> Iterator[Fault]:
    first, last = spec.window.start, spec.window.last_day
    for position, allocation in enumerate(spec.ramp):
        key, day = ("ramp", position, "start"), allocation.start
        if position == 0 and day != first:
            yield Fault(key, day, f"the first allocation starts with the window: {first}")
        elif position > 0 and day <= spec.ramp[position - 1].start:
            remedy = f"allowed: a day after the start of the allocation before it ({spec.ramp[position - 1].start})"
            yield Fault(key, day, remedy)
        elif day > last:
            yield Fault(key, day, f"allowed: a day of the window, whose last one is {last}")


def _shares(spec: ExperimentSpec, position: int, allocation: AllocationSpec) -> Iterator[Fault]:
    known = [variant.id for variant in spec.variants]
    key = ("ramp", position, "shares")
    for name, share in allocation.shares.items():
        if name not in known:
            yield Fault((*key, name), Words("an unknown variant"), suggest(name, known))
        elif not 0 < share < 1:
            yield Fault((*key, name), share, _NO_USERS)
    missing = [name for name in known if name not in allocation.shares]
    for name in missing:
        yield Fault((*key, name), NOTHING, "every allocation gives every variant a share")
    total = sum(allocation.shares.values())
    if not missing and abs(total - 1) > SHARE_TOLERANCE:
        yield Fault(key, Words(f"shares that add up to {total:.10g}"), "they must add up to 1")


def _not_combined(spec: ExperimentSpec) -> Iterator[Fault]:
    """What has no standardised mean, so that users of different allocations would have to be pooled."""
    if isinstance(spec.source, UnitsSpec) and "exposed_at" not in spec.source.columns:
        remedy = "a ramp needs to know when each user was first exposed: name exposed_at under columns"
        yield Fault(("source", "columns", "exposed_at"), NOTHING, remedy)
    for position, metric in enumerate(spec.metrics):
        if metric.traits.not_ramped:
            yield Fault(("metrics", position, "type"), metric.type, metric.traits.not_ramped)
        elif metric.test == "score":
            remedy = (
                "its counts would be pooled over allocations: leave it out, and the means standardised over the periods "
                "are tested by Welch"
            )
            yield Fault(("metrics", position, "test"), metric.test, remedy)
