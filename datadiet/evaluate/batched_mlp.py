"""Many small networks trained at once, as one tensor computation.

Model s has one hidden layer of ReLU units and minimises the objective of `softmax_regression`,

    1/n · sum of cross-entropy over i in subset s  +  l2/2 ||theta||^2      with n the size of the whole data set,

by full-batch Adam with a cosine schedule to 0. The losses of all models are summed; their parameters are disjoint and
Adam works entry by entry, so each trains as if it were alone.

Deviations: none of the usual training methods (batches, augmentation, batch normalisation); two trainings differ only
in the initialisation.

Cost: 100 networks on 200 examples take about a second for 200 steps on one processor core.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from datadiet.randomness import generator

__all__ = ["initial", "mlp_logits", "train_mlps"]

Weights = dict[str, np.ndarray]

_RATE = 0.01


def initial(widths: Sequence[int], paths: Sequence[tuple[int, ...]], seed: int) -> Weights:
    """Initial weights, each entry uniform in ± 1/sqrt(inputs of its layer), as torch's linear layers have them.

    Args:
        widths: the sizes of the layers, inputs first, such as (64, 32, 10).
        paths: for each model, the numbers that identify its draw.
        seed: a whole number of at least 0.

    Returns:
        Layer l has "{2l}.weight" (models, out, in) and "{2l}.bias" (models, out), float32: the names of a
        `torch.nn.Sequential` with a ReLU after each layer but the last.
    """
    out: Weights = {}
    draws = [generator(seed, "evaluate", "init", *path) for path in paths]
    for layer, (inputs, outputs) in enumerate(pairwise(widths)):
        entries = np.stack([rng.uniform(-1, 1, (outputs, inputs + 1)) for rng in draws]) / inputs**0.5
        out[f"{2 * layer}.weight"] = entries[..., :-1].astype(np.float32)
        out[f"{2 * layer}.bias"] = entries[..., -1].astype(np.float32)
    return out


def train_mlps(
    features: np.ndarray, labels: np.ndarray, members: np.ndarray, start: Weights, *, l2: float, steps: int = 200
) -> Weights:
    """Train one network on each subset, on one thread, so that the bytes do not depend on the number of cores.

    Args:
        features: (n, d).
        labels: (n,) classes.
        members: (models, k) positions, the subset of each model.
        start: the initial weights of the models, see `initial`.
        l2: the penalty.
        steps: the number of Adam steps.

    Returns:
        The trained weights, with the names and shapes of `start`.
    """
    import torch

    from datadiet.runtime.process import settings

    with settings(threads=1):
        x = torch.from_numpy(features[members]).float()
        y = torch.from_numpy(labels[members]).flatten()
        # (models, in, out) and (models, 1, out), as baddbmm takes them
        matrices = [torch.from_numpy(w).mT.contiguous() for name, w in start.items() if name.endswith("weight")]
        shifts = [torch.from_numpy(b)[:, None].clone() for name, b in start.items() if name.endswith("bias")]
        variables = [tensor.requires_grad_() for tensor in (*matrices, *shifts)]
        optimizer = torch.optim.Adam(variables, lr=_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            hidden = x
            for layer, (matrix, shift) in enumerate(zip(matrices, shifts, strict=True)):
                hidden = torch.baddbmm(shift, torch.relu(hidden) if layer else hidden, matrix)
            loss = torch.nn.functional.cross_entropy(hidden.flatten(0, 1), y, reduction="sum") / len(features)
            penalty = torch.stack([variable.square().sum() for variable in variables]).sum()
            optimizer.zero_grad()
            torch.autograd.backward(loss + l2 / 2 * penalty)
            optimizer.step()
            schedule.step()
    out: Weights = {}
    for layer, (matrix, shift) in enumerate(zip(matrices, shifts, strict=True)):
        out[f"{2 * layer}.weight"] = matrix.detach().mT.contiguous().numpy()
        out[f"{2 * layer}.bias"] = shift.detach()[:, 0].contiguous().numpy()
    return out


def mlp_logits(weights: Mapping[str, np.ndarray], features: np.ndarray) -> np.ndarray:
    """The logits of networks of linear layers with ReLUs between them.

    Args:
        weights: see `initial`.
        features: (m, d).

    Returns:
        (models, m, classes) float64.
    """
    hidden = features.astype(np.float64)[None]
    for name in (name for name in weights if name.endswith("weight")):
        hidden = hidden if name == "0.weight" else np.maximum(hidden, 0)
        hidden = hidden @ weights[name].transpose(0, 2, 1) + weights[name.replace("weight", "bias")][:, None]
    return hidden
