"""Import the names of a package on first use."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module

__all__ = ["lazy_names"]


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the `__getattr__` and `__dir__` of a package; `homes` has the module of each name.

    A name without a home is a module itself.
    """
    module = sys.modules[package]
    names = vars(module)

    def get(name: str) -> object:
        """Import a name, or a module, on first use."""
        if name not in homes:
            message = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(message, name=name, obj=module)
        home = homes[name]
        try:
            found = import_module(f"{package}.{home or name}")
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing in {"", "textrnn"}:
                raise
            from textrnn.errors import MissingDependencyError

            raise MissingDependencyError(
                f"`{package}.{name}` needs `{missing}`, which is not installed: "
                f"pip install {missing}."
            ) from error
        if home:
            names[name] = getattr(found, name)
        return names[name]

    def listing() -> list[str]:
        """List all names, whether they were imported yet or not."""
        return sorted({*homes, *(name for name in names if name.startswith("__"))})

    return get, listing
