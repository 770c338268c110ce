"""Passes: what can be measured by running a network over the data, and under which name its parts are filed.

The parts of a pass lie under signals/<name>/ or, where it gives a vector per example, under embeddings/<name>/. What
decides their content beyond seed and epoch is part of that name: which checkpoints were seen together, which reference
data, which options.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isqrt
from numbers import Integral
from typing import Any

from datadiet.errors import OptionError

__all__ = ["PASSES", "PassKind", "checked_option", "filed_as", "in_words", "is_of_reference", "sides"]


@dataclass(frozen=True)
class PassKind:
    """What the rest of the package must know of a pass.

    Attributes:
        wide: whether it gives one vector per example, and not columns of numbers.
        together: whether it sees several checkpoints of a seed at once.
        against: whether it compares with the reference data.
        gradients: whether it needs the gradients of single examples.
        options: what may be set, with defaults.
        begins: signal -> the first epoch at which it exists, for those that compare an epoch with the one before.
    """

    wide: bool = False
    together: bool = False
    against: bool = False
    gradients: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    begins: Mapping[str, int] = field(default_factory=dict)


PASSES: dict[str, PassKind] = {
    "train": PassKind(begins={"shift": 2}),
    "eval": PassKind(),
    "grad": PassKind(gradients=True, options={"per_layer": False}),
    "vog": PassKind(together=True),
    "dots": PassKind(against=True, gradients=True),
    "ekfac": PassKind(gradients=True),
    "features": PassKind(wide=True),
    "projected": PassKind(wide=True, gradients=True, options={"dim": 512}),
    "projected_margin": PassKind(wide=True, gradients=True, options={"dim": 512}),
}


def checked_option(mode: str, key: str, value: Any) -> Any:
    """The value of an option of a pass, of the type of its default.

    Raises:
        OptionError: another type, or a number of dimensions to which nothing can be projected.
    """
    default = PASSES[mode].options[key]
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise OptionError(f"{key}={value!r}: give true or false.")
        return value
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise OptionError(f"{key}={value!r}: give a whole number.")
    sides(int(value), key)
    return int(value)


def sides(k: int, name: str = "k") -> tuple[int, int]:
    """ko <= ki <= 2 ko with ko ki = k: the sides of a Kronecker projection to k numbers, as near as k allows.

    Args:
        k: numbers.
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
        f"{name}={k}: give at least 4, and a product of two numbers of which one is at most twice the other, such as "
        f"{best}."
    )


def is_of_reference(name: str) -> str:
    """The hash in the name of vectors of reference data; empty for those of the data."""
    return next((word for word in name.split("@")[1:] if re.fullmatch("[0-9a-f]{12}", word)), "")


def filed_as(
    mode: str, epochs: Sequence[int] = (), reference: str = "", options: Mapping[str, Any] | None = None
) -> str:
    """The name under which the parts of a pass are filed.

    Args:
        mode: the pass.
        epochs: those seen together, without a gap.
        reference: hash of the reference data, where the pass depends on it or runs over it.
        options: those that are not the defaults.

    >>> filed_as("eval"), filed_as("vog", epochs=[1, 2, 3]), filed_as("grad", options={"per_layer": True})
    ('eval', 'vog@1-3', 'grad@per_layer=True')
    """
    kind = PASSES[mode]
    given = {k: v for k, v in (options or {}).items() if v != kind.options.get(k)}
    words = [f"{epochs[0]}-{epochs[-1]}"] if kind.together else []
    words += [reference[:12]] if reference else []
    words += [f"{key}={given[key]}" for key in sorted(given)]
    return "@".join([mode, *words])


def in_words(name: str) -> str:
    """What parts filed under a name were measured by, for messages.

    >>> in_words("eval"), in_words("vog@1-3"), in_words("projected@0123456789ab@dim=64")
    ('eval mode', 'the pass vog over the epochs 1-3', 'the pass projected with dim=64, for this reference data')
    """
    mode, *words = name.split("@")
    if mode in ("train", "eval"):
        return f"{mode} mode"
    options = " and ".join(word.replace("True", "true") for word in words if "=" in word)
    over = f" over the epochs {words[0]}" if PASSES[mode].together else ""
    reference = ", for this reference data" if is_of_reference(name) else ""
    return f"the pass {mode}{over}{f' with {options}' if options else ''}{reference}"
