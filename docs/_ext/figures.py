"""The directive `figures`: chosen rows and columns of a committed table of results."""

from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata


class Figures(SphinxDirective):
    """Rows of the Markdown tables of a file: those that begin with the cells of a line.

    The option `columns` has the heads of the columns to show.
    """

    has_content = True
    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"columns": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        relative, file = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(relative)
        lines = Path(file).read_text("utf-8").splitlines()
        rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
        heads = [head.strip() for head in self.options["columns"].split("|")]
        shown = [heads]
        for line in self.content:
            cells = [cell.strip() for cell in line.split("|")]
            found = [row for row in rows if row[: len(cells)] == cells]
            if len(found) != 1:
                raise self.error(f"{len(found)} rows of {file} begin with {cells}.")
            above = rows[: rows.index(found[0])]
            columns = next(row for row in reversed(above) if set(heads) <= set(row))
            shown.append([found[0][columns.index(head)] for head in heads])
        text = [".. list-table::", "   :header-rows: 1", "   :widths: auto", ""]
        for row in shown:
            text += [f"{'     - ' if i else '   * - '}{cell}" for i, cell in enumerate(row)]
        return self.parse_text_to_nodes("\n".join(text))


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directive."""
    app.add_directive("figures", Figures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
