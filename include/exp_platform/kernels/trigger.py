"""Triggered users: those of one bucket who reached the point from which the arms differ, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa

from exp_platform.config.experiment import Experiment
from exp_platform.kernels.coded import Coded
from exp_platform.kernels.local_days import DAY, NO_INSTANT, LocalDays, instant, instants
from exp_platform.kernels.users import NEVER, Attribute, Users


def triggered(users: Users, outcomes: pa.Table, experiment: Experiment, as_of: date) -> Users:
    """The same users by when their own days begin: with the trigger, else (`NEVER`) not at all, who come last.

    `outcomes` has user_id, event and occurred_at (UTC), in any order. Without a trigger the users are returned as they are.
    """
    trigger = experiment.trigger
    if trigger is None:
        return users
    at = instants(outcomes["occurred_at"])
    rows = np.flatnonzero(
        (Coded.of(outcomes["event"]).positions(pa.array([trigger.event])) == 0) & (at != NO_INSTANT)
    )
    user, at = Coded.of(outcomes["user_id"]).positions(users.ids)[rows], at[rows]
    user, at = user[user >= 0], at[user >= 0]
    lag = at - users.exposed_at[user]
    inside = (lag >= 0) & (lag < trigger.within * DAY) & (at < instant(experiment.window.cutoff(as_of)))
    began = np.full(len(users), NEVER)
    np.minimum.at(began, user[inside], at[inside])

    local = LocalDays.covering(experiment.window, instant(experiment.window.starts_at()), as_of)
    began_on = np.where(
        began == NEVER, users.exposed_on, local.dates(np.where(began == NEVER, users.exposed_at, began))
    )
    order = np.argsort(began, kind="stable")  # by first exposure and id where they are alike
    return replace(
        users,
        ids=users.ids.take(pa.array(order)),
        codes=users.codes[order],
        variants=users.variants[order],
        exposed_at=users.exposed_at[order],
        exposed_on=users.exposed_on[order],
        crossed_at=users.crossed_at[order],
        attributes={name: Attribute(a.codes[order], a.values) for name, a in users.attributes.items()},
        triggered_at=began[order],
        triggered_on=began_on[order].astype(np.int32),
    )
