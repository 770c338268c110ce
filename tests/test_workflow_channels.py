"""`train(sparsify="channels:…")`: a network made smaller before it trains, and everything that its run is used for."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import datadiet as dd
from datadiet.errors import MissingExtra, OptionError
from datadiet.models import load_checkpoint, open_model
from datadiet.runtime.records import read_manifest
from datadiet.sparsity import rebuilt, shrink
from datadiet.training import loop as loop_module
from datadiet.workflow.fitting.pruning import prune_copy, read_pruning
from datadiet.workflow.job_spec import JobSpec
from datadiet.workflow.session import open_session

pytest.importorskip("torch_pruning", reason="the extra prune is not installed")
pytestmark = pytest.mark.usefixtures("one_thread")

MODEL, SHAPE = "datadiet:resnet8", (1, 8, 8)


def trained(sparsify: Any = None, model: Any = MODEL, **more: Any) -> dd.TrainResult:
    return dd.train("digits", model, sparsify=sparsify, **{"epochs": 1, "recipe": {"lr": 0.03}, **more})


def size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def same(one: nn.Module, other: nn.Module) -> bool:
    left, right = one.state_dict(), other.state_dict()
    return left.keys() == right.keys() and all(torch.equal(value, right[name]) for name, value in left.items())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`dense`; `small`, made from it; and `smaller`, from which channels were removed a second time."""
    out = tmp_path_factory.mktemp("channels")
    with torch.random.fork_rng():
        trained(epochs=2, out=out / "dense")
        trained("channels:0.5", start=out / "dense", out=out / "small")
        trained("channels:0.3", start=out / "small", out=out / "smaller")
    return out


def network(run: Path) -> nn.Module:
    """The network of a run, built by hand from what its manifest says."""
    fresh = open_model(MODEL, SHAPE, 10).fresh(0)
    for removed in read_manifest(run)["plan"].get("removed", []):
        rebuilt(fresh, removed)
    path = max(run.glob("checkpoints/seed-0/epoch-*.safetensors"))
    return load_checkpoint(fresh, path).eval().to(memory_format=torch.channels_last)


def test_the_network_is_shrunk_before_it_trains(runs: Path) -> None:
    dense = network(runs / "dense")
    example = open_session(JobSpec("digits", MODEL)).feed.first(2)
    small, removed = shrink(dense, 0.5, example)
    result = trained("channels:0.5", start=runs / "dense")
    assert result.removed == (removed,) and result.masks is None and size(result.model) <= size(dense) / 2
    by_hand = trained(model=lambda: rebuilt(open_model(MODEL, SHAPE, 10).fresh(0), removed), start=small)
    assert same(by_hand.model, result.model)
    assert same(network(runs / "small"), result.model)
    assert trained("channels:0.5", start=runs / "dense", out=runs / "small").removed == (removed,)
    assert not same(trained("channels:0.5", start=runs / "dense", keep_dense="4").model, result.model)


def test_a_killed_training_continues_to_the_same_weights(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "_SAVE_EVERY", 0.0)
    monkeypatch.setattr(loop_module, "_SAVE_SHARE", float("inf"))
    how: dict[str, Any] = {"start": runs / "dense", "epochs": 2, "out": tmp_path / "run"}

    def killed(self: Any, *given: Any) -> None:
        if self.clock.done == 17:
            raise KeyboardInterrupt
        step(self, *given)

    step = loop_module.Trainer._step
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop_module.Trainer, "_step", killed)
        trained("channels:0.5,importance=taylor", **how)
    with monkeypatch.context() as patch:  # what was removed is read, since gradients differ between devices
        patch.setattr("datadiet.sparsity.structured.shrink", lambda *_, **__: pytest.fail("chosen again"))
        again = trained("channels:0.5,importance=taylor", **how)
    whole = trained("channels:0.5,importance=taylor", start=runs / "dense", epochs=2)
    assert same(again.model, whole.model) and again.removed == whole.removed
    with pytest.raises(OptionError, match=r"holds a run with sparsify.sparsity = 0.5, and this one has 0.4"):
        trained("channels:0.4,importance=taylor", **how)
    with pytest.raises(OptionError, match=r"holds a run with model = "):
        trained("channels:0.5,importance=taylor", model="datadiet:cnn", epochs=2, out=tmp_path / "run")


@pytest.mark.parametrize("name", ["small", "smaller"])
def test_scores_are_those_of_the_network_in_memory(runs: Path, name: str) -> None:
    how: dict[str, Any] = {"scorers": ["el2n", "grand"]}
    found = dd.score("digits", MODEL, checkpoints=runs / name, **how)
    expected = dd.score("digits", network(runs / name), **how)
    for column in how["scorers"]:
        assert np.array_equal(found[column], expected[column])


