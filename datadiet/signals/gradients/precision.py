"""How much two ways to the same gradient may differ, by the precision in which the network computes.

Both ways run the same network in the same precision, so that they differ by the rounding of their own products alone.
What a wrong gradient would be off by, a factor of sqrt(2) or a missing term, is far more in every precision. Largest
differences measured over small networks of every kind of layer, in the norm of a parameter's gradient: 2e-7 in float32
and 1e-2 under bfloat16 autocast, which keeps 8 significant bits. TF32 keeps 11; its tolerance lies between.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from datadiet.errors import OptionError

__all__ = ["Tolerance", "allows_tf32", "autocast_dtype", "rounds_products", "tolerance_of"]


class Tolerance(NamedTuple):
    """What may differ, relative to the larger of two values.

    Attributes:
        norm: the norm of a parameter's gradient.
        entry: one entry of a gradient; a tenth of it, relative to the largest entry.
        same: a loss that is computed twice; a tenth of it, absolute.
        alone: the loss of an example alone and among others; a tenth of it, absolute.
    """

    norm: float
    entry: float = 1e-3
    same: float = 1e-4
    alone: float = 1e-2


_DOUBLE, _SINGLE = Tolerance(1e-8), Tolerance(2e-3)
_TF32 = Tolerance(1e-2, 1e-2, 1e-3, 2e-2)
_HALF = Tolerance(5e-2, 5e-2, 2e-2, 5e-2)


def tolerance_of(*parameters: Tensor) -> Tolerance:
    """The tolerance for parameters of a network in the present precision: that of the coarsest.

    float64: norms to 1e-8. float32: to 2e-3. TF32, where CUDA is allowed to use it: to 1e-2. Half precision, of the
    parameters or under bfloat16 autocast: to 5e-2.
    """
    return max(map(_tolerance, parameters))


def _tolerance(parameter: Tensor) -> Tolerance:
    if parameter.dtype == torch.float64:
        return _DOUBLE
    if parameter.dtype != torch.float32 or autocast_dtype(parameter.device) is not None:
        return _HALF
    return _TF32 if allows_tf32(parameter.device) else _SINGLE


def allows_tf32(device: torch.device) -> bool:
    """Whether the factors of any product, of matrices or in a convolution, are rounded to TF32."""
    return rounds_products(device) or _rounds_convolutions(device)


def rounds_products(device: torch.device) -> bool:
    """Whether the factors of a product of float32 matrices are rounded to TF32."""
    return device.type == "cuda" and _allowed(torch.backends.cuda.matmul, torch.backends.cuda.matmul)


def _rounds_convolutions(device: torch.device) -> bool:
    return device.type == "cuda" and _allowed(torch.backends.cudnn, getattr(torch.backends.cudnn, "conv", None))


def _allowed(old: Any, new: Any) -> bool:
    """Whether TF32 is allowed, by the switch of torch 2.9 and later, next to which the older one may not be read."""
    switch = getattr(new, "fp32_precision", None)
    if switch == "none":  # as for every other kind of product
        switch = getattr(torch.backends, "fp32_precision", None)
    return bool(old.allow_tf32) if switch is None else switch == "tf32"


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """The dtype of mixed precision on a device, or None outside of it.

    Raises:
        OptionError: float16.
    """
    if not torch.is_autocast_enabled(device.type):
        return None
    dtype = torch.get_autocast_dtype(device.type)
    if dtype == torch.float16:
        raise OptionError(
            "this runs under float16 autocast, where small gradients underflow and no loss scale fits every example: "
            "use torch.bfloat16, or call it outside autocast."
        )
    return dtype
