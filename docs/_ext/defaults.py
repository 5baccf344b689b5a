"""Tables of the options of `TextClassifier`, made from the one table of options."""

from collections.abc import Iterable, Sequence
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from textrnn.estimator import settings
from textrnn.estimator.settings import OPTIONS, Chosen, Data, Option, choose_settings

_SIZES = (500, 2_000, 5_000, 10_000, 20_000, 100_000)


def _show(value: Any) -> str:
    if value is None:
        return "PyTorch's"  # the number of threads
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else f"{value}"


def _name(option: Option) -> str:
    return f"``{option.name}``"


def _by_texts() -> Iterable[list[str]]:
    """Yield the options that depend on the number of texts."""
    yield ["texts", *(f"{size:,}" for size in _SIZES)]
    for option in OPTIONS:
        if isinstance(option.default, Chosen):
            values = [_show(option.default.of(Data(size))) for size in _SIZES]
            if len(set(values)) > 1:
                yield [_name(option), *values]


def _by_model() -> Iterable[list[str]]:
    """Yield the options that depend on whether there is a linear model beside the network."""
    yield ["5,000 texts", "with n-grams", "without n-grams, or with pretraining"]
    given = {
        option.name: None if isinstance(option.default, Chosen) else option.default
        for option in OPTIONS
    } | {"network": True}
    beside = choose_settings(given, Data(5_000))
    alone = choose_settings(given | {"ngram_order": 0}, Data(5_000))
    for option in OPTIONS:
        if option.name != "ngram_order" and beside.get(option.name) != alone.get(option.name):
            yield [_name(option), _show(beside[option.name]), _show(alone[option.name])]


def _all() -> Iterable[list[str]]:
    """Yield all options."""
    yield ["option", "meaning", "default"]
    for option in OPTIONS:
        yield [_name(option), option.help, f"``{option.default_text}``"]


_TABLES = {"texts": _by_texts, "model": _by_model, "all": _all}


class Defaults(SphinxDirective):
    """A table of defaults: by number of `texts`, by `model`, or of `all` options."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        self.env.note_dependency(settings.__file__)
        rows: Sequence[list[str]] = list(_TABLES[self.arguments[0]]())
        lines = [".. list-table::", "   :header-rows: 1", "   :widths: auto", ""]
        for row in rows:
            cells = (f"{'   * - ' if i == 0 else '     - '}{cell}" for i, cell in enumerate(row))
            lines += cells
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directive."""
    app.add_directive("defaults", Defaults)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
