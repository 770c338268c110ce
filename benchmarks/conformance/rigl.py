"""The authors' code of RigL: how ERK shares a budget between layers.

Of their module, written for TensorFlow 1, only this function runs here, which needs nothing but the shapes.
"""

from __future__ import annotations

from functools import partial
from typing import Any
from unittest import mock

import numpy as np

from conformance.case import Arrays, Case, Peer, checkout, script


def shapes(n: int) -> Arrays:
    """Of the layers of a ResNet-20 of this width: (out, in, kernel, kernel), with ones for the head."""
    found, before = [(n, 3, 3, 3)], n
    for width in (n, 2 * n, 4 * n):
        found += [(width, before, 3, 3), *[(width, width, 3, 3)] * 5]
        found += [(width, before, 1, 1)] if width > before else []
        before = width
    return {"shapes": np.array([*found, (10, before, 1, 1)])}


def ours(data: Arrays, *, by: str, sparsity: float) -> Arrays:
    """How many weights each layer keeps."""
    import torch

    from datadiet.sparsity.allocation import kept_of, shares

    layers = {str(place): torch.empty(tuple(shape), device="meta") for place, shape in enumerate(data["shapes"])}
    return {"kept": np.array([*shares(layers, kept_of(layers, sparsity), by).values()])}


def theirs(data: Arrays, *, by: str, sparsity: float) -> Arrays:
    """The same: what remains when their number of zeros is rounded down; kernels come first in their shapes."""
    import sys

    absent = ("tensorflow", "tensorflow.compat", "tensorflow.compat.v1", "google_research",
              "google_research.micronet_challenge")  # fmt: skip
    sys.path.insert(0, str(checkout()))
    with mock.patch.dict(sys.modules, {name: mock.MagicMock() for name in absent}):
        code = script("rigl/sparse_utils.py")
    sizes = data["shapes"].prod(1)
    masks: list[Any] = []
    for place, (out, into, *kernel) in enumerate(data["shapes"].tolist()):
        masks.append(mock.Mock(shape=mock.Mock(as_list=partial(list, (*kernel, into, out)))))
        masks[-1].name = f"{place}/mask:0"
    found = code.get_sparsities_erdos_renyi(masks, sparsity, {}, include_kernel=by == "erk")
    zeros = [code.get_n_zeros(size, found[mask.name]) for size, mask in zip(sizes, masks, strict=True)]
    return {"kept": sizes - zeros}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """The counts of layers, of which some stay dense."""
    sizes = data["shapes"].prod(1)
    return {
        "largest difference of a layer's count": np.abs(a["kept"] - b["kept"]).max(),
        "dense in ours": (a["kept"] == sizes).sum(),
        "dense in theirs": (b["kept"] == sizes).sum(),
        "kept by ours": a["kept"].sum(),
        "kept by theirs": b["kept"].sum(),
    }


def case(method: str, by: str, what: str, sparsity: float, most: int) -> Case:
    """Counts that differ by rounding."""
    how = {"by": by, "sparsity": sparsity}
    return Case(
        method, f"layers={by}, {what}", 16, shapes, partial(ours, **how), partial(theirs, **how), agreement,
        {"largest difference of a layer's count": (0, most)}, "the count of each layer is rounded up there",
    )  # fmt: skip


PEER = Peer(
    "rigl",
    (
        case("random_weights", "erk", "90 % of a ResNet-20 pruned", 0.9, 2),
        case("random_weights", "erk", "half of it, so that layers stay dense", 0.5, 1),
        case("layer_magnitude", "er", "90 % of a ResNet-20 pruned", 0.9, 2),
    ),
    repository="google-research/rigl",
)