def test_a_small_and_a_dense_network_are_compared_either_way(runs: Path) -> None:
    found = dd.score("digits", MODEL, "divergence", checkpoints=runs / "dense", against=runs / "smaller")
    back = dd.score("digits", MODEL, "divergence", checkpoints=runs / "smaller", against=runs / "dense")
    expected = dd.score("digits", network(runs / "dense"), "divergence", against=network(runs / "smaller"))
    assert np.array_equal(found["divergence"], expected["divergence"])
    np.testing.assert_allclose(found["divergence"], back["divergence"], rtol=1e-5)


def test_vectors_of_a_small_network(runs: Path) -> None:
    found = dd.embed("digits", MODEL, checkpoint=runs / "smaller")
    expected = dd.embed("digits", network(runs / "smaller"))  # its images are laid out in another way
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-3)


def test_a_small_network_goes_on_training_and_teaches(runs: Path) -> None:
    small = network(runs / "small")
    gone_on = trained(start=runs / "small")
    removed = read_manifest(runs / "small")["plan"]["removed"]
    assert list(gone_on.removed) == removed and gone_on.model[0].weight.shape == small[0].weight.shape
    teachers = [trained(teacher=one, kd_weight=0.9) for one in (runs / "small", small)]
    assert same(*(one.model for one in teachers))
    by_dense = [trained(start=runs / "small", teacher=one) for one in (runs / "dense", network(runs / "dense"))]
    assert same(*(one.model for one in by_dense))
    both = [trained("channels:0.5", start=runs / "dense", teacher=one) for one in (runs / "dense", runs / "smaller")]
    assert not same(*(one.model for one in both))


def test_masks_on_top_of_channels(runs: Path, tmp_path: Path) -> None:
    masked = trained("global_magnitude:0.6", start=runs / "small", out=tmp_path / "masked")
    assert masked.masks is not None and masked.masks.density() == pytest.approx(0.4, abs=1e-3)
    assert size(masked.model) == size(network(runs / "small")) and len(masked.removed) == 1
    again = trained(f"masks:{tmp_path / 'masked'}", start=runs / "small")
    assert again.masks is not None and again.masks.counts() == masked.masks.counts()
    for start in (None, runs / "dense", runs / "smaller"):
        with pytest.raises(OptionError, match="lost different channels: start from the network that these masks"):
            trained(f"masks:{tmp_path / 'masked'}", start=start)


def test_channels_are_removed_a_second_time(runs: Path) -> None:
    removed = read_manifest(runs / "smaller")["plan"]["removed"]
    assert len(removed) == 2 and removed[0] == read_manifest(runs / "small")["plan"]["removed"][0]
    assert size(network(runs / "smaller")) <= 0.7 * size(network(runs / "small"))
    plans = [read_manifest(runs / name)["plan"] for name in ("dense", "small", "smaller")]
    assert len({plan["architecture"] for plan in plans}) == 3


def test_a_small_network_is_recovered(runs: Path, tmp_path: Path) -> None:
    found = dd.recover(runs / "small", "digits", sparsify="global_magnitude:0.5", steps=4, out=tmp_path / "out")
    assert size(found.model) == size(network(runs / "small"))
    assert read_manifest(tmp_path / "out/paser")["plan"]["removed"] == read_manifest(runs / "small")["plan"]["removed"]


def test_a_grid_of_small_networks(runs: Path, tmp_path: Path) -> None:
    axes = {"sparsity": [0, 0.4]}
    how: dict[str, Any] = {"epochs": 1, "start": runs / "dense", "sparsify": "channels:importance=random"}
    for _ in range(2):
        grid = dd.train_grid("digits", MODEL, axes, out=tmp_path / "grid", recipe={"lr": 0.03}, **how)
        assert [row["sparsity"] for row in grid.table()] == [0, 0.4]
    (cell,) = (tmp_path / "grid/cells").glob("*sparsity-0.4*")
    alone = trained("channels:0.4,importance=random", start=runs / "dense", match="full-steps")
    assert same(network(cell), alone.model)


def test_the_examples_that_gradients_are_taken_on_decide(runs: Path) -> None:
    scores = np.arange(1438.0)
    few = [dd.select(scores, "top_k", keep=100, prefer=prefer) for prefer in ("easiest", "hardest")]
    found = [
        trained("channels:0.5,importance=taylor,examples=0", start=runs / "dense", sparsify_on=on)
        for on in (*few, few[0], None)
    ]
    assert found[0].removed == found[2].removed
    assert found[0].removed != found[1].removed and found[0].removed != found[3].removed
    kept = trained("channels:0.5,importance=taylor,examples=0", start=runs / "dense", selection=few[0])
    assert kept.removed == found[0].removed


