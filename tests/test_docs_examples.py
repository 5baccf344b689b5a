"""What the README and the documentation say holds."""

import importlib
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

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
    model = namespace["model"].eval()
    for batch in namespace["loader"]:
        assert torch.equal(model(batch.input_ids, batch.lengths).argmax(dim=1), batch.labels)


@pytest.mark.slow
def test_the_commands_that_are_shown_work(tmp_path):
    """Each `$ textrnn` line, run in order beside small tables, ends well."""
    page = (ROOT / "docs" / "guides" / "command-line.md").read_text()
    shown = re.compile(r"^\$ (.*\btextrnn .*)$", re.MULTILINE)
    commands = shown.findall(page.replace("\\\n", " "))
    assert set(shown.findall(README)) <= set(commands)

    rows = ["oil prices soar,business", "the striker scores,sports", "stocks fall,business"] * 8
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *rows, ""]))
    (tmp_path / "lines.txt").write_text("oil stocks fall\nthe striker falls\n")
    (tmp_path / "news.tsv").write_text("sports\tCup\tThey won\nbusiness\tOil\tUp again\n" * 8)

    for command in commands:
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


def test_every_room_is_in_the_table_of_modules():
    """The reference lists the modules of every package, and has a page for each module outside."""
    index = (ROOT / "docs" / "reference" / "index.md").read_text()
    listed = re.findall(r"^\.\. modules:: (.+)$", index, re.MULTILINE)
    packages = {"textrnn"}
    for module in pkgutil.walk_packages(textrnn.__path__, "textrnn."):
        if module.ispkg:
            packages.add(module.name)
        elif module.name.count(".") == 1 and "._" not in module.name:
            page = ROOT / "docs" / "reference" / f"{module.name.removeprefix('textrnn.')}.md"
            assert page.is_file(), module.name
    assert set(listed) == packages


@pytest.mark.parametrize("room", ["data", "nn", "text", "training"])
def test_a_room_page_documents_all_that_the_room_exports(room):
    """What can be imported from a room has an entry on its page, or a page of its own."""
    pages = "\n".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md"))
    if f".. automodule:: textrnn.{room}\n   :imported-members:" in pages:
        return
    names = importlib.import_module(f"textrnn.{room}").__all__
    known = re.findall(r"\.\. auto\w+:: (?:textrnn\.\w+\.)?(\w+)$", pages, re.MULTILINE)
    assert set(names) - set(known) == set()


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
