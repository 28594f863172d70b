"""Triggered users: those of one bucket who reached the point from which the arms differ, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from exp_platform.config.experiment import Experiment
from exp_platform.kernels.local_days import DAY, LocalDays, instant, instants
from exp_platform.kernels.users import NEVER, Attribute, Users


def triggered(users: Users, outcomes: pa.Table, experiment: Experiment, as_of: date) -> Users:
    """The same users by when their own days begin: with the trigger, else (`NEVER`) not at all, who come last.

    `outcomes` has user_id, event and occurred_at (UTC), in any order. Without a trigger the users are returned as they are.
    """
    trigger = experiment.trigger
    if trigger is None:
        return users
    rows = outcomes.filter(
        pc.and_(pc.equal(outcomes["event"], trigger.event), outcomes["occurred_at"].is_valid())
    )
    user = np.asarray(
        pc.index_in(rows["user_id"], value_set=users.ids).fill_null(-1).to_numpy(), dtype=np.int64
    )
    at = instants(rows["occurred_at"])
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
        variants=users.variants[order],
        exposed_at=users.exposed_at[order],
        exposed_on=users.exposed_on[order],
        crossed_at=users.crossed_at[order],
        attributes={name: Attribute(a.codes[order], a.values) for name, a in users.attributes.items()},
        triggered_at=began[order],
        triggered_on=began_on[order].astype(np.int32),
    )
