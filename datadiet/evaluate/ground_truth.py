"""What really happens when training examples are removed: a ground truth that a laptop builds in seconds.

On the bundled digits, a model is retrained on random subsets (for the linear datamodelling score) and, if it has a
unique solution, without each single example (leave one out). All trainings minimise one objective,

    F_S(theta) = 1/n · sum over i in S of cross-entropy(theta; x_i, y_i)  +  l2/2 ||theta||^2

with the same n and l2 for every subset S: removing an example removes its term and changes nothing else, as influence
functions assume. In scikit-learn's terms C = 1/(n·l2), with the bias penalised too.

- "logistic": softmax regression, l2 = 0.01, solved to a gradient of 1e-10. Nothing is random, so the outputs have no
  noise, and every miss is the attribution's own error.
- "mlp": 64-32-10 with ReLU, l2 = 0.0005, several seeds per subset. The effect of single removals drowns in the noise of
  the initialisation, so it has no leave-one-out.

Features are the 64 grey levels in [0, 1]. Outputs are correct-class margins, log p_y / (1 - p_y), computed from logits.

Cost: on one core of a small machine about 3 seconds for "logistic" and 10 for "mlp". The networks of "mlp" are
byte-identical for any number of threads; "logistic", and what numpy computes from the networks, agree up to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from datadiet.errors import OptionError
from datadiet.evaluate.batched_mlp import initial, mlp_logits, train_mlps
from datadiet.evaluate.ranks import how_many
from datadiet.evaluate.softmax_regression import fit_softmax, softmax
from datadiet.parameters import checked
from datadiet.randomness import Keys

if TYPE_CHECKING:
    import torch

__all__ = ["GroundTruth", "digits_ground_truth", "losses", "margins"]

_MOST = 100_000  # trainings
_L2 = {"logistic": 1e-2, "mlp": 5e-4}
_WIDTHS = (64, 32, 10)


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """A data set, models retrained on its subsets, and the model trained on all of it.

    Attributes:
        model: "logistic" or "mlp".
        l2: the penalty of the objective.
        features: (n, 64) training features; float64 for "logistic", float32 for "mlp", like its weights.
        labels: (n,) int64.
        val_features: (m, 64), of the queries, which no model is trained on.
        val_labels: (m,) int64.
        masks: (subsets, n) bool, which examples each subset holds.
        halves: (2, subsets, m) float64: the margin of each query after training on each subset, averaged over the
            first and the second half of the seeds. For "logistic" both are the one exact value.
        weights: of the models trained on all n examples, name -> (seeds, …), named like the state of `module()`.
        probabilities: (n, 10) float64, of the training examples under these models, mean over seeds.
        val_probabilities: (m, 10) float64, of the queries.
        loss: (m,) float64, the cross-entropy of each query under these models, mean over seeds.
        loo: (n, m) float64: row i is the loss of the queries after training without example i; None for "mlp". The
            influence of i, positive if keeping it lowers the loss, is loo[i] - loss.
    """

    model: str
    l2: float
    features: np.ndarray
    labels: np.ndarray
    val_features: np.ndarray
    val_labels: np.ndarray
    masks: np.ndarray
    halves: np.ndarray
    weights: Mapping[str, np.ndarray]
    probabilities: np.ndarray
    val_probabilities: np.ndarray
    loss: np.ndarray
    loo: np.ndarray | None = None

    @property
    def outputs(self) -> np.ndarray:
        """(subsets, m) float64: the margins averaged over all seeds, the outputs for `lds`."""
        return np.asarray(self.halves.mean(axis=0))

    @property
    def theta(self) -> np.ndarray:
        """(65, 10) float64: the parameters of "logistic", the last row its bias, so that logits are [x, 1] theta.

        Raises:
            OptionError: for "mlp", whose parameters `module` holds.
        """
        if self.model != "logistic":
            raise OptionError(f"the {self.model} has no single matrix of parameters: call module().")
        return np.vstack([self.weights["0.weight"][0].T, self.weights["0.bias"]])

    def module(self, number: int = 0) -> torch.nn.Module:
        """A model trained on all n examples, as a torch module from features to logits, in evaluation mode.

        Args:
            number: the seed, counted from 0; "logistic" has one.

        Raises:
            OptionError: there is no such seed.
        """
        import torch

        seeds = len(self.weights["0.bias"])
        if not 0 <= number < seeds:
            raise OptionError(f"number={number}: this ground truth has {seeds} full trainings: give 0 to {seeds - 1}.")
        state = {name: torch.from_numpy(values[number].copy()) for name, values in self.weights.items()}
        layers: list[torch.nn.Module] = []
        for matrix in (values for name, values in state.items() if name.endswith("weight")):
            out, inputs = matrix.shape
            # no memory yet: drawing initial weights would advance the global random state
            layer = torch.nn.Linear(inputs, out, device="meta", dtype=matrix.dtype)
            layers += [torch.nn.ReLU(), layer] if layers else [layer]
        model = torch.nn.Sequential(*layers)
        model.load_state_dict(state, assign=True)
        return model.eval()


@checked
def digits_ground_truth(
    model: Literal["logistic", "mlp"] = "logistic",
    *,
    n: int = 400,
    queries: int = 100,
    subsets: int = 100,
    fraction: float = 0.5,
    seeds: int | None = None,
    seed: int = 0,
) -> GroundTruth:
    """Retrain a small model on subsets of the digits. The same arguments give the same numbers.

    Args:
        model: "logistic" or "mlp".
        n: training examples, drawn from the 1,438 of the training split; a smaller n takes the first of a larger one.
        queries: validation examples, drawn from the 359 of the evaluation split.
        subsets: how many; the first ones do not depend on their number.
        fraction: the share of the n examples in each subset, at least one example and not all.
        seeds: trainings per subset for "mlp", an even number, by default 4; "logistic" takes none.
        seed: for everything drawn.

    Returns:
        The data, the outputs of the retrained models, and the model trained on all n examples.

    Raises:
        OptionError: an unknown model, more examples than the data has, or seeds that do not fit the model.
    """
    if seeds is not None and (model == "logistic" or seeds < 2 or seeds % 2):
        raise OptionError(
            f"seeds={seeds} for {model}: give an even number of at least 2 for mlp, whose halves make the noise "
            "ceiling, and none for logistic, which has one solution."
        )
    x, y = _drawn("train", n, seed)
    v, w = _drawn("eval", queries, seed)
    k = how_many("fraction", float(fraction), n)
    if k == n or not 1 <= subsets * (seeds or 1) <= _MOST:
        raise OptionError(
            f"{subsets} subsets of {k} of {n} examples: give at least one, each smaller than the whole, and at most "
            f"{_MOST:,} trainings in all."
        )
    masks = np.zeros((subsets, n), dtype=bool)
    for number, mask in enumerate(masks):
        mask[np.argsort(Keys(seed, f"subset {number}", n).draw())[:k]] = True
    if model == "mlp":
        x, v = x.astype(np.float32), v.astype(np.float32)
        return GroundTruth(model, _L2[model], x, y, v, w, masks, **_mlp(x, y, v, w, masks, seeds or 4, seed))
    return GroundTruth(model, _L2[model], x, y, v, w, masks, **_logistic(x, y, v, w, masks))


def _drawn(split: str, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features in [0, 1] and labels of the first examples of a random order."""
    from datadiet.data.arrays import open_digits

    source = open_digits(split=split)
    if not 1 <= count <= len(source) or source.labels is None:
        name = "n" if split == "train" else "queries"
        raise OptionError(
            f"{name}={count}: the {split} split of the digits has {len(source)} examples: give 1 to {len(source)}."
        )
    rows = np.argsort(Keys(seed, f"ground truth {split}", len(source)).draw())[:count]
    images = source.take(rows).numpy().reshape(count, -1)
    return images / 255.0, source.labels[rows]


