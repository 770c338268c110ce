"""The one place that decides how torch rounds products of float32 numbers: fully, or to TF32 on GPUs that have it.

torch has older switches (`allow_tf32`, `set_float32_matmul_precision`) and, from 2.9 on, newer ones
(`fp32_precision`, for each backend and kind of operation). Setting an older one also sets the newer ones; reading an
older one fails after a newer one was set to what it cannot say. Here both kinds are set together and restored,
whichever the caller used.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

__all__ = ["float32_products"]

_CUDA, _PROCESSOR = ("matmul", "conv", "rnn"), ("matmul", "conv", "rnn")  # kinds of operations with a newer switch


@contextmanager
def float32_products(tf32: bool = False) -> Iterator[None]:
    """Run with or without TF32 in CUDA's matrix products and convolutions; on a processor, in full float32.

    The setting is shared by all threads of the process. What was set before is put back afterwards.

    Args:
        tf32: whether the factors of a product may be rounded to TF32, 11 significant bits.
    """
    with _quietly():
        before = _Switches.read()
    try:
        with _quietly():
            _Switches.wanted(tf32).write()
        yield
    finally:
        with _quietly():
            before.write()


@dataclass(frozen=True)
class _Switches:
    """The values of all switches.

    Attributes:
        products: of matrix products: "highest", "high" or "medium".
        convolutions: whether cuDNN may use TF32.
        newer: of the newer switches, in the order of `_newer`; "none" follows the switch above.
    """

    products: str
    convolutions: bool
    newer: tuple[str, ...]

    @classmethod
    def wanted(cls, tf32: bool) -> _Switches:
        newer = ("tf32" if tf32 else "ieee",) * len(_CUDA) + ("ieee",) * len(_PROCESSOR)
        return cls("high" if tf32 else "highest", tf32, newer if _newer() else ())

    @classmethod
    def read(cls) -> _Switches:
        import torch

        newer = _own_values()
        try:
            for switch in _newer():
                switch.fp32_precision = "ieee"  # which every value of the older switch for products agrees with
            products = torch.get_float32_matmul_precision()
            try:
                convolutions = torch.backends.cudnn.allow_tf32
            except RuntimeError:  # it disagrees with the newer ones, which do not allow it now
                convolutions = True
        finally:
            _set(newer)
        return cls(products, convolutions, newer)

    def write(self) -> None:
        import torch

        torch.set_float32_matmul_precision(self.products)
        torch.backends.cudnn.allow_tf32 = self.convolutions
        _set(self.newer)


def _set(values: tuple[str, ...]) -> None:
    for switch, value in zip(_newer(), values, strict=True):
        switch.fp32_precision = value


def _newer() -> list[Any]:
    """The newer switches, CUDA's before the processor's; none before torch 2.9."""
    switches = [getattr(home, kind, None) for home, kind in zip(_homes(), _CUDA + _PROCESSOR, strict=True)]
    return switches if all(hasattr(switch, "fp32_precision") for switch in switches) else []


def _homes() -> list[Any]:
    from torch import backends

    return [backends.cuda, backends.cudnn, backends.cudnn, *(backends.mkldnn for _ in _PROCESSOR)]


def _own_values() -> tuple[str, ...]:
    """The values of the newer switches themselves: where one follows those above it, torch gives theirs."""
    import torch

    switches = _newer()
    if not switches:
        return ()
    backends: Any = torch.backends
    top, held = backends.fp32_precision, [switch.fp32_precision for switch in switches]
    cudnn, mkldnn = backends.cudnn.fp32_precision, backends.mkldnn.fp32_precision
    follows = False
    try:
        follows = not _fixed([backends], [backends.cudnn])[0]
        own = _fixed([backends, backends.cudnn], switches)
    finally:
        backends.fp32_precision, backends.cudnn.fp32_precision = top, "none" if follows else cudnn
    above = [cudnn] * len(_CUDA) + [mkldnn] * len(_PROCESSOR)
    # cuDNN's are "tf32" until they are first set, whatever is above; that state cannot be set again, its value can.
    return tuple(
        "none" if not alone and value == theirs else value
        for alone, value, theirs in zip(own, held, above, strict=True)
    )


def _fixed(above: list[Any], switches: list[Any]) -> list[bool]:
    """Whether each switch has a value of its own, which does not follow those above; changes the latter."""
    seen = []
    for value in ("ieee", "tf32"):
        for switch in above:
            switch.fp32_precision = value
        seen.append([switch.fp32_precision for switch in switches])
    return [one == other for one, other in zip(*seen, strict=True)]


@contextmanager
def _quietly() -> Iterator[None]:
    """Without torch's advice, once in a process, to use the newer switches."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Please use the new API settings to control TF32")
        yield
