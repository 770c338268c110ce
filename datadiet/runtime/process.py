"""Process settings that determine bytes: threads, device, deterministic kernels. They are restored afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from datadiet.errors import OptionError, first_line

__all__ = ["pick_device", "settings"]


def pick_device(device: str = "auto") -> torch.device:
    """ "auto" is the first CUDA device if there is one, else the CPU.

    Raises:
        OptionError: the device cannot be used here.
    """
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


@contextmanager
def settings(threads: int) -> Iterator[None]:
    """Run with a number of threads and with deterministic convolutions."""
    before = torch.get_num_threads(), torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before[1:]
