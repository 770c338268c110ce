"""NNCF: magnitude pruning of a whole network."""

from __future__ import annotations

import numpy as np

from conformance.case import Arrays, Case, Peer
from conformance.pruning import SPARSITY, agreement, network, ours, weights


def theirs(data: Arrays) -> Arrays:
    """Their masks. A network of its own class, since `nn.Sequential` takes what they attach for a layer."""
    import nncf
    import torch

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, _, self.second = network(data)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x).relu())

    example = torch.zeros(1, data["0.weight"].shape[1])
    mode = nncf.PruneMode.UNSTRUCTURED_MAGNITUDE_GLOBAL
    state = nncf.prune(Network(), mode, ratio=SPARSITY, examples_inputs=example).state_dict()
    masks = [value.numpy() for name, value in sorted(state.items()) if name.endswith("binary_mask")]
    return dict(zip(("0.weight", "2.weight"), masks, strict=True))


def ours_by_length(data: Arrays) -> Arrays:
    """Ours, of layers that have been divided by their norms."""
    return ours({name: value / np.linalg.norm(value) for name, value in data.items()})


PEER = Peer(
    "NNCF",
    (
        Case("global_magnitude", "a million weights, 90 % pruned", 2000, weights, ours, theirs, agreement,
             {"equal entries of the masks": (0.8, 0.99)}, "each layer is divided there by its norm first"),
        Case("global_magnitude", "the same, after we divide by the norms too", 2000, weights, ours_by_length, theirs,
             agreement, {"equal entries of the masks": (0.99999, 1)}),
    ),
    ("nncf==3.4.0",),
)  # fmt: skip
