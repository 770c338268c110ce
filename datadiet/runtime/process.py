"""Process settings that determine bytes: threads, device, deterministic kernels, TF32. They are restored afterwards."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
import torch.distributed as dist
from torch import nn

from datadiet.devices import pick_device
from datadiet.errors import OptionError
from datadiet.float32_precision import float32_products

__all__ = [
    "exchanging", "pick_device", "process_group", "refuse_group", "say_precision", "seed_torch", "settings", "widest",
]  # fmt: skip

_log = logging.getLogger("datadiet")


def process_group() -> tuple[int, int]:
    """The number of processes that work together, and which of them this is.

    Raises:
        OptionError: torchrun started several, but there is no process group.
    """
    grouped = dist.is_available() and dist.is_initialized()
    if not grouped and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise OptionError(
            f"this is one of WORLD_SIZE={os.environ['WORLD_SIZE']} processes without a process group, and each "
            "would train on everything: call torch.distributed.init_process_group first."
        )
    return (dist.get_world_size(), dist.get_rank()) if grouped else (1, 0)


def exchanging(net: nn.Module, now: bool) -> AbstractContextManager[None]:
    """While gradients are computed: whether processes exchange them now, or later with those of the last part."""
    later = isinstance(net, nn.parallel.DistributedDataParallel) and not now
    return net.no_sync() if later else nullcontext()  # type: ignore[operator]


def widest(device: torch.device) -> torch.dtype:
    """The widest floats that a device has: MPS has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def seed_torch(device: torch.device, seed: int) -> None:
    """Seed what dropout draws from, on the CPU and on a device."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def refuse_group(verb: str, trains: bool, writes: bool) -> None:
    """Refuse, in one of several processes, to do what the others would do too.

    Args:
        verb: what was called.
        trains: whether it trains networks.
        writes: whether it writes a run folder.

    Raises:
        OptionError: it trains, or it writes and this is not the first process.
    """
    world, rank = (dist.get_world_size(), dist.get_rank()) if dist.is_available() and dist.is_initialized() else (1, 0)
    if world > 1 and trains:
        raise OptionError(
            f"{verb} trains in one process, but this is one of {world}: call it before init_process_group, or record "
            "with a Recorder in your own training loop."
        )
    if world > 1 and writes and rank:
        raise OptionError(f"{verb} writes its folder from one process, but this is rank {rank}: call it on rank 0.")


def say_precision(precision: str, device: str) -> None:
    """Note that a precision does not exist on a device: a recipe for a GPU also runs on a laptop."""
    if precision == "tf32" and device != "cuda":
        _log.info("precision=tf32 has no effect on %s: only CUDA devices have TF32", device)


@contextmanager
def settings(threads: int, precision: str = "fp32") -> Iterator[None]:
    """Run with a number of threads, with deterministic convolutions, and with TF32 only if the precision is "tf32"."""
    before = torch.get_num_threads(), torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        with float32_products(tf32=precision == "tf32"):
            yield
    finally:
        torch.set_num_threads(before[0])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before[1:]
