"""Scorers that read gradients or features: several seeds, weights that are there already, and rescoring."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import datadiet as dd
from datadiet import scorers as plain
from datadiet.data import measure_normalisation
from datadiet.errors import MissingSignal, OptionError
from datadiet.workflow.scoring.columns import rank_stability

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def two_seeds(tmp_path_factory, one_thread, gradient_scorers, score_small):
    """(run folder, scores) of two seeds, and the scores of each seed alone."""
    run = tmp_path_factory.mktemp("seeds") / "run"
    both = score_small(run, gradient_scorers, seeds=2)
    return run, both, [score_small(None, gradient_scorers, seed=seed) for seed in (0, 1)]


def test_seeds_give_means_spreads_and_their_agreement(two_seeds, assert_close, gradient_scorers):
    run, both, single = two_seeds
    agreement = json.loads((run / "manifest.json").read_text())["stability"]
    assert set(both.names) == set(agreement) == set(gradient_scorers)
    assert set(both.columns) - set(both.names) == {f"{name}.std" for name in gradient_scorers}
    for name in gradient_scorers:
        each = np.stack([scores[name] for scores in single])
        assert not np.array_equal(each[0], each[1])
        assert_close(both[f"{name}.std"], each.std(axis=0, ddof=1), rtol=1e-3, atol=1e-5, name=name)
        assert agreement[name] == rank_stability(each)
        if name != "trak":
            assert_close(both[name], each.mean(axis=0), rtol=1e-4, name=name)
    assert "hardness" not in both.meta["columns"]["trak.std"]


def test_trak_takes_the_networks_of_all_seeds_together(two_seeds):
    run, both, single = two_seeds
    signals = dd.Signals.open(run, 120)
    of = both.meta["facts"]["reference"][:12]
    vectors = [
        np.stack([at for (at,) in signals.vectors(name, [2])])
        for name in ("projected_margin", f"projected_margin@{of}")
    ]
    wanted = plain.trak(vectors[0], signals.array("p_true", "eval", [2])[0][:, 0], vectors[1])
    np.testing.assert_array_equal(both["trak"], wanted)
    assert not np.allclose(wanted, (single[0]["trak"] + single[1]["trak"]) / 2, rtol=1e-3)


def test_several_epochs_are_several_networks(tmp_path, assert_close, score_small):
    """For scorers of vectors; those of one network at a time are averaged."""
    run = tmp_path / "run"
    names = ["knn_shapley", "datainf"]
    both = score_small(run, names, params={name: {"at": "1-2"} for name in names})
    each = [score_small(None, names, params={name: {"at": epoch} for name in names}) for epoch in (1, 2)]
    for name in names:
        assert_close(both[name], (each[0][name] + each[1][name]) / 2, rtol=1e-4, name=name)
        assert both.meta["columns"][name]["needs"][0]["epochs"] == [1, 2]


def test_parts_do_not_change_the_values(two_seeds, small_parts, assert_close, gradient_scorers, score_small):
    _, _, (whole, _) = two_seeds
    cut = score_small(None, gradient_scorers)
    for name in gradient_scorers:
        assert_close(cut[name], whole[name], name=name)


@pytest.mark.parametrize("batch_size", [32, 120])
def test_the_batch_size_of_the_recipe_does_not_matter_at_the_same_weights(
    two_seeds, batch_size, assert_close, gradient_scorers, score_small
):
    files = [two_seeds[0] / f"checkpoints/seed-0/epoch-{epoch}.safetensors" for epoch in (1, 2)]
    options = {"checkpoints": files, "params": {"grand": {"at": 2}}}
    other = score_small(None, gradient_scorers, recipe={"batch_size": batch_size}, **options)
    wanted = score_small(None, gradient_scorers, recipe={"batch_size": 20}, **options)
    for name in gradient_scorers:
        assert_close(other[name], wanted[name], atol=1e-5, name=name)


RESCORE = """
import sys
sys.modules["torch"] = None  # importing it is an error
import datadiet as dd
for name in sys.argv[2:]:
    dd.rescore(sys.argv[1], name, save_as=f"{name}_again")
