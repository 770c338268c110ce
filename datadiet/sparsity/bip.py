"""BiP: pruning as a problem of two levels: weights are trained on some examples, masks on others.

Zhang et al.: Advancing Model Pruning via Bi-level Optimization, NeurIPS 2022 (arXiv 2210.04092). With weights t, a
mask m in {0, 1} with K ones, and the loss l(z) of the masked weights z = m t,

    min over m of l(m t*(m))    where    t*(m) = argmin over t of l(m t) + gamma/2 |t|²

At t*, m g + gamma t = 0 with g = dl/dz. Differentiate by m and leave out the second derivatives of l, which vanish in
networks of ReLU: dt*/dm = -g / gamma. By the chain rule, the gradient of the upper level is then a product of first
derivatives, all of one backward pass:

    dl/dm = t g - (1/gamma) (m g) g

Each step trains the kept weights on one batch, takes g on another batch, and moves a score s of each weight:
s <- clip(s - lr dl/dm, 0, 1). The mask is 1 for the K weights with the largest scores. A pruned weight keeps the value
that it had, and comes back with it.

Deviations: the scores begin as |t|, as in the authors' code. They move without momentum, at a constant rate of 1, to
which the 0.1 and the momentum of 0.9 of that code add up, and within a window. The ridge of the lower level is the
recipe's weight decay, and 1/gamma a parameter of its own, as there; pruned weights do not decay. For the implicit
gradient, that code multiplies the gradient of the scores by itself, where the paper has that of the weights (its issue
3); here it is the paper's. The K weights are the largest of the whole network, but each layer keeps its minimum, and of
ties the first count. Masks follow the loss of the task, also where the weights learn from a teacher.

Cost: a second forward and backward pass in each step of the window, a selection among all weights, and two numbers per
weight.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datadiet.errors import OptionError
from datadiet.sparsity.pace import Pace, PaceSpec

if TYPE_CHECKING:
    from torch import Tensor
else:  # so that the annotations can be read without torch
    Tensor = Any

__all__ = ["BIP", "BiP", "first_scores", "moved_scores"]


def first_scores(weights: Tensor, kept: Tensor) -> Tensor:
    """Scores whose K largest are the K weights that are kept at first: |w|, moved to the boundary where that disagrees.

    Args:
        weights: (N,) of all layers, before any was pruned.
        kept: (N,) bool, with at least one True.

    Returns:
        (N,) in [0, 1]: |w|, or its share of the largest if that is above 1.

    >>> import torch
    >>> first_scores(torch.tensor([0.5, -0.25, 0.125]), torch.tensor([True, False, False])).tolist()
    [0.5, 0.25, 0.125]
    """
    sizes = weights.abs()
    sizes = sizes / sizes.amax().clamp(min=1)
    boundary = sizes.topk(int(kept.sum()), sorted=False).values.amin()
    below = boundary.nextafter(boundary.new_zeros(()))
    return sizes.maximum(boundary).where(kept, sizes.minimum(below))


def moved_scores(
    scores: Tensor, weights: Tensor, kept: Tensor, gradient: Tensor, *, lr: float, implicit: float
) -> Tensor:
    """The scores after a step of the upper level, by the formula above.

    Args:
        scores: of any shape, in [0, 1].
        weights: of this shape; pruned ones with the value that they keep.
        kept: of this shape, bool: the mask.
        gradient: of this shape: that of the loss by the masked weights, pruned ones too.
        lr: the learning rate of the scores.
        implicit: 1/gamma, the weight of the implicit gradient; 0 = none.

    Returns:
        Of the same shape, in [0, 1]; unchanged if the gradient has NaN or infinity anywhere, as where fp16 overflows.

    References:
        Zhang et al. 2022, the m-step of BiP.

    >>> import torch
    >>> scores, weights, kept = torch.tensor([0.5, 0.5]), torch.tensor([1.0, -1.0]), torch.tensor([True, False])
    >>> moved_scores(scores, weights, kept, torch.tensor([2.0, 2.0]), lr=0.125, implicit=0.25).tolist()
    [0.375, 0.75]
    """
    step = gradient * (weights - implicit * gradient * kept)
    return (scores - lr * step).clamp(0, 1).where(gradient.isfinite().all(), scores)


BIP = PaceSpec(
    "bip", "sparse from the start; masks move at every step, on other examples than the weights", "Zhang et al. 2022",
    {"window": "0-0.75", "lr": 1.0, "implicit": 1e-4}, moved_scores,
)  # fmt: skip


@dataclass(frozen=True)
class BiP(Pace):
    """The pace of a training whose masks move at every step of a window.

    Attributes:
        kind: "bip".
        begin: of the window, as a share of the training.
        end: of this window.
        lr: the learning rate of the scores.
        implicit: the weight of the implicit gradient.

    >>> BiP.read("bip:0-0.5,lr=0.2")
    BiP(kind='bip', begin=0.0, end=0.5, lr=0.2, implicit=0.0001)
    """

    lr: float = 1.0
    implicit: float = 1e-4

    @classmethod
    def read(cls, text: str) -> BiP:
        """The pace that a user writes.

        Raises:
            OptionError: another form, or a number out of range.
        """
        number = r"(\d*\.?\d+(?:e-?\d+)?)"
        options = rf"(?:[:,]lr={number})?(?:[:,]implicit={number})?"
        found = re.fullmatch(rf"bip(?::{number}-{number})?{options}", str(text))
        if found is None:
            raise OptionError(f"sparsify_when={text!r} (--sparsify-when): write {BIP.name} or {BIP.written}.")
        usual = zip(found.groups(), (0.0, 0.75, BIP.parameters["lr"], BIP.parameters["implicit"]), strict=True)
        begin, end, lr, implicit = (default if one is None else float(one) for one, default in usual)
        if not (0 <= begin < end <= 1 and 0 < lr < float("inf") and implicit < float("inf")):
            raise OptionError(
                f"sparsify_when={text!r} (--sparsify-when): the window must be ascending between 0 and 1, and lr "
                "positive."
            )
        return cls("bip", begin, end, lr, implicit)

    def __str__(self) -> str:
        """The pace as users write it."""
        return f"{super().__str__()},lr={self.lr:g},implicit={self.implicit:g}"

    def sparsity(self, final: float, progress: float) -> float:
        """The sparsity, which is the final one from the start."""
        return final

    def update(self, progress: float) -> int:
        """How many masks the method of pruning has chosen: only those of the start."""
        return 1

    def moves(self, progress: float) -> bool:
        """Whether the masks move at this progress of the training, 0 to 1."""
        return self.begin <= progress <= self.end
