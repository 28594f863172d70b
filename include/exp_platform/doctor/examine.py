"""All checks, one after another; none of them ends the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from exp_platform.config.environment import load_environment
from exp_platform.diagnosis import told
from exp_platform.doctor import installation, stored, word
from exp_platform.doctor.finding import Finding, fault, ok
from exp_platform.errors import bounded

Check = Callable[[], Finding | Iterable[Finding]]


def examine() -> list[Finding]:
    """Examine the installation and the stored state of the environment that is set. Writes nothing."""
    found = [
        finding
        for name, check in (
            ("python", installation.python),
            ("packages", installation.packages),
            ("java", installation.java),
        )
        for finding in _findings(name, check)
    ]
    try:
        environment = load_environment()
    except Exception as error:
        return [*found, _broken("environment", error)]
    found.append(ok("environment", f"{environment.name}, state in {environment.state_dir}"))
    checks: tuple[tuple[str, Check], ...] = (
        ("jars", lambda: installation.jars(environment)),
        ("disk", lambda: installation.disks(environment)),
        ("rights", lambda: installation.rights(environment)),
        ("readers", lambda: installation.readers(environment)),
        ("notifiers", lambda: word.notifiers(environment)),
        ("catalog", lambda: stored.catalog(environment)),
    )
    for name, check in checks:
        found += _findings(name, check)
    if found[-1].state == "fault":  # of the catalog: then nothing behind it can be looked at
        return found
    found += _findings("leases", lambda: stored.standing_leases(environment))
    found += _findings("views", lambda: stored.views(environment))
    found += _findings("forgotten users", lambda: stored.forgotten(environment))
    return found + _findings("tables", lambda: stored.tables(environment))


def _findings(name: str, check: Check) -> list[Finding]:
    made: list[Finding] = []
    try:
        found = check()
        if isinstance(found, Finding):
            return [found]
        for finding in found:
            made.append(finding)  # noqa: PERF402  what was found before a failure counts
    except Exception as error:  # whatever it is, it is what the doctor was called for
        made.append(_broken(name, error))
    return made


def _broken(name: str, error: Exception) -> Finding:
    meaning = told(error)
    if meaning is not None:
        return fault(name, " ".join(meaning.split()), "")
    return fault(
        name, bounded(" ".join(f"{type(error).__name__}: {error}".split())), "report this if it stays"
    )
