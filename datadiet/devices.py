"""Which torch device is meant by a name, and how much of its memory is free. Importing this does not load torch."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from datadiet.errors import OptionError, first_line

if TYPE_CHECKING:
    import torch

__all__ = ["free_memory", "pick_device"]


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """The device of a name. "auto" is the CUDA device of this process under torchrun, or the current one, or the CPU.

    Raises:
        OptionError: the device cannot be used here.
    """
    import torch

    if device == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", torch.cuda.current_device())))
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(f"device={device!r} cannot be used here ({first_line(error)}): try cpu.") from None
    return found


def free_memory(device: torch.device) -> int:
    """Bytes of memory on a device that nothing uses, what torch has reserved included; 0 if it does not say."""
    import torch

    if device.type != "cuda":
        return 0
    idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + idle
