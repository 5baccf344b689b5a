"""PyTorch's AdamW without its compiler."""

from inspect import unwrap
from typing import Any

import torch

__all__ = ["AdamW"]


class AdamW(torch.optim.AdamW):
    """PyTorch's AdamW, made and run without the import of `torch._dynamo`, which takes a second."""

    # The decorators that import it only matter to an optimizer that is compiled.
    add_param_group: Any = unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad: Any = unwrap(torch.optim.Optimizer.zero_grad)
    step: Any = torch.no_grad()(unwrap(torch.optim.AdamW.step))
