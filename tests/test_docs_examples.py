"""What the README and the documentation say holds."""

import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest

import textrnn

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def blocks(language: str, text: str) -> list[str]:
    """Return the contents of the fenced blocks of one language."""
    return re.findall(rf"^```(?:{language})\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def test_the_readme_runs_from_top_to_bottom(tmp_path, monkeypatch):
    """The README's Python, executed as one program, trains models that learned their texts."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    for block in blocks("python", README):
        exec(compile(block, "README.md", "exec"), namespace)  # noqa: S102 - the program is ours

    saved = textrnn.TextClassifier.load(tmp_path / "model")
    assert list(saved.predict(namespace["texts"])) == namespace["labels"]
    assert namespace["loss"].item() < 0.1


def test_every_module_is_named_in_the_documentation():
    """A module that no page names can't be found by a reader."""
    text = "\n".join(page.read_text() for page in PAGES)
    modules = [
        module.name
        for module in pkgutil.walk_packages(textrnn.__path__, "textrnn.")
        if not any(part.startswith("_") for part in module.name.split("."))
    ]
    assert [name for name in modules if not re.search(rf"{re.escape(name)}\b", text)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_all_python_in_the_documentation_is_executed(page):
    """Pages show Python in blocks that `sphinx -b doctest` runs, never in plain ones."""
    assert blocks("python|py|pycon", page.read_text()) == []


def test_every_page_is_reachable():
    """Each page but the first stands in the table of contents."""
    index = (ROOT / "docs" / "index.md").read_text()
    listed = {line for block in blocks(r"\{toctree\}", index) for line in block.splitlines()}
    names = {str(page.relative_to(ROOT / "docs").with_suffix("")) for page in PAGES} - {"index"}
    assert names - listed == set()
