"""EK-FAC self-influence: one factor at a time, from the same labels drawn to the defaults of both."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from conformance.case import Arrays, Case, Peer, rank_correlation, relative_difference

CLASSES, WIDTH = 10, 32


def network(data: Arrays) -> Any:
    """The trained MLP, with biases if the arrays have them."""
    import torch
    from torch import nn

    biases = "0.bias" in data
    model = nn.Sequential(nn.Linear(64, WIDTH, bias=biases), nn.ReLU(), nn.Linear(WIDTH, CLASSES, bias=biases))
    model.load_state_dict({name: torch.from_numpy(data[name]) for name in model.state_dict()})
    return model.eval()


def trained(n: int, *, epochs: int = 5, wrong: float = 0.1, biases: bool = True) -> Arrays:
    """Digits, a share of whose labels is wrong, an MLP trained on them, and for two passes the labels drawn."""
    import torch
    from sklearn.datasets import load_digits
    from torch import nn

    x, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(y))[:n]
    x, y = (x[rows] / 16).astype(np.float32), y[rows].astype(np.int64)
    y = np.where(rng.random(n) < wrong, rng.integers(0, CLASSES, n), y)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, WIDTH, bias=biases), nn.ReLU(), nn.Linear(WIDTH, CLASSES, bias=biases))
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(epochs):
        for part in torch.randperm(n).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(inputs[part]), targets[part]).backward()
            optimiser.step()
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    return {"x": x, "y": y, **weights, **draws(model(inputs).detach().double().softmax(1).numpy(), seed=1)}


def draws(probabilities: np.ndarray, seed: int) -> Arrays:
    """Labels from the predictions, for the factors and for the eigenvalues."""
    rng = np.random.default_rng(seed)
    cumulated = probabilities.cumsum(1)[:, :-1]
    return {f"drawn{i}": (rng.random((len(cumulated), 1)) > cumulated).sum(1) for i in range(2)}


def ours(data: Arrays, *, same: bool = True, seeds: int = 1) -> Arrays:
    """Self-influence by our engine, (seeds, n); `same`: with the labels in the arrays."""
    return {"score": np.stack([_ours(data, same, seed) for seed in range(seeds)])}


def theirs(data: Arrays, *, same: bool = True, damping: float | None = None, seeds: int = 1) -> Arrays:
    """The same by kronfluence; damping=None is a tenth of the mean eigenvalue."""
    import logging

    logging.disable(logging.INFO)
    return {"score": np.stack([_theirs(data, same, damping, seed) for seed in range(seeds)])}


def _ours(data: Arrays, same: bool, seed: int) -> np.ndarray:
    import torch

    from datadiet.signals.gradients import PerExample, kfac

    x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"])
    engine = PerExample(network(data))
    given = iter([torch.from_numpy(data["drawn0"]), torch.from_numpy(data["drawn1"])])
    own = kfac._drawn_labels
    if same:
        kfac._drawn_labels = lambda *_: next(given)
    generator = torch.Generator().manual_seed(seed)
    factors = kfac.KroneckerFactors.collect(engine, [(x, y)], generator)
    factors.collect_lambda([(x, y)], generator)
    kfac._drawn_labels = own
    return factors.self_influence(x, y).numpy()


def _theirs(data: Arrays, same: bool, damping: float | None, seed: int) -> np.ndarray:
    import tempfile

    import torch
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments, ScoreArguments
    from kronfluence.task import Task
    from torch import nn

    class Classify(Task):
        stage = 0

        def compute_train_loss(self, batch: Any, model: Any, sample: bool = False) -> Any:
            inputs, labels, *drawn = batch
            logits = model(inputs)
            if sample:
                labels = drawn[self.stage] if same else torch.multinomial(logits.detach().softmax(1), 1).flatten()
            return nn.functional.cross_entropy(logits, labels, reduction="sum")

        def compute_measurement(self, batch: Any, model: Any) -> Any:
            return self.compute_train_loss(batch, model)

    torch.manual_seed(seed)
    task = Classify()
    rows = torch.utils.data.TensorDataset(*(torch.from_numpy(data[name]) for name in ("x", "y", "drawn0", "drawn1")))
    ekfac = FactorArguments("ekfac")
    again = {"per_device_batch_size": 512, "overwrite_output_dir": True, "factor_args": ekfac}
    with tempfile.TemporaryDirectory() as folder:
        model = prepare_model(network(data), task)
        run = Analyzer("c", model, task, cpu=True, output_dir=folder, disable_model_save=True, disable_tqdm=True)
        run.fit_covariance_matrices("f", rows, **again)
        run.perform_eigendecomposition("f", factor_args=ekfac, overwrite_output_dir=True)
        task.stage = 1
        run.fit_lambda_matrices("f", rows, **again)
        options = ScoreArguments(damping_factor=damping)
        run.compute_self_scores("s", "f", rows, per_device_train_batch_size=512, score_args=options)
        return run.load_self_scores("s")["all_modules"].numpy()


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """The median ratio to theirs, of several seeds the least and the largest; the least rank correlation.

    Of one seed also the largest relative difference.
    """
    pairs = list(zip(a["score"], b["score"], strict=True))
    ratios = [float(np.median(x / y)) for x, y in pairs]
    ranks = {"rank correlation": min(rank_correlation(x, y) for x, y in pairs)}
    if len(pairs) == 1:
        apart = relative_difference(a["score"], b["score"])
        return {"median ratio": ratios[0], **ranks, "largest relative difference": apart}
    own = [float(np.median(x / a["score"][0])) for x in a["score"][1:]]
    return {
        "least ratio": min(ratios), "largest ratio": max(ratios),
        "least between seeds of ours": min(own), "largest between seeds of ours": max(own), **ranks,
    }  # fmt: skip


def case(what: str, expected: dict[str, tuple[float, float]], why: str = "", **options: Any) -> Case:
    """A comparison on 1,438 digits."""
    side = {name: options.pop(name) for name in ("same", "seeds") if name in options}
    other = {**side, **({"damping": options.pop("damping")} if "damping" in options else {})}
    arrays = partial(trained, **options)
    compute = partial(ours, **side), partial(theirs, **other)
    return Case("ekfac_self_influence", what, 1438, arrays, *compute, agreement, expected, why)


PEER = Peer(
    "kronfluence",
    (
        case("the same labels drawn, no biases",
             {"median ratio": (0.9999, 1.0001), "rank correlation": (0.99999, 1),
              "largest relative difference": (0, 1e-4)}, biases=False),
        case("the same labels drawn, biases", {"median ratio": (1, 1.1), "rank correlation": (0.999, 1)},
             "a bias is a block of its own here, and a column of the weight there"),
        case("labels drawn by each, 10 % wrong labels, 5 seeds",
             {"least ratio": (0.8, 1.1), "largest ratio": (1, 1.3), "rank correlation": (0.995, 1)},
             "labels are drawn at random", same=False, seeds=5),
        case("labels drawn by each, data fitted completely, 5 seeds",
             {"largest between seeds of ours": (10, 1000), "rank correlation": (0.995, 1)},
             "in some draws every label is the predicted one, and the Fisher matrix is nearly 0",
             same=False, seeds=5, epochs=300, wrong=0.0),
        case("the same labels drawn, no biases, their default damping",
             {"median ratio": (0.1, 0.6), "rank correlation": (0.9, 1)},
             "1e-8 there, a tenth of the mean eigenvalue here", biases=False, damping=1e-8),
    ),
    ("kronfluence==1.0.1",),
)  # fmt: skip
