"""The one product that takes nearly all the time of a norm."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["chunks", "sum_of_products", "wide"]

_CHUNK = 1 << 20  # numbers of temporary memory that stay in the processor's caches
_WORTH_IT = 1 << 16  # entries of a product that is worth going through oneDNN


def sum_of_products(b: Tensor, a: Tensor) -> Tensor:
    """(n, g, T, p) and (n, g, T, d) -> (n, g, p, d), the sum over T of outer products.

    On a processor, large products go through oneDNN, as convolutions of kernel size 1 with one group per matrix: torch
    multiplies float32 matrices with MKL, which was 1.6 times slower on an AMD EPYC (benchmarks/gradient_cost.py) and
    is no faster elsewhere.
    """
    n, g, t, d, p = *a.shape, b.shape[-1]
    large = d * p >= _WORTH_IT and t > 1
    if not (large and a.device.type == "cpu" and a.dtype == torch.float32 and torch.backends.mkldnn.enabled):
        return b.transpose(2, 3) @ a
    kernels = b.transpose(2, 3).reshape(n * g * p, t, 1)
    return functional.conv1d(a.reshape(1, n * g * t, d), kernels, groups=n * g).view(n, g, p, d)


def chunks(n: int, each: int) -> Iterator[slice]:
    """range(n) in slices of examples whose temporaries, `each` numbers per example, fit in the caches."""
    step = max(1, min(n, _CHUNK // max(each, 1)))
    return (slice(lo, lo + step) for lo in range(0, n, step))


def wide(parameter: Tensor) -> torch.dtype:
    """The dtype for computing with the gradients of a parameter: at least float32."""
    return torch.float64 if parameter.dtype == torch.float64 else torch.float32
