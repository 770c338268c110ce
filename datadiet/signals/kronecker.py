"""The shape of a Kronecker projection."""

from __future__ import annotations

from math import isqrt

from datadiet.errors import OptionError

__all__ = ["sides"]


def sides(k: int, name: str = "k") -> tuple[int, int]:
    """ko <= ki <= 2 ko with ko ki = k: the sides of a Kronecker projection to k numbers, as close as k allows.

    Args:
        k: the size of the projection.
        name: what k is called in messages.

    Raises:
        OptionError: k is below 4 or no such product.

    >>> sides(512), sides(256)
    ((16, 32), (16, 16))
    """

    def lower(k: int) -> int:
        return next(side for side in range(isqrt(k), 0, -1) if k % side == 0)

    if k >= 4 and k <= 2 * lower(k) ** 2:
        return lower(k), k // lower(k)
    near = [size for size in range(max(4, k - 32), max(4, k) + 32) if size <= 2 * lower(size) ** 2]
    best = min(near, key=lambda size: abs(size - k))
    raise OptionError(
        f"{name}={k}: give at least 4, and a product of two numbers, one at most twice the other, such as {best}."
    )
