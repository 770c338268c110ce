"""The authors' code of VoG: from stored gradients, and the whole of their example on points."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from conformance.case import Arrays, Case, Peer, checkout, rank_correlation, relative_difference, script

CHECKPOINTS, EPOCHS = 5, 15


def maps(n: int) -> Arrays:
    """Gradients at each checkpoint."""
    rng = np.random.default_rng(0)
    made = rng.normal(size=(CHECKPOINTS, n, 16, 16)) * rng.gamma(2, 1, (n, 1, 1)) + rng.normal(size=(n, 16, 16))
    return {"maps": made.astype(np.float32), "labels": rng.integers(0, 1000, n)}


def ours(data: Arrays) -> Arrays:
    """Not normalised."""
    from datadiet.scorers.vog import vog

    return {"score": vog(data["maps"])}


def run(path: str, *arguments: str) -> Any:
    """A script of theirs, in the current folder, without its debugger, its reader and the joining of pictures."""
    import os
    import sys
    from types import ModuleType

    for name in ("ipdb", "skimage", "skimage.io"):
        sys.modules[name] = ModuleType(name)
        vars(sys.modules[name])["imread"] = None
    os.system = lambda _: 0
    return script(path, *arguments)


def theirs(data: Arrays) -> Arrays:
    """Their script for ImageNet, on files of gradients."""
    import contextlib
    import tempfile
    from pathlib import Path

    n = len(data["labels"])
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("imagenet_classes.txt").write_bytes((checkout() / "imagenet/imagenet_classes.txt").read_bytes())
        for step, rows in enumerate(data["maps"], start=32 - CHECKPOINTS + 1):
            at = Path(f"train_results/weight_{step}000")
            at.mkdir(parents=True)
            for row, found in enumerate(rows):
                np.save(at / f"grad_{row:05d}.npy", found)
            for name in ("ground_truth", "pred_label"):
                np.save(at / f"{name}.npy", data["labels"])
            np.save(at / "classified_flag.npy", np.ones((n, 2)))
        return {"score": np.array(run("imagenet/train_visualize_grad.py").normalized_vog)}


def points(n: int) -> Arrays:
    """The data, and the weights after each epoch, of their example: 50 points whatever n is."""
    import torch
    from sklearn.datasets import make_blobs
    from torch import nn

    x, y = make_blobs(n_samples=500, n_features=2, cluster_std=2, random_state=212)
    inputs, labels = torch.from_numpy(x.astype(np.float32)), torch.from_numpy((y > 0).astype(np.int64))
    model, found = nn.Sequential(nn.Linear(2, 10), nn.Linear(10, 2)), {}
    for layer in model:
        torch.manual_seed(0)
        nn.init.normal_(layer.weight)
        nn.init.zeros_(layer.bias)
    optimiser = torch.optim.SGD(model.parameters(), 0.001)
    for epoch in range(EPOCHS):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(inputs[:450]), labels[:450]).backward()
        optimiser.step()
        found |= {f"{epoch}/{name}": value.numpy().copy() for name, value in model.state_dict().items()}
    return {"x": inputs[-50:].numpy(), "labels": labels[-50:].numpy(), **found}


def our_points(data: Arrays, *, epochs: int = EPOCHS, added: bool = True) -> Arrays:
    """Of the probability, within the class; `added`: of the sum of all gradients so far."""
    import torch
    from torch import nn

    from datadiet.scorers.vog import vog
    from datadiet.signals.input_gradients import input_gradient_maps

    model = nn.Sequential(nn.Linear(2, 10), nn.Linear(10, 2), nn.Softmax(1)).eval()
    found, (x, y) = [], (torch.from_numpy(data[name]) for name in ("x", "labels"))
    for epoch in range(epochs):
        model.load_state_dict({name: torch.from_numpy(data[f"{epoch}/{name}"]) for name in model.state_dict()})
        found.append(input_gradient_maps(model, x, y).numpy())
    return {"score": vog(np.cumsum(found, axis=0) if added else np.stack(found), data["labels"])}


def their_points(data: Arrays, *, mode: str) -> Arrays:
    """Their script."""
    import contextlib
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("figures").mkdir()
        return {"score": np.array(run("toy_script.py", "--split", "test", "--mode", mode).normalized_vog)}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How far they are apart, and how alike the order is."""
    return {
        "largest relative difference": relative_difference(a["score"], b["score"]),
        "rank correlation": rank_correlation(a["score"], b["score"]),
    }


SAME = {"largest relative difference": (0, 1e-5), "rank correlation": (0.9999, 1)}
DIFFERENT = {"largest relative difference": (0.1, 1), "rank correlation": (0.5, 0.999)}
PEER = Peer(
    "VOG",
    (
        Case("vog", "stored gradients of 500 images, 5 checkpoints", 500, maps, ours, theirs, agreement, SAME),
        Case("vog", "their example: probabilities of 50 points, within the class", 50, points,
             partial(our_points, added=False), partial(their_points, mode="complete"), agreement, DIFFERENT,
             "gradients add up over the epochs there"),
        Case("vog", "the same, ours added up too", 50, points, our_points, partial(their_points, mode="complete"),
             agreement, SAME),
        Case("vog", "the same, the first 5 of 15 epochs", 50, points, partial(our_points, epochs=5),
             partial(their_points, mode="early"), agreement, DIFFERENT,
             "the sum over all epochs is divided there by 5"),
    ),
    repository="chirag126/VOG",
)  # fmt: skip
