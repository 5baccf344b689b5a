"""The README and the documentation: their programs run, their pages are complete."""

import ast
import importlib
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import textrnn
from examples.accuracy.report import overview
from examples.accuracy.results import load_results
from examples.accuracy.rows import rows_of
from textrnn import plotting

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = sorted((ROOT / "docs").rglob("*.md"))
REFERENCE = ROOT / "docs" / "reference"
INDEX = (REFERENCE / "index.md").read_text()
ROOMS = sorted(
    {
        module.name
        for module in pkgutil.iter_modules(textrnn.__path__)
        if not module.name.startswith("_")
    }
    | {"training.schedulers"}
)


def blocks(language: str, text: str) -> list[str]:
    """Return the contents of the fenced blocks of one language."""
    return re.findall(rf"^```(?:{language})\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def test_the_readme_runs_from_top_to_bottom(tmp_path, monkeypatch):
    """The README's Python, executed as one program, saves a model that learned its texts."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    for block in blocks("python", README):
        exec(compile(block, "README.md", "exec"), namespace)  # noqa: S102 - the program is ours

    saved = textrnn.TextClassifier.load(tmp_path / "model")
    assert list(saved.predict(namespace["texts"])) == namespace["labels"]
    shown = re.search(r"predict\((.+)\)  # (.+)", README)
    assert shown
    assert repr(saved.predict(ast.literal_eval(shown[1]))) == shown[2]


def test_the_readme_shows_the_committed_accuracies():
    """The README has the table that `examples.accuracy` wrote for the committed results."""
    results = ROOT / "examples" / "accuracy" / "results"
    table = (results / "validation-overview.md").read_text("utf-8")
    assert table == overview(rows_of(load_results(results, "validation")))
    assert f"\n{table}\n" in README
    assert README.count("\n") < 120


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.stem)
def test_relative_links_lead_to_files(page):
    """Links and pictures of the README and of each page exist."""
    for link in re.findall(r"\]\(([\w./-]+/[\w./-]+)\)", page.read_text("utf-8")):
        assert (page.parent / link).exists(), link


@pytest.mark.slow
def test_the_commands_that_are_shown_work(tmp_path):
    """Each `$ textrnn` line, run in order beside small tables, ends well."""
    page = (ROOT / "docs" / "guides" / "command-line.md").read_text()
    shown = re.compile(r"^\$ (.*\btextrnn .*)$", re.MULTILINE)
    commands = shown.findall(page.replace("\\\n", " "))
    assert set(shown.findall(README)) <= set(commands)

    rows = ["oil prices soar,business", "the striker scores,sports", "stocks fall,business"]
    for name, times in (("train", 40), ("valid", 8), ("test", 8)):
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *rows * times, ""]))
    (tmp_path / "lines.txt").write_text("oil stocks fall\nthe striker falls\n")
    (tmp_path / "glove.6B.100d.txt").write_text("oil 1 0\nprices 1 1\nstriker 0 1\nscores 0 2\n")
    (tmp_path / "news.tsv").write_text("sports\tCup\tThey won\nbusiness\tOil\tUp again\n" * 8)

    rows = ["you oil,1,0,1", "the striker,0,1,0", "stocks,0,0,0"] * 8
    names = "comment_text,toxic,obscene,threat"
    (tmp_path / "toxic.csv").write_text("\n".join([names, *rows, ""]))

    for command in commands:
        command = command.replace("--minutes 10 ", "--minutes 0.1 ")  # noqa: PLW2901 - same command
        run = subprocess.run(  # noqa: S602 - the commands are our own pages'
            re.sub(r"\btextrnn (?=[a-z])", f"{sys.executable} -m textrnn ", command, count=1),
            shell=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, f"{command}\n{run.stderr}"
        if " predict " in command:
            assert run.stdout.count("\n") == (24 if "test.csv" in command else 2)
        elif " train " not in command:
            assert run.stdout


@pytest.mark.parametrize("room", ROOMS)
def test_each_public_name_has_one_entry_in_the_reference(room):
    """A room has a page, which documents each name of its `__all__` once."""
    page = (REFERENCE / f"{room.removeprefix('training.')}.md").read_text()
    public = set(importlib.import_module(f"textrnn.{room}").__all__) - {"schedulers"}
    assert f".. automodule:: textrnn.{room}\n" in page
    options = page.partition(f".. automodule:: textrnn.{room}\n")[2].partition("```")[0]
    if ":no-members:" in options:
        entries = re.findall(
            r"^\.\. (?:auto|py:)(?:class|function|data):: (\S+)$", page, re.MULTILINE
        )
        listing = rf"^\.\. names:: textrnn\.{room}\n   :pages:\n(.*?)^```"
        for names in re.findall(listing, page, re.MULTILINE | re.DOTALL):
            entries += names.split() or sorted(public)
        names = [entry.rpartition(".")[2] for entry in entries]
        assert len(names) == len(set(names))
        assert public <= set(names)
    else:
        assert "   :pages:" not in page
        assert ".. auto" not in page.replace(".. automodule::", "")
    assert f"{{py:mod}}`textrnn.{room}`" in INDEX


def test_the_page_on_the_layout_names_modules_that_exist():
    """Each room has its table of modules, and each module that is named can be imported."""
    page = (ROOT / "docs" / "layout.md").read_text()
    tables = " ".join(re.findall(r"^\.\. modules:: (.+)$", page, re.MULTILINE)).split()
    top = {module.name for module in pkgutil.iter_modules(textrnn.__path__, "textrnn.")}
    assert set(tables) == top - {"textrnn.__main__"}
    for name in re.findall(r"`(textrnn(?:\.\w+)+)`", page):
        importlib.import_module(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_all_python_in_the_documentation_is_executed(page):
    """Pages show Python in blocks that `sphinx -b doctest` runs, never in plain ones."""
    assert blocks("python|py|pycon", page.read_text()) == []


def test_the_gallery_shows_every_plot():
    """Each plotting function has a picture."""
    gallery = (ROOT / "docs" / "guides" / "gallery.md").read_text("utf-8")
    programs = "".join(blocks(r"\{plot\}", gallery))
    plots = [name for name in plotting.__all__ if name.startswith("plot_")]
    assert [name for name in plots if f"figure = {name}(" not in programs] == []


def test_every_page_is_reachable():
    """Each page but the first stands in the table of contents."""
    index = (ROOT / "docs" / "index.md").read_text()
    listed = {line for block in blocks(r"\{toctree\}", index) for line in block.splitlines()}
    names = {str(page.relative_to(ROOT / "docs").with_suffix("")) for page in PAGES} - {"index"}
    assert names - listed == set()
