"""A network learned outputs for classes in some order: data with another order is refused on every route."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

import datadiet as dd

NAMES = ("cat", "dog", "fox")


def named(classes: tuple[str, ...], order: tuple[int, ...] = (0, 1, 2)) -> TensorDataset:
    """30 examples whose class 0 comes as number order[0], and so on."""
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32))
    data = TensorDataset(x, torch.tensor(order).repeat(10))
    data.classes = list(classes)  # type: ignore[attr-defined]
    return data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that was trained on cats, dogs and foxes."""
    folder = tmp_path_factory.mktemp("run") / "net"
    dd.train(named(NAMES), "datadiet:mlp", epochs=1, out=folder)
    return folder


def start(data: Any, run: Path, out: Path) -> Any:
    """Train from its weights."""
    return dd.train(data, "datadiet:mlp", epochs=1, start=run, out=out)


def teach(data: Any, run: Path, out: Path) -> Any:
    """Distil from it."""
    return dd.train(data, "datadiet:mlp", epochs=1, teacher=run, out=out)


def evaluate(data: Any, run: Path, out: Path) -> Any:
    """Score by its checkpoints."""
    return dd.score(data, "datadiet:mlp", "margin", checkpoints=run, out=out)


def compare(data: Any, run: Path, out: Path) -> Any:
    """Score by the divergence of another network from it."""
    net = torch.nn.Linear(4, 3)
    return dd.score(data, net, "divergence", against=run, out=out)


def recover(data: Any, run: Path, out: Path) -> Any:
    """Prune and recover it."""
    return dd.recover(run, data, method="random", keep=0.5, steps=1, eval="20%", out=out)


def mask(data: Any, run: Path, out: Path) -> Any:
    """Train with the zeros of its pruned copy."""
    pruned = out.parent / "pruned"
    dd.train(named(NAMES), "datadiet:mlp", epochs=1, start=run, sparsify="global_magnitude:0.5", out=pruned)
    return dd.train(data, "datadiet:mlp", epochs=1, sparsify=f"masks:{pruned}", out=out)


ROUTES = [start, teach, evaluate, compare, recover, mask]


@pytest.mark.parametrize("route", ROUTES)
def test_classes_in_another_order_are_refused_before_anything_is_written(
    route: Callable[..., Any], run: Path, tmp_path: Path
) -> None:
    reversed_ = named(("fox", "dog", "cat"), (2, 1, 0))
    with pytest.raises(dd.DataError, match=r"'fox' is class 2 of their training data and class 0 of"):
        route(reversed_, run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("route", ROUTES)
def test_a_class_of_another_name_is_reported(
    route: Callable[..., Any], run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    route(named(("cat", "hound", "fox")), run, tmp_path / "out")
    assert "'hound' is not among them" in caplog.text


@pytest.mark.parametrize("route", ROUTES)
def test_numbers_beside_names_are_reported(
    route: Callable[..., Any], run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    x, y = named(NAMES).tensors
    route((x.numpy(), y.numpy()), run, tmp_path / "out")
    assert "'0' of" in caplog.text and "is taken to be 'cat' of the training data" in caplog.text