"""


def test_rescoring_needs_neither_model_nor_data_nor_torch(two_seeds, tmp_path, gradient_scorers):
    run, scores, _ = two_seeds
    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints")
    command = [sys.executable, "-c", RESCORE, str(tmp_path / "run"), *gradient_scorers]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    again = dd.Scores.read(tmp_path / "run")
    for name in gradient_scorers:
        np.testing.assert_array_equal(again[f"{name}_again"], scores[name], err_msg=name)
        np.testing.assert_array_equal(again[f"{name}_again.std"], scores[f"{name}.std"], err_msg=name)
        assert {**again.meta["columns"][f"{name}_again"]} == scores.meta["columns"][name]


def test_rescoring_the_same_leaves_the_same_bytes(two_seeds, tmp_path, contents, gradient_scorers):
    shutil.copytree(two_seeds[0], tmp_path / "run")
    dd.rescore(tmp_path / "run", gradient_scorers)
    assert contents(tmp_path / "run") == contents(two_seeds[0])


def test_other_parameters_are_computed_from_the_same_vectors(two_seeds, tmp_path):
    run, scores, _ = two_seeds
    shutil.copytree(run, tmp_path / "run")
    again = dd.rescore(tmp_path / "run", "knn_shapley", params={"knn_shapley": {"k": 1}}, save_as="nearest")
    assert not np.array_equal(again["nearest"], scores["knn_shapley"])
    with pytest.raises(MissingSignal, match=r"in the pass projected_margin with dim=64.* at epoch 2 of seed 0"):
        dd.rescore(tmp_path / "run", "trak", params={"trak": {"dim": 64}}, save_as="short")


def test_epochs_that_were_not_recorded_are_named(tmp_path, score_small):
    score_small(tmp_path / "run", "grand")
    with pytest.raises(MissingSignal, match=r"in the pass grad at epoch 1 of seed 0 \(recorded epochs: \[2\]\)"):
        dd.rescore(tmp_path / "run", "self_influence")
    with pytest.raises(MissingSignal, match="vog"):
        dd.rescore(tmp_path / "run", "vog")


def test_the_checkpoints_of_a_run_are_read(two_seeds, tmp_path, assert_close, score_small):
    """The learning rates too, which the run has noted."""
    run, scores, _ = two_seeds
    given = score_small(tmp_path / "run", "vog,self_influence,knn_shapley", checkpoints=run)
    for name in ("vog", "knn_shapley"):
        np.testing.assert_array_equal(given[name], scores[name])
        np.testing.assert_array_equal(given[f"{name}.std"], scores[f"{name}.std"])
    assert_close(given["self_influence"], scores["self_influence"])
    assert given.meta["facts"]["lr"] == scores.meta["facts"]["lr"]
    assert not (tmp_path / "run/checkpoints").exists() and given.meta["facts"]["checkpoints"] == [1, 2]


def test_a_list_of_checkpoints_is_one_run(two_seeds, score_small):
    run, _, (alone, _) = two_seeds
    files = [run / f"checkpoints/seed-0/epoch-{epoch}.safetensors" for epoch in (1, 2)]
    given = score_small(None, "vog,self_influence", checkpoints=files)
    np.testing.assert_array_equal(given["vog"], alone["vog"])
    rates = score_small(None, "self_influence", checkpoints=files, params={"self_influence": {"lr": [1, 3]}})
    assert "vog.std" not in given.columns and not np.array_equal(rates["self_influence"], given["self_influence"])
    with pytest.raises(OptionError, match=r"grand reads one checkpoint, but 2 were given.*-p grand.at=1"):
        score_small(None, "grand", checkpoints=files)
    last = score_small(None, "grand", checkpoints=files, params={"grand": {"at": 2}})
    np.testing.assert_array_equal(last["grand"], score_small(None, "grand", checkpoints=files[1:])["grand"])


def test_seeds_with_other_checkpoints_are_refused_before_anything_is_written(two_seeds, tmp_path, score_small):
    run, _, _ = two_seeds
    files = [run / f"checkpoints/{name}.safetensors" for name in ("seed-0/epoch-1", "seed-0/epoch-2", "seed-1/epoch-2")]
    with pytest.raises(OptionError, match="seed"):
        score_small(tmp_path / "run", "self_influence", checkpoints=files)
    assert not (tmp_path / "run").exists()


def test_a_trained_module_is_measured_and_left_as_it_was(assert_close, other_digits, score_small, some_digits):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10)).train()
    model[1].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    scores = score_small(None, "grand,knn_shapley,self_influence,trak", model=model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(m.training for m in model.modules()) and all(p.grad is None for p in model.parameters())
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["1.weight"]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    data, held = some_digits(), other_digits()
    x, reference = (measure_normalisation(data)(part.take(np.arange(len(part)))) for part in (data, held))
    model.eval()
    assert_close(scores["grand"], dd.signals.grad_norms(model, x, torch.from_numpy(data.labels)).numpy())
    assert_close(scores["self_influence"], scores["grand"].astype(float) ** 2)
    with torch.no_grad():
        features = [model[:-1](part).numpy() for part in (x, reference)]
    assert_close(scores["knn_shapley"], plain.knn_shapley(features[0], data.labels, features[1], held.labels))


def test_the_seed_draws_the_labels_of_ekfac_for_a_trained_network():
    """Curvature under the model's own labels: other draws, other estimates, of the same order."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    data = dd.open_data("digits").subset(range(200))
    a, again, b = (
        dd.score(data, network, "ekfac_self_influence", seed=seed)["ekfac_self_influence"] for seed in (0, 0, 1)
    )
    assert np.array_equal(a, again) and not np.array_equal(a, b)
    assert np.corrcoef(a, b)[0, 1] > 0.6
