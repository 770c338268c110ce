"""Scorers that read gradients or features, by hand: the values of one run, its files and what they say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import datadiet as dd
from datadiet import scorers as plain
from datadiet.data import measure_normalisation, open_data
from datadiet.evaluate import flip_labels, mislabel_auc, recall_at
from datadiet.models import load_checkpoint, open_model
from datadiet.randomness import derive
from datadiet.scorers import SCORERS
from datadiet.scorers.vog import vog_spread
from datadiet.signals.gradients import KroneckerFactors, PerExample, Projector, projected

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def digits(tmp_path_factory, one_thread, gradient_scorers):
    """All ten scorers on digits: (run folder, scores)."""
    run = tmp_path_factory.mktemp("digits") / "run"
    options = {"epochs": 3, "recipe": {"batch_size": 256}, "reference": "10%", "params": {"trak": {"dim": 64}}}
    return run, dd.score("digits", "datadiet:mlp", gradient_scorers, out=run, **options)


@pytest.fixture(scope="module")
def by_hand(digits):
    """Network of an epoch; (inputs, labels) of the data; (inputs, labels) of the reference."""
    source, reference = open_data("digits").split_off(0.1, seed=0)
    scale = measure_normalisation(source)

    def at(epoch):
        net = open_model("datadiet:mlp", source.shape, 10).fresh(9)
        return load_checkpoint(net, digits[0] / f"checkpoints/seed-0/epoch-{epoch}.safetensors").eval()

    def prepared(part):
        return scale(part.take(np.arange(len(part)))), torch.from_numpy(part.labels.copy())

    return at, prepared(source), prepared(reference)


def test_every_scorer_gives_a_finite_column_with_an_orientation(digits, gradient_scorers, comparing_scorers):
    _, scores = digits
    assert list(scores.columns) == gradient_scorers and len(scores) == 1438 - 144
    for name in gradient_scorers:
        assert scores[name].dtype == np.float32 and np.isfinite(scores[name]).all(), name
        assert len(np.unique(scores[name])) > 100, name
        assert np.array_equal(scores.hardness(name), SCORERS[name].hardness * scores[name])
    for name in set(gradient_scorers) - set(comparing_scorers):
        assert scores[name].min() >= 0
    assert np.abs(scores["grad_cos"]).max() <= 1 + 1e-6
    assert np.array_equal(np.sign(scores["grad_dot"]), np.sign(scores["grad_cos"]))


def test_grand_is_the_gradient_norm_at_the_early_checkpoint(digits, by_hand, assert_close, mean_gradient):
    at, data, _ = by_hand
    assert_close(digits[1]["grand"], dd.signals.grad_norms(at(2), *data).numpy())
    first = [float(mean_gradient(at(2), data[0][i : i + 1], data[1][i : i + 1]).norm()) for i in range(20)]
    assert_close(digits[1]["grand"][:20], np.array(first))


def test_self_influence_weighs_the_checkpoints_by_their_learning_rates(digits, by_hand, assert_close):
    at, data, _ = by_hand
    rates = [e["lr"] for e in json.loads((digits[0] / "run.json").read_text())["train seed 0"]["history"]]
    norms = np.stack([dd.signals.grad_norms(at(epoch), *data).numpy() for epoch in (1, 2, 3)])
    assert len(set(rates)) == 3
    assert_close(digits[1]["self_influence"], np.average(norms.astype(float) ** 2, axis=0, weights=rates))


def test_vog_is_the_spread_of_the_input_gradients(digits, by_hand, assert_close):
    at, (x, y), _ = by_hand
    maps = []
    for epoch in (1, 2, 3):
        inputs = x[:50].clone().requires_grad_()
        at(epoch)(inputs)[range(50), y[:50]].sum().backward()
        maps.append(inputs.grad.mean(1).double())
    assert_close(digits[1]["vog"][:50], torch.stack(maps).std(0, correction=0).mean((1, 2)).numpy())


def test_grad_dot_and_grad_cos_are_those_of_explicit_gradients(digits, by_hand, assert_close, mean_gradient):
    at, (x, y), reference = by_hand
    net = at(3)
    along = mean_gradient(net, *reference)
    each = torch.stack([mean_gradient(net, x[i : i + 1], y[i : i + 1]) for i in range(0, 1294, 20)])
    assert_close(digits[1]["grad_dot"][::20], (each @ along).numpy())
    assert_close(digits[1]["grad_cos"][::20], (each @ along / each.norm(dim=1) / along.norm()).numpy())


def test_ekfac_self_influence_is_that_of_the_factors(digits, by_hand, assert_close):
    at, data, _ = by_hand
    draws = [torch.Generator().manual_seed(derive(0, "ekfac", stream)) for stream in ("factors", "eigenvalues")]
    factors = KroneckerFactors.collect(PerExample(at(3)), [data], draws[0])
    factors.collect_lambda([data], draws[1])
    assert_close(digits[1]["ekfac_self_influence"], factors.self_influence(*data).numpy(), atol=2e-5)


@pytest.mark.parametrize(("name", "loss", "dim"), [("trak", "margin", 64), ("datainf", "cross_entropy", 512)])
def test_projected_gradients_reach_trak_and_datainf(digits, by_hand, name, loss, dim, assert_close):
    at, data, reference = by_hand
    net = at(3)
    both = [projected(PerExample(net, loss), Projector(dim), *part).numpy() for part in (data, reference)]
    p_true = net(data[0]).softmax(1)[range(len(data[1])), data[1]].detach().numpy()
    wanted = plain.trak(both[0], p_true, both[1]) if name == "trak" else plain.datainf(*both)
    assert_close(digits[1][name], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["influence", "knn_shapley"])
def test_features_reach_influence_and_knn_shapley(digits, by_hand, name, assert_close):
    at, *parts = by_hand
    with torch.no_grad():
        given = [array.numpy() for x, y in parts for array in (at(3)[:-1](x), y)]
    assert_close(digits[1][name], getattr(plain, name)(*given), rtol=1e-4, atol=1e-5)


def test_wrong_labels_stand_at_the_end_where_the_orientation_puts_them(comparing_scorers, gradient_scorers):
    """With nothing set: own influence is large for a wrong label, influence on the right labels of others negative."""
    source = open_data("digits")
    noisy, flipped = flip_labels(source.labels, 0.1, 10, seed=1)
    data = torch.utils.data.TensorDataset(source.take(np.arange(len(source))), torch.from_numpy(noisy))
    names = [name for name in gradient_scorers if name not in ("vog", "influence")]  # "influence" takes a second
    scores = dd.score(data, "datadiet:mlp", names, reference=open_data("digits", split="eval"))
    assert recall_at(scores.hardness("self_influence"), flipped, "10%") >= 0.75
    assert recall_at(scores.hardness("ekfac_self_influence"), flipped, "10%") >= 0.75
    for name in names:
        sign = -1 if name in comparing_scorers else 1
        assert mislabel_auc(sign * scores.hardness(name), flipped) > (0.65 if name == "trak" else 0.85), name


def test_parts_lie_under_the_name_of_their_pass(digits, written):
    run, scores = digits
    named = scores.meta["facts"]["reference"][:12]
    folders = {"/".join(Path(name).parts[:-1]) for name in written(run, "signals", "embeddings")}
    wanted = {f"signals/{name}/seed-0/epoch-3" for name in ("train", "grad", "vog@1-3", f"dots@{named}", "ekfac")}
    wanted |= {f"signals/{name}/seed-0/epoch-{e}" for name in ("train", "grad") for e in (1, 2)}
    wanted |= {"signals/eval/seed-0/epoch-3", "embeddings"}
    for name in ("features{}", "projected{}", "projected_margin{}@dim=64"):
        wanted |= {f"embeddings/{name.format(of)}/seed-0/epoch-3" for of in ("", f"@{named}")}
    assert folders == wanted
    features = np.load(run / "embeddings/features/seed-0/epoch-3/part-0-1294.npy")
    assert features.shape == (1294, 128) and features.dtype == np.float32
    margins = np.load(run / f"embeddings/projected_margin@{named}@dim=64/seed-0/epoch-3/part-0-144.npy")
    assert margins.shape == (144, 64) and margins.dtype == np.float32
    assert len(np.load(run / f"embeddings/reference-{named}.npy")) == 144
    assert {f"checkpoints/seed-0/epoch-{e}.safetensors" for e in (1, 2, 3)} == set(written(run, "checkpoints"))


def test_columns_say_what_was_read(digits):
    about = digits[1].meta["columns"]
    grad = {"signal": "grad_norm", "mode": "grad", "per_layer": False}
    of = {"of": "reference"}
    margin = {"signal": "projected_margin", "mode": "projected_margin", "epochs": [3, 3], "dim": 64}
    gradients = {"signal": "projected", "mode": "projected", "epochs": [3, 3], "dim": 512}
    features = {"signal": "features", "mode": "features", "epochs": [3, 3]}
    wanted = {
        "grand": [{**grad, "epochs": [2, 2]}],
        "vog": [{"signal": "input_grad_spread", "mode": "vog", "epochs": [1, 3]}],
        "self_influence": [{**grad, "epochs": [1, 3]}],
        "ekfac_self_influence": [{"signal": "ekfac", "mode": "ekfac", "epochs": [3, 3]}],
        "grad_dot": [{"signal": "grad_dot", "mode": "dots", "epochs": [3, 3]}],
        "grad_cos": [{"signal": "grad_cos", "mode": "dots", "epochs": [3, 3]}],
        "trak": [margin, {"signal": "p_true", "mode": "eval", "epochs": [3, 3]}, margin | of],
        "datainf": [gradients, gradients | of],
        "influence": [features, features | of],
        "knn_shapley": [features, features | of],
    }
    for name, needs in wanted.items():
        found = [{key: need[key] for key in asked} for asked, need in zip(needs, about[name]["needs"], strict=True)]
        assert found == needs, name
        assert about[name]["scorer"] == name and about[name]["seeds"] == [0] and about[name]["hardness"] == 1
    assert about["trak"]["params"] == {"l2": 0.01, "blocks": 1} and len(about["self_influence"]["params"]["lr"]) == 3
    assert digits[1].meta["plan"]["rows"] is not None  # those that were split off are not in it


def test_what_inspect_lists_has_the_vectors_too(digits):
    from datadiet.workflow.selecting.inspect import inspect

    recorded = inspect(digits[0])["recorded"]
    assert {"grad seed-0", "vog@1-3 seed-0"} <= set(recorded)
    assert recorded["features seed-0"]["bytes"] > 1294 * 128 * 4


def test_vog_of_some_of_the_checkpoints(tmp_path, score_small):
    run = tmp_path / "run"
    late = score_small(run, "vog", epochs=3, params={"vog": {"at": "2-3"}})
    assert late.meta["columns"]["vog"]["needs"][0]["epochs"] == [2, 3]
    files = [run / f"checkpoints/seed-0/epoch-{epoch}.safetensors" for epoch in (2, 3)]
    np.testing.assert_array_equal(late["vog"], score_small(None, "vog", checkpoints=files)["vog"])
    both = score_small(run, "vog", epochs=3, save_as="vog_all")
    assert not np.array_equal(both["vog_all"], late["vog"]) and np.array_equal(both["vog"], late["vog"])
    assert {"vog@1-3", "vog@2-3"} <= {path.name for path in (run / "signals").iterdir()}


def test_numpy_numbers_are_numbers_also_as_options_of_a_pass(score_small):
    both = [score_small(None, "datainf", params={"datainf": {"dim": dim}})["datainf"] for dim in (64, np.int64(64))]
    assert np.array_equal(*both) and not np.array_equal(both[0], score_small(None, "datainf")["datainf"])


def test_vog_within_classes_reads_the_labels(score_small, some_digits):
    scores, spread = (score_small(None, "vog", params={"vog": {"normalise": how}})["vog"] for how in ("class", "none"))
    np.testing.assert_array_equal(scores, vog_spread(spread, some_digits().labels, normalise="class"))
