"""A spark-submit that starts no Spark: it notes how it was called, then does what the test's plan says of this try.

The plan (a JSON file, named by FAKE_SPARK_PLAN) maps a stage to what its tries do, the last for all further ones:
ok, fail (a retry may help), fatal (a retry gives the same), crash and killed (end without a manifest), hang (until killed).
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def main() -> int:
    options = dict(zip(sys.argv, sys.argv[1:], strict=False))
    run_json, stage, attempt = Path(options["--run"]), options["--stage"], int(options["--try"])
    plan_file = Path(os.environ["FAKE_SPARK_PLAN"])
    with plan_file.with_name("submits.jsonl").open("a") as calls:
        calls.write(json.dumps({"stage": stage, "try": attempt, "argv": sys.argv[1:]}) + "\n")
    tries = json.loads(plan_file.read_text()).get(stage, ["ok"])
    what = tries[min(attempt, len(tries)) - 1]
    print(f"fake spark-submit: {stage} try {attempt}: {what}", flush=True)
    if what == "crash":
        print("java.lang.OutOfMemoryError: Java heap space", flush=True)
        return 52
    if what == "killed":
        print("WARNING: Using incubator modules: jdk.incubator.vector", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "hang":
        child = subprocess.Popen(["sleep", "300"])
        partial = plan_file.with_name(f"pids.{os.getpid()}.partial")
        partial.write_text(f"{os.getpid()} {child.pid}")
        partial.rename(plan_file.with_name("pids"))
        time.sleep(300)
    manifest = {
        "run_id": json.loads(run_json.read_text())["run_id"],
        "experiment_id": json.loads(run_json.read_text())["experiment"]["id"],
        "stage": stage,
        "try_number": attempt,
        "status": "success" if what == "ok" else "failed",
        "started_at": "2026-01-05T00:00:00+00:00",
        "seconds": 0.1,
        "rows_out": 7,
        "details": {"action": "ship"} if stage == "decision" else {},
        "warnings": [],
        "error": None if what == "ok" else f"{stage} found nothing; give it something",
        "retryable": what != "fatal",
    }
    path = run_json.parent / "manifests" / f"{stage}.{attempt}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(manifest))
    return 0 if what == "ok" else 1


if __name__ == "__main__":
    sys.exit(main())
