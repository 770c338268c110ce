"""The code of SynFlow's authors, with its own SNIP, GraSP and random pruning."""

from __future__ import annotations

from functools import partial

from conformance.case import Arrays, Case, Peer, checkout, script
from conformance.pruned_networks import as_masks, equal_masks, images, network, pruned

SPARSITY = 0.875  # a whole number of the weights of each layer, and of all after 3 rounds


def theirs(
    data: Arrays, *, pruner: str, rounds: int = 1, scope: str = "global", norm: bool = False, train: bool = False
) -> Arrays:
    """The masks of their loop.

    Args:
        data: images and labels.
        pruner: the name of their class.
        rounds: as many as their loop has.
        scope: "global", or "local" for the same share of each layer.
        norm: whether the network has BatchNorm.
        train: whether it is in training mode.
    """
    import sys

    import torch

    sys.path.insert(0, str(checkout()))
    from Layers import layers
    from Utils.generator import masked_parameters

    torch.manual_seed(0)
    model, batch = network(layers, norm), [(torch.from_numpy(data["x"]), torch.from_numpy(data["y"]))]
    chosen = getattr(script("Pruners/pruners.py"), pruner)(masked_parameters(model))
    loss, left = torch.nn.CrossEntropyLoss(), 1 - SPARSITY
    loop = script("prune.py").prune_loop
    loop(model, loss, chosen, batch, "cpu", left, "exponential", scope, rounds, train_mode=train)
    return as_masks(model, [mask for mask, _ in chosen.masked_parameters])


def drawn(data: Arrays) -> Arrays:
    """The same share of each layer, with two seeds."""
    first, other = (
        pruned(data, method="random_weights", sparsity=SPARSITY, layers="uniform", seed=seed) for seed in (0, 1)
    )
    return {**first, **{f"other {name}": mask for name, mask in other.items()}}


def counts(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """The counts of layers, and what is kept twice."""

    def twice(x: Arrays, named: str) -> float:
        return sum((x[name] & a[f"{named}{name}"]).sum() for name in b) / sum(mask.sum() for mask in b.values())

    return {
        "largest difference of a layer's count": max(abs(a[name].sum() - mask.sum()) for name, mask in b.items()),
        "kept twice": twice(b, ""),
        "by two seeds of ours": twice(a, "other "),
    }


def case(method: str, pruner: str, what: str, low: float, why: str = "", n: int = 256, **how: object) -> Case:
    """The masks of one of their classes beside ours."""
    norm, options = bool(how.get("norm")), {name: how[name] for name in ("rounds",) if name in how}
    if method != "synflow":
        options = {"examples": 0, "min_per_layer": 0}
    ours = partial(pruned, method=method, sparsity=SPARSITY, norm=norm, **options)
    return Case(method, what, n, images, ours, partial(theirs, pruner=pruner, **how), equal_masks,
                {"equal entries of the masks": (low, 1 if low == 1 else 0.9999)}, why)  # fmt: skip


PEER = Peer(
    "Synaptic-Flow",
    (
        case("snip", "SNIP", "256 images, 87.5 % of 26,032 weights pruned", 1),
        case("snip", "SNIP", "the same with BatchNorm, in training mode", 1, norm=True, train=True),
        case("snip", "SNIP", "the same with BatchNorm, in evaluation mode", 0.7,
             "their default; BatchNorm uses the statistics of the batch here, as in training", norm=True),
        case("grasp", "GraSP", "256 images, 87.5 % of 26,032 weights pruned", 1),
        case("grasp", "GraSP", "the same with BatchNorm, in training mode", 1, norm=True, train=True),
        case("synflow", "SynFlow", "3 rounds, BatchNorm, 87.5 % of 26,032 weights pruned", 1, norm=True, rounds=3),
        case("synflow", "SynFlow", "the same in 100 rounds", 0.99,
             "how many weights a round leaves is rounded up there, and to the nearest number here", norm=True,
             rounds=100),
        Case("random_weights", "layers=uniform, 87.5 % of each layer", 256, images, drawn,
             partial(theirs, pruner="Rand", scope="local"), counts,
             {"largest difference of a layer's count": (0, 0), "kept twice": (0.1, 0.15),
              "by two seeds of ours": (0.1, 0.15)}, "draws are random"),
    ),
    repository="ganguli-lab/Synaptic-Flow",
)  # fmt: skip
