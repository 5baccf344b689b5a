"""The directive `plot`: a program that ends with a `figure`, and its picture."""

import hashlib
import logging
from pathlib import Path
from typing import Any, ClassVar

import matplotlib as mpl
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from textrnn import plotting

FOLDER = "_generated"


class Plot(SphinxDirective):
    """A program that ends with a `figure`, executed when the page is read, and its picture."""

    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {"alt": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        """Return the program and its picture."""
        program = "\n".join(self.content)
        source = f"{self.env.docname}, line {self.lineno}"
        namespace: dict[str, Any] = {}
        logging.getLogger("textrnn").setLevel(logging.WARNING)
        exec(compile(program, source, "exec"), namespace)  # noqa: S102 - the program is ours
        digest = hashlib.sha256(program.encode()).hexdigest()[:12]
        folder = Path(self.env.srcdir, FOLDER)
        folder.mkdir(exist_ok=True)
        with mpl.rc_context({"svg.hashsalt": digest}):
            path = folder / f"{digest}.svg"
            namespace["figure"].savefig(path, metadata={"Date": None})
        self.env.note_dependency(plotting.__file__)
        block = nodes.literal_block(program, program, language="python")
        image = nodes.image(uri=f"/{FOLDER}/{digest}.svg", alt=self.options["alt"])
        self.set_source_info(block)
        self.set_source_info(image)
        return [block, image]


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directive."""
    app.add_directive("plot", Plot)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
