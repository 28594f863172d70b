"""The functions of scipy.special are SciPy's own, without what its package imports for others."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
import scipy.special

from exp_platform.config.environment import project_root
from exp_platform.stats import special
from exp_platform.stats.srm import _log_of_sum

USED = sorted(
    {
        name
        for path in (project_root() / "include").rglob("*.py")
        if "import special" in (text := path.read_text())
        for name in re.findall(r"(?<![.\w])special\.([a-z]\w*)", text)
    }
)


def found(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_each_is_the_very_one_of_scipy_whichever_is_imported_first() -> None:
    assert {"ndtr", "betainc", "stdtrit"} <= set(USED)
    ours, theirs = "from exp_platform.stats import special as ours", "import scipy.special as theirs"
    same = f"print([n for n in {USED} if getattr(ours, n) is not getattr(theirs, n)])"
    assert found(f"{ours}\n{theirs}\n{same}") == found(f"{theirs}\n{ours}\n{same}") == "[]"


def test_what_needs_the_whole_package_gets_it_afterwards() -> None:
    code = "from exp_platform.stats import special\nimport scipy.stats, scipy.special\n"
    assert (
        found(code + "print(scipy.special.logsumexp([0.0, 0.0]) == scipy.stats.norm.logcdf(0.0) * -1)")
        == "True"
    )


def test_the_package_is_taken_where_its_compiled_module_cannot_be_had_alone() -> None:
    hidden = "import sys\nsys.modules['scipy.special._ufuncs'] = None\n"
    code = f"{hidden}try:\n    import exp_platform.stats.special\nexcept ImportError as error:\n    print(error.name)"
    assert found(code) == "scipy.special._ufuncs"  # asked for by the package itself, as there is none here


@pytest.mark.parametrize("size", [1, 2, 3, 8, 9, 100, 1001, 30_001])
def test_the_log_of_a_sum_is_scipys_to_the_bit(size: int) -> None:
    rng = np.random.default_rng(size)
    for spread in (1e-9, 1.0, 30.0, 800.0):
        logs = -np.abs(rng.normal(0, spread, size))
        for one in (logs, np.repeat(logs, 2), np.round(logs), logs - 2000.0):
            assert _log_of_sum(one) == float(scipy.special.logsumexp(one))


def test_a_name_that_scipy_lacks_is_an_error() -> None:
    with pytest.raises(AttributeError, match="no_such_function"):
        _ = special.no_such_function
