"""The wheel, the sdist, the pinned versions and the README's commands."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import textrnn

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(name="pins", scope="module")
def fixture_pins() -> dict[str, str]:
    """Return the versions in constraints.txt by canonical name."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


@pytest.fixture(name="built", scope="module")
def fixture_built(tmp_path_factory) -> Path:
    """Build the sdist, and the wheel from it, without a network; return their folder."""
    source = tmp_path_factory.mktemp("source")
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, source)
        elif path.name in {"docs", "examples", "tests", "textrnn"}:
            ignore = shutil.ignore_patterns("__pycache__", "_build")
            shutil.copytree(path, source / path.name, ignore=ignore)
    target = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target)]
    run = subprocess.run(  # noqa: S603 - the command is ours
        command, cwd=source, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return target


def test_the_wheel_holds_the_library_alone(built):
    """The wheel has every module, `py.typed` and its metadata: no tests, no examples, no data."""
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "textrnn").rglob("*.py")}
    library = {name for name in names if ".dist-info/" not in name}
    assert library == modules | {"textrnn/py.typed"}
    metadata = {name.split("/", 1)[1] for name in names - library}
    assert metadata >= {"METADATA", "licenses/LICENSE", "entry_points.txt"}


def test_the_sdist_holds_no_tests_and_no_data(built):
    """The sdist has what the wheel and the documentation need, and is small."""
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = [member.name.split("/", 1)[-1] for member in archive if member.isfile()]
    tops = {name.split("/")[0] for name in names} - {"PKG-INFO", "setup.cfg", "textrnn.egg-info"}
    assert tops == {
        "CHANGELOG.md",
        "CITATION.cff",
        "CONTRIBUTING.md",
        "LICENSE",
        "MANIFEST.in",
        "README.md",
        "RELEASING.md",
        "constraints.txt",
        "docs",
        "examples",
        "pyproject.toml",
        "textrnn",
    }
    assert {Path(name).suffix for name in names if name.startswith("textrnn/")} <= {".py", ".typed"}
    shown = re.compile(r"^```\{(?:include|literalinclude|image)\} (\S+)$", re.MULTILINE)
    for page in (ROOT / "docs").rglob("*.md"):
        for path in shown.findall(page.read_text()):
            assert str((page.parent / path).resolve().relative_to(ROOT)) in names, page
    assert sdist.stat().st_size < 1_000_000


def test_the_wheel_works_away_from_the_repository(built, tmp_path):
    """The wheel imports and runs without the repository."""
    (wheel,) = built.glob("*.whl")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import textrnn; print(textrnn.__file__);"
        "print(textrnn.WordTokenizer()('It works.'))"
    )
    run = subprocess.run(  # noqa: S603 - the program is ours
        [sys.executable, "-I", "-c", program, str(wheel)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert run.stdout.splitlines() == [str(wheel / "textrnn" / "__init__.py"), "['it', 'works']"]


def test_every_direct_dependency_is_pinned(pins):
    """constraints.txt has a matching version for each requirement in pyproject.toml."""
    extras = PROJECT["optional-dependencies"].values()
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]
    for requirement in map(Requirement, lines):
        name = canonicalize_name(requirement.name)
        if name != "textrnn":
            assert name in pins
            assert requirement.specifier.contains(pins[name]), requirement


def test_pins_suit_every_machine(pins):
    """No pin is specific to one platform or brings CUDA."""
    assert pins["torch"] == "2.13.0"
    assert [name for name in pins if name.startswith(("nvidia-", "cuda-", "triton"))] == []
    assert [
        version for version in pins.values() if not re.fullmatch(r"[0-9.]+(b\d+)?", version)
    ] == []


def test_the_version_is_the_same_everywhere():
    """`__version__` agrees with pyproject.toml and CITATION.cff."""
    assert textrnn.__version__ == PROJECT["version"]
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {textrnn.__version__}\n" in citation


def test_the_readme_has_its_two_commands():
    """One line installs and runs the example, one the tests, both with the pins."""
    readme = (ROOT / "README.md").read_text()
    start = "python3 -m venv .venv && . .venv/bin/activate && pip install -c constraints.txt -e "
    first_screen = readme.split("\n## ")[0]
    assert f'\n{start}".[examples]" && python -m examples.ag_news\n' in first_screen
    assert f'\n{start}".[test]" && python -m pytest\n' in first_screen


def test_ci_runs_on_every_python_that_is_declared():
    """The workflow's Pythons are the classifiers' ones, and the first is the lowest allowed."""
    prefix = "Programming Language :: Python :: 3."
    declared = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if prefix in line]
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    (matrix,) = re.findall(r"python: \[(.*)\]", workflow)
    assert re.findall(r"[0-9.]+", matrix) == declared
    assert PROJECT["requires-python"] == f">={declared[0]}"
