"""How good are the attributions, against retraining and against planted errors?

Linear datamodelling score (LDS) on the bundled digits: 400 examples, 100 random halves of them retrained, 100 queries;
softmax regression (no noise) and an MLP of 64-32-10 (four seeds, with the noise ceiling). Attributions use the whole
gradient, unprojected. And mislabelled examples: 10 % of the labels of the digits flipped, `datadiet:mlp` trained for 20
epochs, area under the ROC curve and share found among the 10 % inspected first, three draws.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from bench import cell

import datadiet as dd
from datadiet import scorers
from datadiet.data import open_data
from datadiet.evaluate import digits_ground_truth, flip_labels, lds, mislabel_auc, noise_ceiling, recall_at
from datadiet.evaluate.ground_truth import GroundTruth
from datadiet.signals.gradients import PerExample

FLIPPED, EPOCHS, DRAWS = 0.1, 20, 3
DETECTORS = (
    "el2n,grand_last,grand,self_influence,ekfac_self_influence,vog,loss,aum,forgetting,grad_dot,grad_cos,trak,datainf,"
    "influence,knn_shapley"
)
HELPFUL = ("grad_dot", "grad_cos", "trak", "datainf", "influence", "knn_shapley")  # low where the label is wrong

Attribute = Callable[[int], np.ndarray]


def main() -> None:
    """Measure what is not there yet, and print."""
    torch.set_num_threads(1)
    for model in ("logistic", "mlp"):
        print(cell(f"attribution/lds_{model}", lambda model=model: lds_of(model)))
    for draw in range(DRAWS):
        print(cell(f"attribution/mislabelled_{draw}", lambda draw=draw: mislabelled(draw)))


def lds_of(model: str) -> dict[str, Any]:
    """The LDS of every attribution, mean over networks of the attributions first."""
    truth = digits_ground_truth(model)
    networks = len(next(iter(truth.weights.values())))
    each = [attributions(truth, number) for number in range(networks)]
    found: dict[str, Any] = {"model": model, "networks": networks}
    for name in each[0]:
        values = np.stack([np.mean([one[name](q) for one in each], axis=0) for q in range(len(truth.val_labels))])
        score = lds(values, truth.outputs, truth.masks)
        found[name] = {"lds": score.mean, "interval": score.interval}
    ceiling = noise_ceiling(*truth.halves).ceiling if model == "mlp" else None
    return found | {"ceiling": 1.0 if ceiling is None else ceiling.mean}


def attributions(truth: GroundTruth, number: int) -> dict[str, Attribute]:
    """name -> query -> (n,), by one of the networks."""
    module = truth.module(number).eval()
    x, y, v, w = truth.features, truth.labels, truth.val_features, truth.val_labels
    g, gv = (dense(module, *pair) for pair in ((x, y), (v, w)))
    m, mv = (dense(module, *pair, loss="margin") for pair in ((x, y), (v, w)))
    h, hv = (penultimate(module, values) for values in (x, v))
    rng = np.random.default_rng(number)
    p_true = truth.probabilities[np.arange(len(y)), y]
    return {
        "random": lambda q: rng.standard_normal(len(y)),
        "grad_dot": lambda q: g @ gv[q],
        "grad_cos": lambda q: g @ gv[q] / np.linalg.norm(g, axis=1) / np.linalg.norm(gv[q]),
        "trak": lambda q: scorers.trak(m, p_true, mv[q : q + 1]),
        "datainf": lambda q: scorers.datainf(g, gv[q : q + 1]),
        "influence": lambda q: scorers.influence(h, y, hv[q : q + 1], w[q : q + 1], l2=truth.l2, order="first"),
        "knn_shapley": lambda q: scorers.knn_shapley(h, y, hv[q : q + 1], w[q : q + 1]),
    }


def dense(module: torch.nn.Module, x: np.ndarray, y: np.ndarray, loss: str = "cross_entropy") -> np.ndarray:
    """(n, P) the whole gradient of every example, float64."""
    parts: dict[str, np.ndarray] = {}
    PerExample(module, loss)(
        as_inputs(module, x),
        torch.as_tensor(y),
        lambda name, terms: parts.__setitem__(name, sum(t.dense(slice(None)).flatten(1).numpy() for t in terms)),
    )
    return np.concatenate([parts[name] for name in sorted(parts)], axis=1).astype(np.float64)


def penultimate(module: torch.nn.Module, x: np.ndarray) -> np.ndarray:
    """The input of the last linear layer."""
    head = [m for m in module.modules() if isinstance(m, torch.nn.Linear)][-1]
    seen: list[np.ndarray] = []
    handle = head.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().numpy()))
    module(as_inputs(module, x))
    handle.remove()
    return seen[0].astype(np.float64)


def as_inputs(module: torch.nn.Module, x: np.ndarray) -> torch.Tensor:
    """In the precision of the network."""
    return torch.as_tensor(x).to(next(module.parameters()).dtype)


def mislabelled(draw: int) -> dict[str, Any]:
    """Which scores find the flipped labels."""
    train, clean = open_data("digits"), open_data("digits", split="eval")
    labels, flipped = flip_labels(np.asarray(train.labels), FLIPPED, 10, seed=draw)
    data = torch.utils.data.TensorDataset(train.take(np.arange(len(train))), torch.as_tensor(labels))
    reference = torch.utils.data.TensorDataset(clean.take(np.arange(len(clean))), torch.as_tensor(clean.labels))
    scores = dd.score(data, "datadiet:mlp", DETECTORS, epochs=EPOCHS, seed=draw, reference=reference)
    found: dict[str, Any] = {"draw": draw, "epochs": EPOCHS, "flipped": FLIPPED}
    for name in DETECTORS.split(","):
        suspicion = -scores[name] if name in HELPFUL else scores.hardness(name)
        found[name] = {"auc": mislabel_auc(suspicion, flipped), "recall": recall_at(suspicion, flipped, FLIPPED)}
    return found


if __name__ == "__main__":
    main()
