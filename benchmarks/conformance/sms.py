"""The authors' code of Sparse Model Soups: the mean of networks that share a mask, and BatchNorm after it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

from conformance.case import Arrays, Case, Peer, checkout, relative_difference
from conformance.pruned_networks import images, network

NETWORKS, BATCH = 5, 32


def retrained() -> list[Any]:
    """Copies of a pruned network, whose kept weights differ a little."""
    import torch

    found = []
    for seed in range(NETWORKS):
        model, draws = network(norm=True), torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=draws))
                parameter.mul_(torch.arange(parameter.numel()).view(parameter.shape) % 4 == 0)
        found.append(model)
    return found


def batches(data: Arrays) -> list[tuple[Any, ...]]:
    """Inputs, targets and positions."""
    import torch

    parts = (torch.from_numpy(value).split(BATCH) for value in (data["x"], data["y"], np.arange(len(data["x"]))))
    return list(zip(*parts, strict=True))


def arrays(model: Any) -> Arrays:
    """Parameters in a row, and running statistics in a row."""
    import torch

    state = {name: value for name, value in model.state_dict().items() if value.is_floating_point()}
    rows = {kind: [v.flatten() for name, v in state.items() if ("running" in name) == (kind == "running")]
            for kind in ("parameters", "running")}  # fmt: skip
    return {kind: torch.cat(values).numpy() for kind, values in rows.items()}


def ours(data: Arrays) -> Arrays:
    """`average_sparse`."""
    from datadiet.sparsity.soup import average_sparse

    return arrays(average_sparse(retrained(), batches=batches(data)))


def theirs(data: Arrays, *, momentum: float | None) -> Arrays:
    """Their mean of saved networks, and their pass for BatchNorm, with this momentum of its layers."""
    import sys

    import torch

    sys.path.insert(0, str(checkout()))
    sys.modules.update({name: mock.MagicMock() for name in ("wandb", "torchmetrics", "torchmetrics.classification")})
    from runners.baseRunner import baseRunner
    from strategies.ensembleStrategies import UniformEnsembling
    from utilities.utilities import Candidate

    models = retrained()
    for number, model in enumerate(models):
        torch.save(model.state_dict(), f"{number}.pt")
    candidates = [Candidate(number, f"{number}.pt", None) for number in range(NETWORKS)]
    soup = UniformEnsembling(
        model=models[0], config={"goal_sparsity": 0.75}, callbacks={}, candidate_models=candidates, runner=None
    )
    models[0].load_state_dict(soup.create_ensemble())
    for layer in models[0].modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = momentum
    how = SimpleNamespace(bn_recalibration_frac=1.0, use_amp=False)
    baseRunner.recalibrate_bn(
        SimpleNamespace(config=how, model=models[0], device="cpu", trainLoader_unshuffled=batches(data))
    )
    for candidate in candidates:
        Path(candidate.file).unlink()
    return arrays(models[0])


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """Weights, which of them are 0, and the statistics of BatchNorm."""
    return {
        "largest relative difference of parameters": relative_difference(a["parameters"], b["parameters"]),
        "equal zeros": ((a["parameters"] == 0) == (b["parameters"] == 0)).mean(),
        "of running statistics": relative_difference(a["running"], b["running"]),
    }


def case(what: str, momentum: float | None, low: float, high: float, why: str = "") -> Case:
    """The same weights, and statistics between these bounds."""
    return Case("sparse_soups", what, 640, images, ours, partial(theirs, momentum=momentum), agreement,
                {"largest relative difference of parameters": (0, 1e-6), "equal zeros": (1, 1),
                 "of running statistics": (low, high)}, why)  # fmt: skip


PEER = Peer(
    "SMS",
    (
        case("5 networks, BatchNorm measured on 20 batches", 0.1, 0.01, 1,
             "a running mean with a momentum of 0.1 there, in which 12 % is still the reset value"),
        case("the same, with momentum=None in their layers", None, 0, 1e-5),
    ),
    repository="ZIB-IOL/SMS",
)  # fmt: skip
