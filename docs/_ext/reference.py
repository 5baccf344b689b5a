"""Directives of the reference: tables of names and modules, and a page for each class."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.autosummary import Autosummary
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

import textrnn

PAGES = "api"  # folder of the generated pages, beside the page that lists them


def _public(module: str) -> list[str]:
    """Return the public names of a module that are objects of its own, sorted."""
    package = importlib.import_module(module)
    found = [name for name in package.__all__ if not name.startswith("__")]
    found = [name for name in found if not inspect.ismodule(getattr(package, name))]
    return sorted(found, key=str.lower)


def _path(module: str, name: str) -> str:
    """Return the path that users import a name by: from `textrnn` where that has it."""
    return f"textrnn.{name}" if name in textrnn.__all__ else f"{module}.{name}"


def _object(path: str) -> Any:
    """Return the object at a path."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


class Names(Autosummary):
    """A table of public names of a module: of all, or of those in the content.

    With the option `pages`, each class has a page of its own.
    """

    required_arguments = 1
    option_spec = Autosummary.option_spec | {"pages": directives.flag}

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        module = self.arguments[0]
        paths = [_path(module, name) for name in list(self.content) or _public(module)]
        classes = [path for path in paths if inspect.isclass(_object(path))]
        if "pages" in self.options and classes:
            if len(classes) < len(paths):
                raise self.error("Functions have no pages of their own: list them elsewhere.")
            self.options["toctree"] = PAGES
        self.content = StringList([f"~{path}" for path in paths], source=module)
        self.options["nosignatures"] = None
        before = self.env.ref_context.pop("py:module", None)  # paths are complete
        table = super().run()
        if before is not None:
            self.env.ref_context["py:module"] = before
        return table

    def get_items(self, names: list[str]) -> list[tuple[str, str | None, str, str]]:
        """Return the rows; a type alias has no docstring of its own."""
        rows = super().get_items(names)
        return [(name, sign, summary or "Type alias.", real) for name, sign, summary, real in rows]


class Members(Autosummary):
    """A table of methods and properties, each with a summary."""

    def get_items(self, names: list[str]) -> list[tuple[str, str | None, str, str]]:
        """Return the rows."""
        rows = super().get_items(names)
        if bare := [name for name, _, summary, _ in rows if not summary]:
            raise self.error(f"These have no summary: {', '.join(bare)}.")
        return rows


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


def _is_inner(cls: type) -> bool:
    """Return whether a class belongs to the library and has no page."""
    if not cls.__module__.startswith("textrnn."):
        return False
    room = cls.__module__.split(".")[1]
    public = importlib.import_module(f"textrnn.{room}").__all__
    return room.startswith("_") or cls.__name__ not in public


def _members(cls: type) -> Iterator[str]:
    """Yield the methods and properties that neither a public base nor another library describes."""
    seen = set()
    for base in cls.__mro__:
        if base is not cls and not _is_inner(base):
            continue
        for name, value in vars(base).items():
            described = callable(value) or isinstance(value, property | classmethod | staticmethod)
            if not name.startswith("_") and described and name not in seen:
                seen.add(name)
                if inspect.getdoc(getattr(cls, name, None)):
                    yield name


def _page(path: str) -> str:
    """Return the page of a class, with a table of its methods."""
    module, _, name = path.rpartition(".")
    cls = _object(path)
    members = list(_members(cls))
    lines = [name, "=" * len(name), "", ".. code-block:: python", ""]
    lines += [f"   from {module} import {name}", "", f".. autoclass:: {path}"]
    outer = [base.__name__ for base in cls.__mro__[1:] if not _is_inner(base)]
    lines += [f"   :inherited-members: {', '.join(outer)}"]
    bases = [base for base in cls.__bases__ if base is not object]
    if not any(map(_is_inner, bases)):
        lines += ["   :show-inheritance:"] * bool(bases)
    if len(members) > 1:
        lines += ["", "   .. rubric:: Methods and properties", ""]
        lines += ["   .. members::", "      :nosignatures:", ""]
        lines += [f"      {member}" for member in members]
    return "\n".join([*lines, ""])


def _write_pages(app: Sphinx) -> None:
    """Write a page for each class that a page of the reference lists, and remove all others."""
    folder = Path(app.srcdir, "reference")
    listing = re.compile(r"^\.\. names:: (\S+)\n   :pages:\n((?:\n|   .*\n)*)", re.MULTILINE)
    (folder / PAGES).mkdir(exist_ok=True)
    stale = set((folder / PAGES).iterdir())
    for page in sorted(folder.glob("*.md")):
        for module, content in listing.findall(page.read_text("utf-8")):
            for name in content.split() or _public(module):
                path = _path(module, name)
                target, text = folder / PAGES / f"{path}.rst", _page(path)
                stale.discard(target)
                if not target.exists() or target.read_text("utf-8") != text:
                    target.write_text(text, "utf-8")
    for path in stale:
        path.unlink()


def _find_import(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.Node | None:
    """Resolve `textrnn.training.Trainer` as `textrnn.Trainer`, by which users import it."""
    parts = node["reftarget"].split(".")
    for place, part in enumerate(parts):
        if place > 0 and parts[0] == "textrnn" and part in textrnn.__all__:
            target = ".".join(["textrnn", *parts[place:]])
            domain = env.domains.python_domain
            kind = node.get("reftype", "obj")
            return domain.resolve_xref(
                env, node["refdoc"], app.builder, kind, target, node, content
            )
    return None


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directives and handlers."""
    app.add_directive("names", Names)
    app.add_directive("members", Members)
    app.add_directive("modules", Modules)
    app.connect("builder-inited", _write_pages)
    app.connect("missing-reference", _find_import)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