def test_gradients_by_hand(runs: Path) -> None:
    """|w g| of the mean loss with the statistics of each batch, as autograd gives it on all the examples at once."""
    session = open_session(JobSpec("digits", MODEL, recipe={"batch_size": 100}))
    few = dd.select(np.arange(1438.0), "top_k", keep=100, prefer="hardest")
    pruning = read_pruning("channels:0.5,importance=taylor", on=few, started=True)
    dense = network(runs / "dense")
    found = prune_copy(pruning, dense, session, 0)  # type: ignore[arg-type]
    batch = next(iter(session.feed.batches(np.asarray(few.indices), 100)))
    copy = network(runs / "dense").train()
    nn.functional.cross_entropy(copy(batch.inputs), batch.targets).backward()
    _, removed = shrink(copy, 0.5, batch.part(slice(2)), importance="taylor")
    assert found.session.model.removed == (removed,) and found.masks is None
    assert same(dense, network(runs / "dense")) and size(found.network) < size(dense)


def test_a_network_pruned_at_once_with_masks(runs: Path) -> None:
    session, dense = open_session(JobSpec("digits", MODEL)), network(runs / "dense")
    pruning = read_pruning("wanda:0.5", started=True)
    found = prune_copy(pruning, dense, session, 0)  # type: ignore[arg-type]
    assert found.masks is not None and found.session is session and found.masks.density() == pytest.approx(0.5, abs=0.1)
    zeros = [int((found.network.get_parameter(name) == 0).sum()) for name in found.masks]
    assert sum(zeros) >= found.masks.counts()[1] - found.masks.counts()[0]
    assert same(dense, network(runs / "dense"))


def test_what_is_said(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "datadiet")
    logging.getLogger("datadiet").propagate = True
    trained("channels:0.5", start=runs / "dense")
    assert "pruned: 37" in caplog.text and "ms for a batch" in caplog.text and "speed nothing up" not in caplog.text
    assert "not trained" not in caplog.text
    caplog.clear()
    trained("channels:0.5", model="datadiet:mlp")
    assert "the network is not trained, so the sizes of its weights say little" in caplog.text
    caplog.clear()
    trained("channels:0.5,importance=random", model="datadiet:mlp")
    assert "not trained" not in caplog.text
    trained("global_magnitude:0.5", start=runs / "small")
    assert "zeros alone speed nothing up" in caplog.text


def test_what_cannot_be_asked() -> None:
    few = dd.select(np.arange(1438.0), "top_k", keep=100, prefer="hardest")
    for sparsify, options, why in (
        ("channels", {}, "does not say how sparse: write channels:0.9"),
        ("channels:1.5", {}, "between 0 and 1"),
        ("channels:0.5,importance=size", {}, "give magnitude, taylor or random"),
        ("channels:0.5,shuffle=true", {}, "parameter of channels"),
        ("channels:0.5,seed=3", {}, "'seed' is not a parameter of channels"),
        ("channels:0.5", {"sparsify_when": "cubic"}, "channels are removed before training starts, so leave it out"),
        ("channels:0.5", {"sparsify_on": few}, "channels reads no examples"),
        ("channels:0.5,importance=random", {"sparsify_on": few}, "channels reads no examples"),
        ("global_magnitude:0.5", {"sparsify_on": few}, "global_magnitude reads no examples: leave out sparsify_on"),
        ("channels:0.999", {}, "out of reach for Sequential"),
        ("channels:0.5", {"keep_dense": ["fc"]}, "'fc' is not a layer of the network"),
        ("channels:0.5,round_to=0", {}, "round_to"),
    ):
        with pytest.raises(OptionError, match=why):
            trained(sparsify, **options)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"channels makes a smaller network, which has no masks: use .*shrink"):
        dd.sparsify(nn.Linear(3, 3), "channels", 0.5)


def test_without_torch_pruning_nothing_begins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(MissingExtra, match=r"pip install 'datadiet\[prune\]'"):
        dd.train("npz:nothing-here.npz", MODEL, epochs=1, sparsify="channels:0.5", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_lists_in_a_manifest_are_those_of_the_result(runs: Path) -> None:
    result = trained("channels:0.5", start=runs / "dense")
    assert json.loads((runs / "small/manifest.json").read_text())["plan"]["removed"] == [*result.removed]
