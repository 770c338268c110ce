"""The device that does the work: how much to give it at once, where float64 is available, how precise products are.

A processor works on tiles that its caches hold, in several threads, and uses numpy where that is faster. An accelerator
keeps vectors and results in its own memory and gets few, wide launches; waiting for it costs as much as a launch, so
what is decided on it stays there until a whole block of vectors is done.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datadiet.devices import pick_device
from datadiet.float32_precision import float32_products
from datadiet.geometry.matrix import TILE
from datadiet.working_set import working_set

if TYPE_CHECKING:
    import torch

__all__ = ["Device", "full_precision"]


@dataclass(frozen=True)
class Device:
    """A torch device. Use `Device.named`.

    Attributes:
        on: the device.
        wide: whether it is worked on as an accelerator.
        at_once: the numbers of temporary memory that a piece of work should take.
        exact: where float64 is: the same device, or the CPU where it has none.
    """

    on: torch.device
    wide: bool
    at_once: int
    exact: torch.device

    @classmethod
    def named(cls, device: str) -> Device:
        """The device of a name: see `pick_device`."""
        import torch

        on = pick_device(device)
        exact = torch.device("cpu") if on.type == "mps" else on
        return cls(on, not is_processor(on), working_set(on.type), exact)

    @classmethod
    def accelerator(cls) -> Device | None:
        """The accelerator that "auto" means, if it has float64; None without one."""
        device = cls.named("auto")
        return device if device.wide and device.exact == device.on else None

    @property
    def side(self) -> int:
        """The columns of a square product of `at_once` numbers, a power of two."""
        return 1 << (self.at_once.bit_length() - 1) // 2

    def height(self, width: int) -> int:
        """The rows of a tile whose widest temporary has `width` columns; a multiple of TILE.

        It does not depend on how many vectors there are or on how many are read at once, so no result does.
        """
        return max(1, self.at_once // width // TILE) * TILE if self.wide else TILE


def is_processor(on: torch.device) -> bool:
    """Whether a device is worked on as a processor; the one place that decides."""
    return on.type == "cpu"


class _Together:
    """A context that overlapping users share: the first enters it, the last leaves it."""

    def __init__(self, make: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
        self.make, self.lock, self.inside, self.context = make, threading.Lock(), 0, contextlib.ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.context.enter_context(self.make())
            self.inside += 1

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.context.close()


_PRECISION = _Together(float32_products)


def full_precision() -> contextlib.AbstractContextManager[None]:
    """Matrix products in full float32, even if the caller allowed TF32 or bfloat16 for training.

    The setting is shared by all threads of the process.
    """
    return _PRECISION
