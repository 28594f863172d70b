"""Make a stored state with the code of some version, as `tests/states/*.tar.xz` hold it.

    git worktree add /tmp/first a3ac71e     # the first version that carried out whole runs
    python tests/states/make.py /tmp/first tests/states/2026_11_22.tar.xz
    python tests/states/make.py . tests/states/2026_11_29.tar.xz

The archives are named by the day of the version. Its packages must be those of its lock; those of today have been the same
ever since. `exp_ended` has been read at its end and found an effect; `exp_running` has been read on two of its days; a run of each kind
that failed left what it leaves: data that quality refused, and rows of a run that was killed before its decision.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

SPECS = """\
environment: embedded
experiments:
  exp_ended: {days: 7, n_users: 900, effect_lift_conversion: 0.12, pre_period_days: 7, seed: 5}
  exp_running: {days: 14, n_users: 300, effect_lift_conversion: 0.02, pre_period_days: 7, seed: 6}
"""
BROKEN = """\
environment: embedded
experiments:
  exp_broken: {days: 7, n_users: 300, actual_treatment_share: 0.0, seed: 7}
"""
KILL = """
from exp_platform.stages import decision
replace = decision.replace_rows
def killed(catalog, table_name, *rest, **more):
    if table_name == "decisions":
        raise SystemExit("killed before the decision")
    return replace(catalog, table_name, *rest, **more)
decision.replace_rows = killed
"""
CLI = "import sys; from exp_platform.cli import main; main()"


def make(code: Path, archive: Path) -> None:
    """Carry out the runs with the code in a work tree, and pack the state that they leave, without raw data."""
    with TemporaryDirectory() as temporary:
        root = Path(temporary)
        configs, state = root / "configs", root / "state"
        (configs / "experiments").mkdir(parents=True)
        (configs / "environments").symlink_to(code / "configs" / "environments")
        (configs / "spark").symlink_to(code / "configs" / "spark")
        (configs / "dev.yaml").write_text(SPECS)

        def exp(*arguments: str, before: str = "") -> None:
            environment = os.environ | {
                "PYTHONPATH": str(code / "include"),
                "EXP_CONFIG_DIR": str(configs),
                "EXP_STATE_DIR": str(state),
            }
            done = subprocess.run([sys.executable, "-c", before + CLI, *arguments], env=environment)
            print(f"exp {' '.join(arguments)}: exit code {done.returncode}")

        exp("run", "exp_ended", "--as-of", "2026-01-07")
        exp("run", "exp_ended", "--as-of", "2026-01-18")
        exp("run", "exp_running", "--as-of", "2026-01-08")
        exp("run", "exp_running", "--as-of", "2026-01-09")
        exp("run", "exp_running", "--as-of", "2026-01-09", "--force", before=KILL)
        (configs / "dev.yaml").write_text(SPECS + BROKEN.partition("experiments:\n")[2])
        exp("run", "exp_broken", "--as-of", "2026-01-08")
        with tarfile.open(archive, "w:xz", preset=9) as tar:
            tar.add(state, "state", filter=_kept)
            (root / "origin").write_text(str(state))
            tar.add(root / "origin", "origin")
        print(f"{archive}: {archive.stat().st_size / 1024:.0f} KB")


def _kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """All but raw data, which a run makes again, and pictures, which nothing reads."""
    return None if entry.name == "state/raw" or entry.name.endswith(".png") else entry


if __name__ == "__main__":
    make(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