def _logistic(x: np.ndarray, y: np.ndarray, v: np.ndarray, w: np.ndarray, masks: np.ndarray) -> dict[str, Any]:
    n, l2 = len(x), _L2["logistic"]
    design, queries = np.c_[x, np.ones(n)], np.c_[v, np.ones(len(v))]
    full = fit_softmax(design, y, np.full((1, n), 1 / n), np.zeros((design.shape[1], _WIDTHS[-1])), l2=l2)
    retrained = fit_softmax(design, y, masks / n, full[0], l2=l2)
    without = fit_softmax(design, y, (1 - np.eye(n)) / n, full[0], l2=l2)
    outputs = margins(queries @ retrained, w)
    return {
        "halves": np.stack([outputs, outputs]),
        "weights": {"0.weight": full[:, :-1].transpose(0, 2, 1).copy(), "0.bias": full[:, -1]},
        "probabilities": softmax(design @ full[0]),
        "val_probabilities": softmax(queries @ full[0]),
        "loss": losses(queries @ full[0], w),
        "loo": losses(queries @ without, w),
    }


def _mlp(
    x: np.ndarray, y: np.ndarray, v: np.ndarray, w: np.ndarray, masks: np.ndarray, seeds: int, seed: int
) -> dict[str, Any]:
    l2 = _L2["mlp"]
    members = np.stack([np.flatnonzero(mask) for mask in masks])
    outputs = np.empty((seeds, len(masks), len(v)))
    for number in range(seeds):
        start = initial(_WIDTHS, [(number, subset) for subset in range(len(masks))], seed)
        outputs[number] = margins(mlp_logits(train_mlps(x, y, members, start, l2=l2), v), w)
    everything = np.tile(np.arange(len(x)), (seeds, 1))
    weights = train_mlps(x, y, everything, initial(_WIDTHS, [(number,) for number in range(seeds)], seed), l2=l2)
    logits = mlp_logits(weights, v)
    return {
        "halves": np.stack([outputs[: seeds // 2].mean(axis=0), outputs[seeds // 2 :].mean(axis=0)]),
        "weights": weights,
        "probabilities": softmax(mlp_logits(weights, x)).mean(axis=0),
        "val_probabilities": softmax(logits).mean(axis=0),
        "loss": losses(logits, w).mean(axis=0),
    }


def margins(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """log p_y / (1 - p_y) = z_y - logsumexp of the other logits, with all digits even where p_y rounds to 1.

    Args:
        logits: (…, m, classes).
        labels: (m,).

    Returns:
        (…, m).

    >>> margins(np.array([[2.0, 0.0]]), np.array([0])).tolist()
    [2.0]
    """
    others = np.where(np.arange(logits.shape[-1]) == labels[:, None], -np.inf, logits)
    top = others.max(axis=-1)
    rest = top + np.log(np.exp(others - top[..., None]).sum(axis=-1))
    index = np.broadcast_to(labels[:, None], (*logits.shape[:-1], 1))
    return np.asarray(np.take_along_axis(logits, index, axis=-1)[..., 0] - rest)


def losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The cross-entropy -log p_y = log(1 + exp(-margin)), shapes as for `margins`."""
    return np.logaddexp(0, -margins(logits, labels))
