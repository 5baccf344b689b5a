"""Run the tests on each Python, with the newest and the lowest versions that pyproject.toml allows.

    python .ci/versions.py                               # everything: four environments
    python .ci/versions.py --only 3.11-lowest -- tests/test_step.py -x

It needs uv, which also fetches a Python that is not there. An environment needs gigabytes where
PyTorch comes as a CUDA build. What was installed and what the tests said goes to
`.ci/versions.json`, in place of the older result of the same environment.
"""

import argparse
import datetime as dt
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / ".ci" / "versions.json"
ENVIRONMENTS = ["3.11-lowest", "3.11-newest", "3.12-newest", "3.13-newest"]
EVERYTHING = ["-n", "auto", "--maxprocesses", "4", "--dist", "worksteal"]
# Old releases warn of each other, and of the newer packages below them.
WITH_OLD = ["-W", "ignore::DeprecationWarning", "-W", "ignore::FutureWarning"]


def canonical(name: str) -> str:
    """Return the name of a package as all tools agree on it."""
    return re.sub("[-_.]+", "-", name).lower()


def direct() -> list[str]:
    """Return the names of the packages that the tests need directly."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines, open_extras = list(project["dependencies"]), ["test"]
    while open_extras:
        for line in extras[open_extras.pop()]:
            inner = re.fullmatch(r"textrnn\[(.*)\]", line)
            open_extras += inner[1].split(",") if inner else []
            lines += [] if inner else [line]
    return sorted({canonical(line.partition(">=")[0]) for line in lines})


def output_of(*command: str | Path) -> str:
    """Run a command and return what it printed."""
    run = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    return run.stdout.strip()


def run_one(environment: str, folder: Path, pytest_arguments: list[str]) -> dict[str, Any]:
    """Install the environment, run the tests and return what happened."""
    python, _, versions = environment.partition("-")
    old = versions == "lowest"
    place, report = folder / environment, folder / f"{environment}.xml"
    python_there = str(place / "bin" / "python")
    output_of("uv", "venv", "-q", "--seed", "--allow-existing", "--python", python, place)
    output_of(
        *("uv", "pip", "install", "-q", "-U", "--python", place, "-e", ".[test]"),
        *("--resolution", "lowest-direct" if old else "highest"),
    )
    warnings = WITH_OLD if old else []
    pytest = [python_there, "-m", "pytest", "-q", f"--junit-xml={report}", *warnings]
    status = subprocess.run(
        [*pytest, *pytest_arguments],
        check=False,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"},
    ).returncode

    counts = ET.parse(report).getroot()[0].attrib  # noqa: S314 - pytest wrote it just now
    failed = int(counts["failures"]) + int(counts["errors"])
    skipped = int(counts["skipped"])  # with those that are expected to fail
    listing = json.loads(output_of("uv", "pip", "list", "--python", place, "--format=json"))
    installed = {canonical(package["name"]): package["version"] for package in listing}
    return {
        "date": f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%d}",
        "commit": output_of("git", "rev-parse", "--short", "HEAD"),
        "python": output_of(python_there, "--version").removeprefix("Python "),
        "pytest": " ".join(pytest_arguments),
        "passed": int(counts["tests"]) - failed - skipped,
        "skipped": skipped,
        "failed": max(failed, int(status != 0)),
        "packages": {name: installed[name] for name in direct()},
    }


def main() -> int:
    """Run the environments that were asked for; return 1 if a test failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=ENVIRONMENTS, default=ENVIRONMENTS)
    parser.add_argument("--folder", type=Path, help="keep the environments here for the next call")
    parser.add_argument("pytest", nargs="*", help="arguments of pytest, after --")
    arguments = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = (arguments.folder or Path(scratch)).absolute()
        for environment in arguments.only:
            results[environment] = run_one(environment, folder, arguments.pytest or EVERYTHING)
            RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    return int(any(results[environment]["failed"] for environment in arguments.only))


if __name__ == "__main__":
    sys.exit(main())
