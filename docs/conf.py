"""Configuration of the documentation. `sphinx -b doctest` runs the examples of every page."""

import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.domains.python import PyObject

import textrnn

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

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
    "sphinx_design",
    "defaults",  # these four are in _ext
    "figures",
    "pictures",
    "reference",
]
exclude_patterns = ["_build", "_ext"]
templates_path: list[str] = []
default_role = "literal"  # single backticks in docstrings are code

autodoc_typehints = "both"  # in signatures, and beside the descriptions of arguments
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True
maximum_signature_line_length = 70
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
    ("py:class", r"textrnn\.runtime\.folder\.SavedModel"),  # `load` makes it
    ("py:class", r"textrnn\.(.+\.)?_.+"),  # private types in signatures
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


def _hide_colon(
    _app: Sphinx, what: str, _name: str, _obj: Any, _opts: Any, lines: list[str]
) -> None:
    """Prevent napoleon from reading words before a colon in such a docstring as its type."""
    if what in {"attribute", "data", "property"}:
        lines[:0] = ["..", ""]  # an empty comment


def _show_colon(
    _app: Sphinx, _what: str, _name: str, _obj: Any, _opts: Any, lines: list[str]
) -> None:
    """Remove the comment, or it is the summary in tables."""
    if lines[:1] == [".."]:
        del lines[:2]


def _plain_defaults(
    _app: Sphinx, _what: str, _name: str, _obj: Any, _opts: Any, signature: str | None, returns: Any
) -> tuple[str, Any] | None:
    """Write the default of a dataclass's field so that the signature is Python."""
    if signature is None:
        return None
    return signature.replace("<factory>", "..."), returns


def setup(app: Sphinx) -> None:
    """Register the handlers of this file."""
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"  # what docstrings call them
    app.connect("autodoc-process-signature", _plain_defaults)
    app.connect("autodoc-process-docstring", _hide_colon, priority=400)  # before napoleon's 500
    app.connect("autodoc-process-docstring", _show_colon, priority=600)
