"""The one product that takes nearly all the time of a norm."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from datadiet.working_set import working_set

__all__ = ["chunks", "single", "sum_of_products", "wide"]

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


def chunks(n: int, each: int, device: torch.device) -> Iterator[slice]:
    """range(n) in slices of examples whose temporaries, `each` numbers per example, suit the device.

    They fit in the caches of a processor; on an accelerator they are so large that a slice keeps all of it busy.
    """
    step = max(1, min(n, working_set(device.type) // max(each, 1)))
    return (slice(lo, lo + step) for lo in range(0, n, step))


def wide(parameter: Tensor) -> torch.dtype:
    """The dtype for computing with the gradients of a parameter: at least float32."""
    return torch.float64 if parameter.dtype == torch.float64 else torch.float32


def single(x: Tensor) -> Tensor:
    """At least float32: in half precision, sums of thousands of signed products are meaningless."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()
