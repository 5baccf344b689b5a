"""The environment of a run: device, versions, commit."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

import textrnn
from textrnn.errors import InvalidValueError
from textrnn.training.distributed import join

__all__ = ["choose_device", "commit", "describe_environment"]


def choose_device(name: str) -> torch.device:
    """Return the device of that name; `"auto"` is CUDA if available, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise InvalidValueError(f"The device {name!r} can't be used here: {reason}") from error
    return device


def commit() -> str | None:
    """Return the commit of the checkout, with `+` after changes, or None outside a checkout."""
    git = shutil.which("git")
    if git is None:
        return None
    here = Path(__file__).parent
    answers = [
        subprocess.run(  # noqa: S603 # the program found on the path, with fixed arguments
            [git, *arguments], cwd=here, capture_output=True, text=True, check=False
        )
        for arguments in (("rev-parse", "HEAD"), ("status", "--porcelain", "-uno"))
    ]
    if any(answer.returncode for answer in answers):
        return None
    head, changed = (answer.stdout.strip() for answer in answers)
    return head + "+" * bool(changed)


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Return device, versions and commit for the result file."""
    return {
        "device": str(device),
        "device_name": _device_name(device),
        "threads": torch.get_num_threads(),
        "processes": join().count,
        "platform": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "textrnn": textrnn.__version__,
        "commit": commit(),
    }


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
