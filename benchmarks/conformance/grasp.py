"""The authors' code of GraSP: on two halves of a batch in turn, with logits divided by 200."""

from __future__ import annotations

from functools import partial

from conformance.case import Arrays, Case, Peer, script
from conformance.pruned_networks import as_masks, equal_masks, images, network, pruned

SPARSITY = 0.875


def in_halves(n: int) -> Arrays:
    """Images as their function puts them in order: class after class."""
    data = images(n)
    order = data["y"].argsort(kind="stable")
    return {name: value[order] for name, value in data.items()}


def theirs(data: Arrays, *, norm: bool, temperature: int = 200) -> Arrays:
    """Their masks, of as many examples of each class as there are."""
    import torch

    model, each = network(norm=norm), len(data["x"]) // 10
    batch = torch.from_numpy(data["x"]), torch.from_numpy(data["y"])
    more = torch.utils.data.TensorDataset(*(torch.cat([value, value]) for value in batch))  # until all are full
    found = script("pruner/GraSP.py").GraSP(
        model, SPARSITY, torch.utils.data.DataLoader(more, batch_size=100), "cpu", 10, each, T=temperature, reinit=False
    )
    return as_masks(model, found.values())


def case(what: str, size: int, low: float, high: float, why: str, norm: bool = False, temperature: int = 200) -> Case:
    """Masks, of which ours keep one weight fewer."""
    ours = partial(pruned, method="grasp", sparsity=SPARSITY, norm=norm, size=size, examples=0, min_per_layer=0,
                   temperature=temperature)  # fmt: skip
    return Case("grasp", what, 500, in_halves, ours, partial(theirs, norm=norm, temperature=temperature), equal_masks,
                {"equal entries of the masks": (low, high)}, why)  # fmt: skip


ONE_MORE = "the weight at the threshold is kept there"
PEER = Peer(
    "GraSP",
    (
        case("500 images, 87.5 % of 26,032 weights pruned", 0, 0.99996, 0.99997, ONE_MORE),
        case("the same at temperature 1", 0, 0.99996, 0.99997, ONE_MORE, temperature=1),
        case("the same with BatchNorm, in batches of 250", 250, 0.99996, 0.99997, ONE_MORE, norm=True),
        case("the same with BatchNorm, in one batch", 0, 0.7, 0.99,
             "BatchNorm sees two halves there, each of other classes", norm=True),
    ),
    repository="alecwangcq/GraSP",
)  # fmt: skip
