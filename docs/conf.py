"""Configuration of the documentation. `sphinx -b doctest` runs the examples of every page."""

import importlib
import pkgutil
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.domains.python import PyObject
from sphinx.ext.autosummary import Autosummary
from sphinx.util.docutils import SphinxDirective

import textrnn

project = "textrnn"
author = "The textrnn maintainers"
project_copyright = author
version = release = textrnn.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
templates_path: list[str] = []
default_role = "literal"  # single backticks in docstrings are code

# Types are shown beside the descriptions of arguments, which keeps signatures readable.
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True
maximum_signature_line_length = 80
python_use_unqualified_type_names = True
autosummary_generate = False  # autosummary makes tables only
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # properties have entries of their own
strip_signature_backslash = True  # or a name such as classes_ loses its underscore
napoleon_use_rtype = False  # annotations give the type; words before a colon are not one
toc_object_entries_show_parents = "hide"

# The build needs no network, so it cannot link to other projects.
nitpick_ignore_regex = [
    ("py:.*", r"(collections|concurrent|os|pathlib|types|typing)\..*"),  # the standard library
    ("py:.*", r"(numpy|torch|matplotlib|datasets|pyarrow|tqdm)\..*"),  # dependencies
]

doctest_global_setup = "import torch; _ = torch.manual_seed(0)"
doctest_test_doctest_blocks = ""  # pytest runs those in docstrings
trim_doctest_flags = True

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"textrnn {version}"
html_static_path = ["_static"]
html_css_files = ["textrnn.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def _keep_colon(
    _app: Sphinx, what: str, _name: str, _obj: Any, _opts: Any, lines: list[str]
) -> None:
    """Prevent napoleon from reading words before a colon in a property's docstring as its type."""
    if what in {"attribute", "property"}:
        lines[:0] = ["..", ""]  # an empty comment


class Names(Autosummary):
    """A table of the public names of a room, made from its `__all__`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        package = importlib.import_module(self.arguments[0])
        names = []
        for name in sorted(package.__all__, key=str.lower):
            if name.startswith("__"):
                continue
            room = package.__name__
            if package is textrnn:  # its names are documented in their rooms
                room = ".".join(getattr(package, name).__module__.split(".")[:2])
            names.append(f"~{room}.{name}")
        self.content = StringList(names, source=package.__name__)
        self.options["nosignatures"] = None
        return super().run()

    def get_items(self, names: list[str]) -> list[tuple[str, str | None, str, str]]:
        """Return the rows; a type alias has no docstring of its own."""
        rows = super().get_items(names)
        return [(name, sign, summary or "Type alias.", real) for name, sign, summary, real in rows]


class Modules(SphinxDirective):
    """A table of the modules of a room, or of single modules, with their first sentences."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        lines = [".. list-table::", "   :widths: auto", ""]
        for name in self.arguments[0].split():
            module = importlib.import_module(name)
            found = pkgutil.walk_packages(getattr(module, "__path__", []), f"{name}.")
            for path in [part.name for part in found if not part.ispkg] or [name]:
                summary = (importlib.import_module(path).__doc__ or "").partition("\n\n")[0]
                label = path.removeprefix(f"{name}.").removeprefix("textrnn.").replace(".", "/")
                lines += [f"   * - ``{label}``", f"     - {' '.join(summary.split())}"]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> None:
    """Register the directives and handlers of this file."""
    app.add_directive("names", Names)
    app.add_directive("modules", Modules)
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"  # what docstrings call them
    app.connect("autodoc-process-docstring", _keep_colon, priority=400)  # before napoleon's 500
