"""Whether a module's work may be done in another way: it is as this library made it, untraced."""

import torch
from torch import nn

__all__ = ["is_traced", "is_untouched"]

_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


def is_untouched(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Tell whether a module is of that very class, and nobody watches or changes what it does.

    Someone who has put another module in its place, such as a quantized one, or who has hooks on
    it, as pruning and attributions do, wants it to be called.

    Args:
        module: The module.
        kind: The class.

    Example:
        >>> is_untouched(nn.GRU(2, 3), nn.GRU), is_untouched(nn.Identity(), nn.GRU)
        (True, False)
    """
    # Torch has no public way to ask for hooks.
    return type(module) is kind and not any(getattr(module, name) for name in _HOOKS)


def is_traced() -> bool:
    """Tell whether operations are recorded now, to be run again with other texts.

    What follows from the values of this batch, such as its lengths, would be the same for them.

    Example:
        >>> is_traced()
        False
    """
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call] # no types
    return tracing or torch.compiler.is_compiling()
