"""What a run does with user ids: whom it leaves out, and by which key it replaces the others' ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.privacy import Key
from exp_platform.errors import ConfigError
from exp_platform.kernels.privacy import Privacy
from exp_platform.tables.forgotten import forgotten_of


def privacy_of(
    experiment: Experiment, environment: Environment, registered: Mapping[str, Any] | None
) -> Privacy:
    """The keys and the list of one run; `registered` is the experiment's row of the registry, if it has one.

    Raises ConfigError where a key is absent, or is another one than the stored rows and the list were made with.
    """
    if experiment.numbers_users:  # the number of a row is nobody's id
        return Privacy()
    source = environment.pseudonyms
    key = source.read("pseudonyms") if source else None
    _require_same_key(experiment, environment, key, (registered or {}).get("pseudonym_key"))
    by, hashes = forgotten_of(environment, experiment.id)
    return Privacy(key, by, hashes)


def _require_same_key(
    experiment: Experiment, environment: Environment, key: Key | None, before: str | None
) -> None:
    """By another key a user has another pseudonym: `exp forget` and whoever joins by it would no longer find him."""
    if before is None or (key is not None and key.fingerprint == before):
        return
    if environment.pseudonyms is None or key is None:
        raise ConfigError(
            f"environment {environment.name}: pseudonyms: absent, but {experiment.id} was published with pseudonyms of the "
            f"key {before}: name that key again, or `exp delete {experiment.id}` and run it anew with plain ids"
        )
    if before not in environment.pseudonyms.replaces:
        raise ConfigError(
            f"environment {environment.name}: pseudonyms: the key is {key.fingerprint} (a fingerprint), but {experiment.id} "
            f"was published with {before}, so every user would get another pseudonym in mid-test: set the old key back; "
            f"if it was changed on purpose, say so: pseudonyms.replaces: [{before}]"
        )
