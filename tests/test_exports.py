"""The public names of the package, and the cost of importing it."""

import importlib
import inspect
import json
import pickle
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import textrnn

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    ["textrnn"]
    + [
        module.name
        for module in pkgutil.walk_packages(textrnn.__path__, "textrnn.")
        if not module.name.rpartition(".")[2].startswith("_")
    ]
)
HEAVY = [
    "datasets",
    "matplotlib",
    "nltk",
    "onnx",
    "onnxruntime",
    "pandas",
    "polars",
    "pyarrow",
    "scipy",
    "sklearn",
    "tensorboard",
]


def public_objects() -> list[tuple[str, object]]:
    """Return every name in every module's `__all__`, each object once."""
    found: dict[int, tuple[str, object]] = {}
    for name in MODULES:
        module = importlib.import_module(name)
        for attribute in module.__all__:
            value = getattr(module, attribute)
            found.setdefault(id(value), (f"{name}.{attribute}", value))
    return list(found.values())


def test_the_package_exports_what_a_user_needs() -> None:
    """The top-level names are exactly these, in ASCII order."""
    assert textrnn.__all__ == [
        "Batch",
        "BucketBatchSampler",
        "CharTokenizer",
        "PaddingCollator",
        "RecurrentClassifier",
        "TextClassifier",
        "Trainer",
        "Vocabulary",
        "WordDataset",
        "WordTokenizer",
        "__version__",
    ]


@pytest.mark.parametrize("name", MODULES)
def test_every_public_module_lists_its_names(name: str) -> None:
    """Each public module has a docstring and an `__all__` whose names exist."""
    module: ModuleType = importlib.import_module(name)
    assert module.__doc__
    assert len(module.__all__) == len(set(module.__all__))
    assert [item for item in module.__all__ if not hasattr(module, item)] == []


@pytest.mark.parametrize(
    "room", ["data", "estimator", "ngrams", "nn", "runtime", "text", "training"]
)
def test_a_room_exports_modules_and_what_they_list(room: str) -> None:
    """Each name of a room is a module of it or in the `__all__` of one."""
    package = importlib.import_module(f"textrnn.{room}")
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    for module in set(modules):
        modules |= set(importlib.import_module(f"{package.__name__}.{module}").__all__)
    assert set(package.__all__) - modules == set()


def test_every_public_object_has_a_docstring() -> None:
    """Classes, functions and public methods have a docstring."""
    silent = []
    for name, value in public_objects():
        if not (inspect.isclass(value) or inspect.isroutine(value)):
            continue
        members = [(name, value)]
        if inspect.isclass(value):
            members += [
                (f"{name}.{key}", getattr(value, key))
                for key, member in vars(value).items()
                if not key.startswith("_")
                and (inspect.isroutine(member) or isinstance(member, property))
            ]
        silent += [key for key, member in members if not (inspect.getdoc(member) or "").strip()]
    assert silent == []


def test_import_brings_nothing_heavy_along() -> None:
    """Importing the package loads torch, NumPy and little else."""
    # What torch itself imports is not counted against the library.
    program = (
        "import json, sys, torch; before = set(sys.modules); from textrnn import *;"
        f"print(json.dumps(sorted(set({HEAVY}) & (set(sys.modules) - before))))"
    )
    run = subprocess.run(  # noqa: S603 - the program is ours
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert json.loads(run.stdout) == []


def in_new_process(program: str) -> str:
    """Run a program without PyTorch and NumPy, and return what it prints."""
    blocked = "import sys; sys.modules.update(dict.fromkeys(['nltk', 'numpy', 'torch']));"
    run = subprocess.run(  # noqa: S603 - the program is ours
        [sys.executable, "-c", blocked + program],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert "Traceback" not in run.stderr, run.stderr
    return run.stdout


def test_the_package_is_imported_without_torch() -> None:
    """`import textrnn`, the errors and the version need no other package."""
    program = (
        "import textrnn; print(textrnn.__version__, textrnn.errors.InvalidValueError.__name__)"
    )
    assert in_new_process(program) == f"{textrnn.__version__} InvalidValueError\n"


def test_names_that_were_not_asked_for_yet_are_listed() -> None:
    """`dir` lists names and rooms before they are imported."""
    program = "import textrnn; print([n for n in dir(textrnn) if not n.startswith('__')])"
    rooms = [
        "data",
        "errors",
        "estimator",
        "ngrams",
        "nn",
        "plotting",
        "runtime",
        "text",
        "training",
    ]
    listed = [*(name for name in textrnn.__all__ if name != "__version__"), *rooms]
    assert in_new_process(program) == f"{listed}\n"
    assert [name for name in dir(textrnn) if not name.startswith("__")] == listed


def test_a_name_is_the_rooms_own_object() -> None:
    """A name is the object of its module, which pickles by reference."""
    names = [name for name in textrnn.__all__ if name != "__version__"]
    for name in names:
        value = getattr(textrnn, name)
        assert value is getattr(sys.modules[value.__module__], name)
        assert pickle.loads(pickle.dumps(value)) is value  # noqa: S301 - our own bytes
    starred: dict[str, object] = {}
    exec("from textrnn import *", starred)  # noqa: S102 - the line is ours
    assert [name for name in names if starred[name] is not getattr(textrnn, name)] == []


@pytest.mark.parametrize("name", ["TextClasifier", "__wrapped__", "_commands_", "nope"])
def test_an_unknown_name_is_an_attribute_error(name: str) -> None:
    """The message is Python's, so that `hasattr` and suggestions work."""
    assert not hasattr(textrnn, name)
    with pytest.raises(
        AttributeError, match=f"^module 'textrnn' has no attribute '{name}'$"
    ) as info:
        getattr(textrnn, name)
    assert info.value.name == name
    assert info.value.obj is textrnn


def test_the_estimator_room_imports_its_class_on_first_use() -> None:
    """The command line reads the options of `TextClassifier` without PyTorch."""
    program = "from textrnn.estimator.settings import OPTIONS; print(OPTIONS[-1].name)"
    assert in_new_process(program) == "seed\n"
    assert "TextClassifier" in dir(textrnn.estimator)
    message = "^module 'textrnn.estimator' has no attribute 'TextClasifier'$"
    with pytest.raises(AttributeError, match=message):
        _ = textrnn.estimator.TextClasifier
