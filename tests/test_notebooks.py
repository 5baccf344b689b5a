"""The notebooks of the examples run from top to bottom."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture(name="kernels")
def fixture_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give kernels this library, and folders of their own for all that they write."""
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parents[1]))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))


@pytest.mark.slow
@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path):
    """All cells run, and have outputs of the same kinds as those in the file."""
    notebook = nbformat.read(path, as_version=4)
    kept = [kinds(cell) for cell in notebook.cells]
    client = NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": str(FOLDER)}},
    )
    client.execute()
    assert [kinds(cell) for cell in notebook.cells] == kept


def kinds(cell) -> list[tuple[str, ...]]:
    """Return the kind of each output of a cell."""
    return [
        (each.output_type, *sorted(each.get("data", {each.get("name"): ""})))
        for each in cell.get("outputs", ())
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_as_it_ran(path):
    """Cells ran in order, the file is small, and no output names a folder of the machine."""
    assert path.stat().st_size < 200_000
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = str([cell.outputs for cell in cells])
    assert re.findall(r"/(?:root|home|tmp|work|usr|Users)\b", outputs) == []
