"""How the documentation is built; every page's examples are executed by `sphinx -b doctest`."""

import importlib
import pkgutil
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.domains.python import PyObject
from sphinx.ext.autosummary import Autosummary

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

# Types stand beside the arguments' descriptions, so a signature stays readable.
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True
maximum_signature_line_length = 80
python_use_unqualified_type_names = True
autosummary_generate = False  # it is used for tables alone
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # properties have entries of their own
strip_signature_backslash = True  # or a name such as classes_ loses its underscore
napoleon_use_rtype = False  # annotations tell the type; prose before a colon is not one
toc_object_entries_show_parents = "hide"

# The build works without a network, so there are no inventories of other projects to link to.
nitpick_ignore_regex = [
    ("py:.*", r"(collections|concurrent|os|pathlib|types|typing)\..*"),  # the standard library
    ("py:.*", r"(numpy|torch|matplotlib|datasets|pyarrow|tqdm)\..*"),  # the packages we build on
    ("py:obj", r"textrnn\.[a-z]+\.[a-z_]+"),  # a module inside a room has no page of its own
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
    """Stop napoleon from taking a property's words before a colon for its type."""
    if what in {"attribute", "property"}:
        lines[:0] = ["..", ""]  # an empty comment


class Modules(Autosummary):
    """A table of a package's public modules, which can't go stale."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Fill in the modules and make the table of them."""
        package = importlib.import_module(self.arguments[0])
        names = [
            module.name
            for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
            if not module.ispkg and not module.name.rpartition(".")[2].startswith("_")
        ]
        self.content = StringList(names, source=package.__name__)
        self.options["nosignatures"] = None
        return super().run()


def setup(app: Sphinx) -> None:
    """Add what this file defines to the build."""
    app.add_directive("modules", Modules)
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"  # what docstrings call them
    app.connect("autodoc-process-docstring", _keep_colon, priority=400)  # before napoleon's 500
