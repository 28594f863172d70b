"""The users and outcomes below which nothing is compared, or always-valid evidence has not started."""

from __future__ import annotations

MIN_USERS = 100  # in both arms together
MIN_USERS_ARM = 50
START_USERS_ARM = 100  # always-valid evidence starts where an arm has these ...
START_OUTCOMES = 10  # ... and so many successes and failures (proportions)
START_NONZERO = 50  # ... or so many users with a value other than 0 (other kinds)
START_BEYOND = 50  # ... or, for a quantile, so many users on each side of it
