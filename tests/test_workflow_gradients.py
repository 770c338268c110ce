"""Scorers that read gradients, features or reference data, end to end: values, files, resuming, refusing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn
from torch.nn import functional

import datadiet as dd
from datadiet import scorers as plain
from datadiet.data import Source, measure_normalisation, open_data
from datadiet.data.inputs import Inputs
from datadiet.errors import DataError, MissingSignal, OptionError
from datadiet.evaluate import flip_labels, mislabel_auc, recall_at
from datadiet.models import load_checkpoint, open_model
from datadiet.randomness import derive
from datadiet.runtime import shards
from datadiet.scorers import SCORERS, Need, ScorerSpec
from datadiet.signals.gradients import KroneckerFactors, PerExample, Projector, projected
from datadiet.signals.passes import Examples, Setup, start
from datadiet.workflow import recording
from datadiet.workflow.compute import rank_stability
from datadiet.workflow.job import open_job

ALONE = ["grand", "vog", "self_influence", "ekfac_self_influence"]
COMPARING = ["grad_dot", "grad_cos", "trak", "datainf", "influence", "knn_shapley"]
ALL = ALONE + COMPARING


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))


def some(lo=0, hi=120):
    return open_data("digits").subset(np.arange(lo, hi))


def others(lo=0, hi=60):
    """Digits that no training sees."""
    return open_data("digits", split="eval").subset(np.arange(lo, hi))


def score(out=None, scorers="grand", data=None, model=tiny, **options):
    """A small run; the scorers that compare get something to compare with."""
    trained = isinstance(model, nn.Module) or "checkpoints" in options
    names = scorers.split(",") if isinstance(scorers, str) else scorers
    compared = {"reference": others()} if set(map(str, names)) & set(COMPARING) else {}
    fixed = {"recipe": {"batch_size": 20}, "out": out, **({} if trained else {"epochs": 2}), **compared}
    return dd.score(some() if data is None else data, model, scorers, **{**fixed, **options})


def written(run, *below):
    """Relative name -> file; no more than what stands below some folders, if they are given."""
    found = (path for path in sorted(Path(run).rglob("*")) if path.is_file() and path.name != "run.json")
    names = {str(path.relative_to(run)): path for path in found}
    return {name: path for name, path in names.items() if not below or name.startswith(below)}


def contents(run, *below):
    return {name: path.read_bytes() for name, path in written(run, *below).items()}


def stamps(run):
    """When each part and each file of weights was written."""
    parts = {name: path for name, path in written(run).items() if "/seed-" in name}
    return {name: path.stat().st_mtime_ns for name, path in parts.items()}


def close(got, wanted, rtol=1e-5, atol=1e-6, name=""):
    """Within rtol, or within a share `atol` of the largest value where a sum nearly vanishes."""
    np.testing.assert_allclose(got, wanted, rtol=rtol, atol=atol * float(np.abs(wanted).max()), err_msg=name)


# Values: one run of digits, and the same by hand from its checkpoints.


@pytest.fixture(scope="module")
def digits(tmp_path_factory, one_thread):
    """All ten scorers on digits: (run folder, scores)."""
    run = tmp_path_factory.mktemp("digits") / "run"
    options = {"epochs": 3, "recipe": {"batch_size": 256}, "reference": "10%", "params": {"trak": {"dim": 64}}}
    return run, dd.score("digits", "datadiet:mlp", ALL, out=run, **options)


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


def gradient(net, x, y):
    """The mean loss gradient of examples, as one vector, by plain autograd."""
    found = torch.autograd.grad(functional.cross_entropy(net(x), y), list(net.parameters()))
    return torch.cat([part.flatten() for part in found]).double()


def test_every_scorer_gives_a_finite_column_with_an_orientation(digits):
    _, scores = digits
    assert list(scores.columns) == ALL and len(scores) == 1438 - 144
    for name in ALL:
        assert scores[name].dtype == np.float32 and np.isfinite(scores[name]).all(), name
        assert len(np.unique(scores[name])) > 100, name
        assert np.array_equal(scores.hardness(name), SCORERS[name].hardness * scores[name])
    for name in ALONE:
        assert scores[name].min() >= 0
    assert np.abs(scores["grad_cos"]).max() <= 1 + 1e-6
    assert np.array_equal(np.sign(scores["grad_dot"]), np.sign(scores["grad_cos"]))


def test_grand_is_the_gradient_norm_at_the_early_checkpoint(digits, by_hand):
    at, data, _ = by_hand
    close(digits[1]["grand"], dd.signals.grad_norms(at(2), *data).numpy())
    first = [float(gradient(at(2), data[0][i : i + 1], data[1][i : i + 1]).norm()) for i in range(20)]
    close(digits[1]["grand"][:20], np.array(first))


def test_self_influence_weighs_the_checkpoints_by_their_learning_rates(digits, by_hand):
    at, data, _ = by_hand
    rates = [e["lr"] for e in json.loads((digits[0] / "run.json").read_text())["train seed 0"]["history"]]
    norms = np.stack([dd.signals.grad_norms(at(epoch), *data).numpy() for epoch in (1, 2, 3)])
    assert len(set(rates)) == 3
    close(digits[1]["self_influence"], np.average(norms.astype(float) ** 2, axis=0, weights=rates))


def test_vog_is_the_spread_of_the_input_gradients(digits, by_hand):
    at, (x, y), _ = by_hand
    maps = []
    for epoch in (1, 2, 3):
        inputs = x[:50].clone().requires_grad_()
        at(epoch)(inputs)[range(50), y[:50]].sum().backward()
        maps.append(inputs.grad.mean(1).double())
    close(digits[1]["vog"][:50], torch.stack(maps).std(0, correction=0).mean((1, 2)).numpy())


def test_grad_dot_and_grad_cos_are_those_of_explicit_gradients(digits, by_hand):
    at, (x, y), reference = by_hand
    net = at(3)
    along = gradient(net, *reference)
    each = torch.stack([gradient(net, x[i : i + 1], y[i : i + 1]) for i in range(0, 1294, 20)])
    close(digits[1]["grad_dot"][::20], (each @ along).numpy())
    close(digits[1]["grad_cos"][::20], (each @ along / each.norm(dim=1) / along.norm()).numpy())


def test_ekfac_self_influence_is_that_of_the_factors(digits, by_hand):
    at, data, _ = by_hand
    draws = [torch.Generator().manual_seed(derive(0, "ekfac", stream)) for stream in ("factors", "eigenvalues")]
    factors = KroneckerFactors.collect(PerExample(at(3)), [data], draws[0])
    factors.collect_lambda([data], draws[1])
    close(digits[1]["ekfac_self_influence"], factors.self_influence(*data).numpy(), atol=2e-5)


@pytest.mark.parametrize(("name", "loss", "dim"), [("trak", "margin", 64), ("datainf", "cross_entropy", 512)])
def test_projected_gradients_reach_trak_and_datainf(digits, by_hand, name, loss, dim):
    at, data, reference = by_hand
    net = at(3)
    both = [projected(PerExample(net, loss), Projector(dim), *part).numpy() for part in (data, reference)]
    p_true = net(data[0]).softmax(1)[range(len(data[1])), data[1]].detach().numpy()
    wanted = plain.trak(both[0], p_true, both[1]) if name == "trak" else plain.datainf(*both)
    close(digits[1][name], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["influence", "knn_shapley"])
def test_features_reach_influence_and_knn_shapley(digits, by_hand, name):
    at, *parts = by_hand
    with torch.no_grad():
        given = [array.numpy() for x, y in parts for array in (at(3)[:-1](x), y)]
    close(digits[1][name], getattr(plain, name)(*given), rtol=1e-4, atol=1e-5)


def test_wrong_labels_stand_at_the_end_where_the_orientation_puts_them():
    """With nothing set: own influence is large for a wrong label, influence on the right labels of others negative."""
    source = open_data("digits")
    noisy, flipped = flip_labels(source.labels, 0.1, 10, seed=1)
    data = torch.utils.data.TensorDataset(source.take(np.arange(len(source))), torch.from_numpy(noisy))
    names = [name for name in ALL if name not in ("vog", "influence")]  # "influence" takes a second
    scores = dd.score(data, "datadiet:mlp", names, reference=open_data("digits", split="eval"))
    assert recall_at(scores.hardness("self_influence"), flipped, "10%") >= 0.75
    assert recall_at(scores.hardness("ekfac_self_influence"), flipped, "10%") >= 0.75
    for name in names:
        sign = -1 if name in COMPARING else 1
        assert mislabel_auc(sign * scores.hardness(name), flipped) > (0.65 if name == "trak" else 0.85), name


# Files and descriptions.


def test_parts_lie_under_the_name_of_their_pass(digits):
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
    from datadiet.workflow.inspecting import inspect

    recorded = inspect(digits[0])["recorded"]
    assert {"grad seed-0", "vog@1-3 seed-0"} <= set(recorded)
    assert recorded["features seed-0"]["bytes"] > 1294 * 128 * 4


def test_the_reference_share_is_apart_from_training_and_evaluation():
    job = open_job("digits", tiny, eval="10%", reference="10%")
    parts = [part.source.index for part in (job.feed, job.held_out, job.reference)]
    assert [len(part) for part in parts] == [1165, 144, 129]
    assert sorted(np.concatenate(parts)) == list(range(1438))
    assert [len(np.unique(part.source.labels)) for part in (job.held_out, job.reference)] == [10, 10]


# Several seeds.


@pytest.fixture(scope="module")
def two_seeds(tmp_path_factory, one_thread):
    """(run folder, scores) of two seeds, and the scores of each seed alone."""
    run = tmp_path_factory.mktemp("seeds") / "run"
    return run, score(run, ALL, seeds=2), [score(None, ALL, seed=seed) for seed in (0, 1)]


def test_seeds_give_means_spreads_and_their_agreement(two_seeds):
    run, both, single = two_seeds
    agreement = json.loads((run / "manifest.json").read_text())["stability"]
    assert set(both.names) == set(agreement) == set(ALL) and set(both.columns) == {*ALL, *(f"{n}.std" for n in ALL)}
    for name in ALL:
        each = np.stack([scores[name] for scores in single])
        assert not np.array_equal(each[0], each[1])
        close(both[f"{name}.std"], each.std(axis=0, ddof=1), rtol=1e-3, atol=1e-5, name=name)
        assert agreement[name] == rank_stability(each)
        if name != "trak":
            close(both[name], each.mean(axis=0), rtol=1e-4, name=name)
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


def test_several_epochs_are_several_networks(tmp_path):
    """For scorers of vectors; those of one network at a time are averaged."""
    run = tmp_path / "run"
    names = ["knn_shapley", "datainf"]
    both = score(run, names, params={name: {"at": "1-2"} for name in names})
    each = [score(None, names, params={name: {"at": epoch} for name in names}) for epoch in (1, 2)]
    for name in names:
        close(both[name], (each[0][name] + each[1][name]) / 2, rtol=1e-4, name=name)
        assert both.meta["columns"][name]["needs"][0]["epochs"] == [1, 2]


# Rescoring.


RESCORE = """
import sys
sys.modules["torch"] = None  # importing it is an error
import datadiet as dd
for name in sys.argv[2:]:
    dd.rescore(sys.argv[1], name, column=f"{name}_again")
"""


def test_rescoring_needs_neither_model_nor_data_nor_torch(two_seeds, tmp_path):
    run, scores, _ = two_seeds
    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints")
    command = [sys.executable, "-c", RESCORE, str(tmp_path / "run"), *ALL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    again = dd.Scores.read(tmp_path / "run")
    for name in ALL:
        np.testing.assert_array_equal(again[f"{name}_again"], scores[name], err_msg=name)
        np.testing.assert_array_equal(again[f"{name}_again.std"], scores[f"{name}.std"], err_msg=name)
        assert {**again.meta["columns"][f"{name}_again"]} == scores.meta["columns"][name]


def test_rescoring_the_same_leaves_the_same_bytes(two_seeds, tmp_path):
    shutil.copytree(two_seeds[0], tmp_path / "run")
    dd.rescore(tmp_path / "run", ALL)
    assert contents(tmp_path / "run") == contents(two_seeds[0])


def test_other_parameters_are_computed_from_the_same_vectors(two_seeds, tmp_path):
    run, scores, _ = two_seeds
    shutil.copytree(run, tmp_path / "run")
    again = dd.rescore(tmp_path / "run", "knn_shapley", params={"knn_shapley": {"k": 1}}, column="nearest")
    assert not np.array_equal(again["nearest"], scores["knn_shapley"])
    with pytest.raises(MissingSignal, match=r"in the pass projected_margin with dim=64.* at epoch 2 of seed 0"):
        dd.rescore(tmp_path / "run", "trak", params={"trak": {"dim": 64}}, column="short")


def test_epochs_that_were_not_recorded_are_named(tmp_path):
    score(tmp_path / "run", "grand")
    with pytest.raises(MissingSignal, match=r"in the pass grad at epoch 1 of seed 0 \(there is \[2\]\)"):
        dd.rescore(tmp_path / "run", "self_influence")
    with pytest.raises(MissingSignal, match="vog"):
        dd.rescore(tmp_path / "run", "vog")


@pytest.mark.parametrize("name", COMPARING)
def test_the_data_never_stand_in_for_a_reference_that_is_forgotten(tmp_path, name):
    """A further scorer without reference must not make rescoring compare the training data with themselves."""
    run = tmp_path / "run"
    first = score(run, name)
    score(run, "el2n")
    try:
        again = dd.rescore(run, name, column="again")
    except OptionError:
        return  # to say that it is missing would be right too
    np.testing.assert_array_equal(again["again"], first[name])


def test_the_data_never_stand_in_for_a_reference_that_was_not_reached(tmp_path, monkeypatch):
    run = tmp_path / "run"
    score(run, "el2n")
    with monkeypatch.context() as patch:
        patch.setattr(recording, "start", stopping_at(4))
        with pytest.raises(KeyboardInterrupt):
            score(run, "datainf,trak", params={"trak": {"dim": 64}})
    with pytest.raises(OptionError):
        dd.rescore(run, "datainf")


def stopping_at(number):
    """A `start` that is interrupted when it is called for that time."""
    called = []

    def counted(name, setup):
        called.append(name)
        if len(called) == number:
            raise KeyboardInterrupt
        return start(name, setup)

    return counted


# Interrupted, and going on.


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(recording, "shards", lambda n: shards(n, 40))


def test_killed_after_every_second_part_it_goes_on_to_the_same_bytes(tmp_path, monkeypatch, small_parts):
    wanted = score(tmp_path / "whole", ALL)
    rename, left, kills = os.replace, 0, 0

    def watched(temporary, target):
        nonlocal left
        if Path(target).name.startswith("part-"):
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
        rename(temporary, target)

    monkeypatch.setattr(os, "replace", watched)
    while kills < 50:
        left = 2
        try:
            again = score(tmp_path / "run", ALL)
            break
        except KeyboardInterrupt:
            kills += 1
    parts = [name for name in written(tmp_path / "whole") if "/part-" in name]
    assert len(parts) == 2 + 3 * 9 + 2 * 3 and kills == (len(parts) - 1) // 2
    assert again.meta == wanted.meta
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


@pytest.mark.parametrize("where", ["measured", "_keep_reference", "compute_scores", "RunFolder.write_vectors"])
def test_stopped_between_two_steps_it_goes_on(tmp_path, monkeypatch, small_parts, where):
    import datadiet.workflow.scoring as scoring

    def stop(*args, **options):
        raise KeyboardInterrupt

    module = recording if where == "measured" else scoring
    score(tmp_path / "whole", "knn_shapley,grad_dot")
    with monkeypatch.context() as patch:
        patch.setattr(f"{module.__name__}.{where}", stop)
        with pytest.raises(KeyboardInterrupt):
            score(tmp_path / "run", "knn_shapley,grad_dot")
    assert not (tmp_path / "run/scores.parquet").exists() and not list(tmp_path.rglob("*.tmp"))
    score(tmp_path / "run", "knn_shapley,grad_dot")
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_half_a_reference_is_not_taken_for_the_whole(tmp_path, monkeypatch, small_parts):
    """Its size is not that of the data, so nothing but the run knows it."""
    run = tmp_path / "run"
    score(run, "knn_shapley")
    write, done = recording.RunFolder.write_vectors, []

    def once(folder, path, values):
        if "projected@" in str(path):
            done.append(path)
        if len(done) == 2:
            raise KeyboardInterrupt
        write(folder, path, values)

    with monkeypatch.context() as patch:
        patch.setattr(recording.RunFolder, "write_vectors", once)
        with pytest.raises(KeyboardInterrupt):
            score(run, "datainf")
    with pytest.raises((DataError, OptionError)):
        dd.rescore(run, "datainf")
    assert np.array_equal(score(run, "datainf")["datainf"], score(None, "datainf")["datainf"])


def test_parts_do_not_change_the_values(two_seeds, small_parts):
    _, _, (whole, _) = two_seeds
    cut = score(None, ALL)
    for name in ALL:
        close(cut[name], whole[name], name=name)


# Adding to a run.


@pytest.fixture
def started(monkeypatch):
    """The passes that were made, in order."""
    names = []
    monkeypatch.setattr(recording, "start", lambda name, setup: names.append(name) or start(name, setup))
    return names


def test_further_scorers_record_only_what_is_missing(tmp_path, started):
    run = tmp_path / "run"
    first = score(run, "self_influence,knn_shapley")
    assert started == ["grad", "grad", "features", "features"]
    before = stamps(run), contents(run, "signals", "embeddings", "checkpoints")
    started.clear()
    second = score(run, "grand,influence,grad_dot")
    assert started == ["dots"]
    assert all(np.array_equal(second[name], first[name]) for name in first.columns)
    started.clear()
    third = score(run, ALL)
    assert sorted(started) == sorted(["vog", "ekfac", *2 * ["projected_margin"], "eval", *2 * ["projected"]])
    assert stamps(run).items() >= before[0].items() and contents(run).items() >= before[1].items()
    started.clear()
    assert score(run, ALL).meta == third.meta and not started
    alone = score(None, ALL)
    assert all(np.array_equal(third[name], alone[name]) for name in ALL)


def test_epochs_whose_weights_were_not_kept_are_trained_again_to_the_same(tmp_path, started):
    run = tmp_path / "run"
    score(run, "el2n", epochs=3)
    before = contents(run, "signals", "checkpoints")
    assert not any("epoch-1" in name for name in written(run, "checkpoints"))
    both = score(run, "vog", epochs=3)
    assert started == ["eval", "vog"] and contents(run).items() >= before.items()
    assert np.array_equal(both["vog"], score(None, "vog", epochs=3)["vog"])


def test_another_reference_has_files_of_its_own(tmp_path):
    run = tmp_path / "run"
    for scorer in ("knn_shapley", "grad_dot"):
        first = score(run, scorer)
        before = contents(run, "signals", "embeddings")
        both = score(run, scorer, reference=others(60, 140), column=f"{scorer}_other")
        assert np.array_equal(both[scorer], first[scorer])
        alone = score(None, scorer, reference=others(60, 140))
        assert np.array_equal(both[f"{scorer}_other"], alone[scorer])
        assert not np.array_equal(alone[scorer], first[scorer])
        assert contents(run).items() >= before.items()
    assert len(list((run / "embeddings").glob("reference-*.npy"))) == 2


@pytest.mark.parametrize("name", COMPARING)
def test_another_reference_is_another_parameter(tmp_path, name):
    """The column of the first must not be replaced without a word by one that says the same of itself."""
    first = score(tmp_path / "run", name)
    with pytest.raises(OptionError, match=rf"'{name}' exists with other parameters.*--as NAME"):
        score(tmp_path / "run", name, reference=others(60, 140))
    other = score(None, name, reference=others(60, 140))
    assert first.meta["columns"][name] != other.meta["columns"][name]


def test_the_labels_of_a_reference_are_known_by_name():
    """A reference of fewer classes numbers them otherwise."""
    held = others(0, 200)
    rows = np.flatnonzero(np.isin(held.labels, (3, 5, 8)))
    few = torch.utils.data.TensorDataset(held.take(rows), torch.from_numpy(held.labels[rows]))
    got, wanted = (score(None, "knn_shapley,influence,trak", reference=part) for part in (few, held.subset(rows)))
    assert all(np.array_equal(got[name], wanted[name]) for name in wanted.columns)


# Weights that are there already.


def test_the_checkpoints_of_a_run_are_read(two_seeds, tmp_path):
    """The learning rates too, which the run has noted."""
    run, scores, _ = two_seeds
    given = score(tmp_path / "run", "vog,self_influence,knn_shapley", checkpoints=run)
    for name in ("vog", "knn_shapley"):
        np.testing.assert_array_equal(given[name], scores[name])
        np.testing.assert_array_equal(given[f"{name}.std"], scores[f"{name}.std"])
    close(given["self_influence"], scores["self_influence"])
    assert given.meta["facts"]["lr"] == scores.meta["facts"]["lr"]
    assert not (tmp_path / "run/checkpoints").exists() and given.meta["facts"]["checkpoints"] == [1, 2]


def test_a_list_of_checkpoints_is_one_run(two_seeds):
    run, _, (alone, _) = two_seeds
    files = [run / f"checkpoints/seed-0/epoch-{epoch}.safetensors" for epoch in (1, 2)]
    given = score(None, "vog,self_influence", checkpoints=files)
    np.testing.assert_array_equal(given["vog"], alone["vog"])
    rates = score(None, "self_influence", checkpoints=files, params={"self_influence": {"lr": [1, 3]}})
    assert "vog.std" not in given.columns and not np.array_equal(rates["self_influence"], given["self_influence"])
    with pytest.raises(OptionError, match=r"grand reads one checkpoint and 2 were given.*-p grand.at=1"):
        score(None, "grand", checkpoints=files)
    last = score(None, "grand", checkpoints=files, params={"grand": {"at": 2}})
    np.testing.assert_array_equal(last["grand"], score(None, "grand", checkpoints=files[1:])["grand"])


def test_seeds_with_other_checkpoints_are_refused_before_anything_is_written(two_seeds, tmp_path):
    run, _, _ = two_seeds
    files = [run / f"checkpoints/{name}.safetensors" for name in ("seed-0/epoch-1", "seed-0/epoch-2", "seed-1/epoch-2")]
    with pytest.raises(OptionError, match="seed"):
        score(tmp_path / "run", "self_influence", checkpoints=files)
    assert not (tmp_path / "run").exists()


def test_a_trained_module_is_measured_and_left_as_it_was():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10)).train()
    model[1].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    scores = score(None, "grand,knn_shapley,self_influence,trak", model=model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(m.training for m in model.modules()) and all(p.grad is None for p in model.parameters())
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["1.weight"]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    x, reference = (measure_normalisation(some())(part.take(np.arange(len(part)))) for part in (some(), others()))
    model.eval()
    close(scores["grand"], dd.signals.grad_norms(model, x, torch.from_numpy(some().labels)).numpy())
    close(scores["self_influence"], scores["grand"].astype(float) ** 2)
    with torch.no_grad():
        features = [model[:-1](part).numpy() for part in (x, reference)]
    close(scores["knn_shapley"], plain.knn_shapley(features[0], some().labels, features[1], others().labels))


# Options.


def test_the_layers_add_up_to_the_whole():
    scores = score(None, "grand,self_influence", params={"grand": {"per_layer": True}})
    assert set(scores.names) == {"grand", "grand.1", "grand.3", "self_influence"}
    whole, *layers = (scores[name].astype(float) ** 2 for name in ("grand", "grand.1", "grand.3"))
    close(sum(layers), whole)
    np.testing.assert_array_equal(scores["grand"], score(None, "grand")["grand"])
    assert scores.meta["columns"]["grand.3"]["needs"][0]["per_layer"] is True
    assert scores.meta["columns"]["grand.3"]["hardness"] == 1


def test_layers_of_several_seeds_have_their_spread_and_can_be_rescored(tmp_path):
    run, options = tmp_path / "run", {"params": {"grand": {"per_layer": True}}}
    scores = score(run, "grand", seeds=2, **options)
    assert {"grand.1.std", "grand.3.std"} <= set(scores.columns) and "grand.3" in scores.meta["stability"]
    again = dd.rescore(run, "grand", column="again", **options)
    assert np.array_equal(again["again.3"], scores["grand.3"])
    whole = dd.Signals.open(run, 120).array("grad_norm", "grad@per_layer=True", [2])[0]
    close(scores["grand"], whole[:, 0].mean(axis=0))


class Shifted(nn.Module):
    """A network that holds a parameter itself, as vision transformers do."""

    def __init__(self):
        super().__init__()
        self.shift, self.flat, self.head = nn.Parameter(torch.zeros(10)), nn.Flatten(), nn.Linear(64, 10)

    def forward(self, x):
        return self.head(self.flat(x)) + self.shift


def test_parameters_of_the_network_itself_are_a_layer_and_not_the_whole():
    options = {"model": Shifted, "data": some(0, 40)}
    np.testing.assert_allclose(
        score(None, "grand", params={"grand": {"per_layer": True}}, **options)["grand"],
        score(None, "grand", **options)["grand"],
        rtol=1e-6,
    )


def test_vog_of_some_of_the_checkpoints(tmp_path):
    run = tmp_path / "run"
    late = score(run, "vog", epochs=3, params={"vog": {"at": "2-3"}})
    assert late.meta["columns"]["vog"]["needs"][0]["epochs"] == [2, 3]
    files = [run / f"checkpoints/seed-0/epoch-{epoch}.safetensors" for epoch in (2, 3)]
    np.testing.assert_array_equal(late["vog"], score(None, "vog", checkpoints=files)["vog"])
    both = score(run, "vog", epochs=3, column="vog_all")
    assert not np.array_equal(both["vog_all"], late["vog"]) and np.array_equal(both["vog"], late["vog"])
    assert {"vog@1-3", "vog@2-3"} <= {path.name for path in (run / "signals").iterdir()}


def test_numpy_numbers_are_numbers_also_as_options_of_a_pass():
    both = [score(None, "datainf", params={"datainf": {"dim": dim}})["datainf"] for dim in (64, np.int64(64))]
    assert np.array_equal(*both) and not np.array_equal(both[0], score(None, "datainf")["datainf"])


def test_vog_within_classes_reads_the_labels():
    scores, spread = (score(None, "vog", params={"vog": {"normalise": how}})["vog"] for how in ("class", "none"))
    np.testing.assert_array_equal(scores, plain.vog_spread(spread, some().labels, normalise="class"))


@pytest.mark.parametrize("batch_size", [32, 120])
def test_the_batch_size_of_the_recipe_does_not_matter_at_the_same_weights(two_seeds, batch_size):
    files = [two_seeds[0] / f"checkpoints/seed-0/epoch-{epoch}.safetensors" for epoch in (1, 2)]
    options = {"checkpoints": files, "params": {"grand": {"at": 2}}}
    other = score(None, ALL, recipe={"batch_size": batch_size}, **options)
    wanted = score(None, ALL, recipe={"batch_size": 20}, **options)
    for name in ALL:
        close(other[name], wanted[name], atol=1e-5, name=name)


def test_a_need_of_outputs_on_the_reference_is_refused():
    """Only passes that give vectors run over it."""

    def against(loss, other):
        return loss - other.mean()

    spec = ScorerSpec(against, (Need("loss", "eval", "last"), Need("loss", "eval", "last", "reference")))
    with pytest.raises(OptionError, match="reads loss of the reference: only passes that give vectors"):
        score(None, [spec], model=tiny(), reference=others())


# Refusing.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scorers": "vog", "epochs": 1}, "vog compares checkpoints: give several"),
        ({"scorers": "vog", "params": {"vog": {"at": "2-2"}}}, "vog compares checkpoints: give several"),
        ({"scorers": "vog", "params": {"vog": {"at": "last"}}}, "vog compares checkpoints.*-p vog.at=every"),
        ({"scorers": "vog", "params": {"vog": {"at": "2-3"}}}, r"vog.at='2-3' is outside the 2 recorded epochs"),
        ({"scorers": "vog", "model": tiny()}, "vog compares checkpoints"),
        ({"scorers": "vog", "params": {"vog": {"normalise": "classes"}}}, "choose one of 'none', 'class'"),
        ({"scorers": "grad"}, "'grad' is not a scorer: did you mean.*'grand'"),
        ({"params": {"grand": {"per_layers": True}}}, "'per_layers' is not a parameter of grand: did you"),
        ({"params": {"grand": {"per_layer": "yes"}}}, "grand: per_layer='yes': give true or false"),
        ({"params": {"grand": {"per_layer": 1}}}, "grand: per_layer=1: give true or false"),
        ({"params": {"grand": {"dim": 64}}}, "'dim' is not a parameter of grand"),
        ({"params": {"grand": {"mode": "eval"}}}, "grand.mode='eval': it reads no outputs, leave it out"),
        ({"params": {"trak": {"dim": 64}}}, "parameters for trak, which is not among the scorers"),
        ({"scorers": "trak", "params": {"trak": {"dim": "64"}}}, "trak: dim='64': give a whole number"),
        ({"scorers": "trak", "params": {"trak": {"dim": 64.0}}}, "trak: dim=64.0: give a whole number"),
        ({"scorers": "trak", "params": {"trak": {"dim": 0}}}, "trak: dim=0: give at least 4"),
        ({"scorers": "trak", "params": {"trak": {"dim": 7}}}, "7.*such as 6"),
        ({"scorers": "trak", "params": {"trak": {"l2": "small"}}}, "trak: l2='small' is no float"),
        ({"scorers": "knn_shapley", "params": {"knn_shapley": {"metric": "l1"}}}, "choose one of 'euclidean'"),
        ({"scorers": "influence", "params": {"influence": {"order": "third"}}}, "choose one of 'newton', 'first'"),
        ({"fallback": "yes"}, "fallback='yes': give vmap"),
        ({"scorers": "knn_shapley", "reference": "0%"}, "reference='0%'"),
        ({"scorers": "knn_shapley", "reference": "some%"}, "reference='some%'"),
        ({"scorers": "knn_shapley", "reference": "0.1%"}, "holding out 0.001 of 120 examples leaves one part empty"),
        ({"scorers": "knn_shapley", "model": lambda: nn.Sequential(tiny(), nn.Softmax(1))}, "name it with head="),
    ],
)  # fmt: skip
def test_bad_options_are_refused_before_anything_is_written(tmp_path, options, words):
    with pytest.raises(OptionError, match=words):
        score(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", COMPARING)
def test_a_missing_reference_is_one_sentence_and_nothing_is_written(tmp_path, name):
    with pytest.raises(OptionError, match=rf"^{name} compares with reference examples: .* \(--reference DATA,") as no:
        score(tmp_path / "run", f"grand,{name}", reference=None)
    assert "\n" not in str(no.value) and not (tmp_path / "run").exists()


def labelled(n, shape=(1, 8, 8), classes=3):
    rng = np.random.default_rng(0)
    return rng.integers(0, 17, (n, *shape), dtype=np.uint8), np.arange(n) % classes


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: some(), "digits is also the training data: name other data, its split .--reference-split., or"),
        (lambda: labelled(24, classes=11), "has the class '10', which is not among"),
        (lambda: labelled(24, (1, 9, 9)), r"inputs of shape \(1, 9, 9\).*they must be the same"),
        (lambda: labelled(24, (64,)), r"inputs of shape \(64,\).*they must be the same"),
        (lambda: (labelled(24)[0],), "has no labels"),
        (lambda: labelled(0), "no examples"),
    ],
)
def test_a_reference_that_cannot_be_compared_with(tmp_path, make, words):
    reference = make()
    if isinstance(reference, tuple):
        np.savez(tmp_path / "a.npz", **dict(zip("xy", reference, strict=False)))
        reference = f"npz:{tmp_path}/a.npz"
    with pytest.raises(DataError, match=words):
        score(tmp_path / "run", "knn_shapley", reference=reference)
    assert not (tmp_path / "run").exists()


def test_recorded_signals_have_no_gradients_and_no_reference():
    rec = dd.Recorder(4)
    rec.update(range(4), torch.eye(4), torch.arange(4))
    rec.end_epoch()
    for name in ALL:
        with pytest.raises(MissingSignal, match="run datadiet score with this scorer"):
            dd.score(rec.finish(), scorers=name)
    with pytest.raises(OptionError, match="recorded signals need no model, data or training"):
        dd.score(rec.finish(), scorers="aum", reference="10%")


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """60 inputs of numbers with names, of which 'n7' can be made worse; and weights to look at them with."""
    folder = tmp_path_factory.mktemp("broken")
    torch.manual_seed(0)
    for number in (1, 2):
        torch.save(tiny().state_dict(), folder / f"weights-{number}.pt")

    def make(value=None, named="n"):
        x = some(0, 60).take(np.arange(60)).numpy().astype(np.float32) / 16
        x[7] = x[7] if value is None else value
        path = folder / f"{named}-{value}.npz"
        np.savez(path, x=x, y=some(0, 60).labels, id=np.array([f"{named}{row}" for row in range(60)]))
        return open_data(f"npz:{path}", id="id")

    files = sorted(folder.glob("*.pt"))
    return make, {"checkpoints": files, "params": {}}


@pytest.mark.parametrize(("name", "place"), [*((n, "data") for n in ALL), *((n, "reference") for n in COMPARING)])
def test_an_input_that_is_no_number_is_named(broken, tmp_path, name, place):
    make, options = broken
    data, other = (make(np.nan), make(named="m")) if place == "data" else (make(named="m"), make(np.nan))
    params = {"grand": {"at": 2}} if name == "grand" else {}
    with pytest.raises(DataError, match=r"'n7'.*missing or infinite"):
        score(tmp_path / "run", name, data=data, **{**options, "params": params, "reference": other})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("place", ["data", "reference", "eval"])
def test_an_input_that_is_no_number_is_told_before_any_training(broken, tmp_path, monkeypatch, place):
    make, _ = broken
    monkeypatch.setattr(recording.Recording, "train", lambda *_: pytest.fail("it was trained"))
    given = {"data": make(named="k"), "reference": make(named="m"), "eval": make(named="o"), place: make(np.nan)}
    with pytest.raises(DataError, match=r"'n7'.*missing or infinite"):
        score(tmp_path / "run", "knn_shapley", **given)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("place", ["dataset", "eval"])
def test_training_alone_tells_of_such_an_input_before_it_begins(broken, tmp_path, place):
    make, _ = broken
    given = {"dataset": make(named="k"), "eval": make(named="o"), place: make(np.nan)}
    with pytest.raises(DataError, match=r"'n7'.*missing or infinite"):
        dd.train(model=tiny, epochs=1, out=tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


def test_inputs_that_memory_cannot_hold_are_checked_as_they_are_read(tmp_path, monkeypatch):
    """Looking through them first would read them all once more."""
    x = np.ones((40, 64))
    x[33, 5] = np.nan
    table = pa.table({"x": list(x), "label": np.arange(40) % 10, "id": [f"n{row}" for row in range(40)]})
    pq.write_table(table, tmp_path / "a.parquet")
    monkeypatch.setattr("datadiet.data.inputs.MEMORY_LIMIT", 0)
    read, take = [], Inputs.take
    monkeypatch.setattr(Inputs, "take", lambda self, index: read.extend(index) or take(self, index))
    source = open_data(f"parquet:{tmp_path}/a.parquet", id="id")
    source.look_through()
    assert not source.inputs.in_memory and read == []
    with pytest.raises(DataError, match=r"'n33'.*missing or infinite"):
        source.take([32, 33])


def test_the_data_of_a_run_that_goes_on_are_not_looked_through_again(tmp_path, monkeypatch):
    looked, look = [], Source.look_through
    monkeypatch.setattr(Source, "look_through", lambda self: looked.append(len(self)) or look(self))
    for _ in range(2):
        score(tmp_path / "run", "knn_shapley", eval=others(60, 100))
    assert looked == [60, 120, 40, 60]  # reference, data and held-out data; then the reference, which may be another


@pytest.mark.parametrize("batch_size", [4, 20])  # in the second batch, and in the first
@pytest.mark.parametrize("name", ["grand", "grad_dot", "ekfac_self_influence", "datainf", "knn_shapley"])
def test_an_input_too_large_for_its_gradient_is_named(broken, tmp_path, name, batch_size):
    """The input is a number; what comes out of the network is none. One name for each kind of pass."""
    make, options = broken
    options = {**options, "params": {"grand": {"at": 2}} if name == "grand" else {}, "reference": make(named="m")}
    with pytest.raises(DataError, match=r"^(the gradient of|features is not finite for) the example 'n7'"):
        score(tmp_path / "run", name, data=make(3e38), recipe={"batch_size": batch_size}, **options)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_was_there_and_a_run_that_was_begun_stay_when_the_data_are_bad(broken, tmp_path, monkeypatch):
    make, options = broken
    options = {**options, "recipe": {"batch_size": 4}, "data": make(3e38)}
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="'n7'"):
        score(tmp_path / "empty", "self_influence", **options)
    assert not list((tmp_path / "empty").iterdir())
    monkeypatch.setattr(recording, "shards", lambda n: shards(n, 4))
    with pytest.raises(DataError, match="'n7'"):
        score(tmp_path / "run", "self_influence", **options)
    parts = written(tmp_path / "run")
    assert "manifest.json" in parts and "signals/grad/seed-0/epoch-1/part-0-4.parquet" in parts
    before = stamps(tmp_path / "run")
    with pytest.raises(DataError, match="'n7'"):
        score(tmp_path / "run", "self_influence", **options)
    assert stamps(tmp_path / "run") == before


class Doubled(nn.Sequential):
    """3e38 becomes infinite at once, so that no weights make it finite."""

    def forward(self, x):
        return super().forward(2 * x)


@pytest.mark.parametrize("batch_size", [4, 20])
@pytest.mark.parametrize("name", ["grad_dot", "grad_cos", "datainf", "knn_shapley"])
def test_a_reference_too_large_for_its_gradient_is_named_and_the_training_serves_another(
    broken, tmp_path, name, batch_size
):
    make, _ = broken
    options = {"data": make(named="m"), "recipe": {"batch_size": batch_size}, "model": lambda: Doubled(*tiny())}
    with pytest.raises(DataError, match=r"^(the gradient of|features is not finite for) the example 'n7'"):
        score(tmp_path / "run", name, reference=make(3e38), **options)
    assert not (tmp_path / "run/scores.parquet").exists()
    trained = stamps(tmp_path / "run")
    scores = score(tmp_path / "run", name, reference=make(named="k"), **options)
    assert np.isfinite(scores[name]).all() and stamps(tmp_path / "run").items() >= trained.items()


def test_what_no_example_is_to_blame_for_is_told_as_it_is():
    """An error over the batches, where every gradient is finite."""
    x, y = torch.zeros(4, 1, 8, 8), torch.arange(4)
    batches = Examples(lambda: [(x, y, torch.arange(4))], "row {}".format)
    with pytest.raises(DataError, match=r"^as it is$"), Setup([tiny().eval()], list, batches).naming(batches):
        raise DataError("as it is")


class Odd(nn.Module):
    """A layer that no rule knows: its weight comes in twice."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.full((16, 16), 0.1))

    def forward(self, x):
        return x @ (self.weight @ self.weight)


def unusual(layer):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), layer(), nn.ReLU(), nn.Linear(16, 10))


def odd():
    return unusual(Odd)


@pytest.mark.parametrize("name", ["grand", "ekfac_self_influence", "grad_dot", "trak"])
def test_a_layer_of_unknown_kind_is_refused_by_name_and_runs_with_the_fallback(tmp_path, name):
    """The folder keeps what was trained, so that the same command with the fallback goes on."""
    run = tmp_path / "run"
    with pytest.raises(OptionError, match=r'2 \(Odd\) is not known.*fallback="vmap" \(--fallback vmap\)'):
        score(run, name, model=odd)
    assert not (run / "scores.parquet").exists() and not list(run.rglob("part-*.npy"))
    trained = stamps(run)
    scores = score(run, name, model=odd, fallback="vmap")
    assert stamps(run).items() >= trained.items() and np.isfinite(scores[name]).all()
    if name == "grand":
        net, part = load_checkpoint(odd(), run / "checkpoints/seed-0/epoch-2.safetensors").eval(), some()
        x, y = measure_normalisation(part)(part.take(np.arange(120))), torch.from_numpy(part.labels)
        wanted = [float(gradient(net, x[i : i + 1], y[i : i + 1]).norm()) for i in range(20)]
        close(scores["grand"][:20], np.array(wanted))


class Twice(nn.Bilinear):
    """A layer of two inputs."""

    def __init__(self):
        super().__init__(16, 16, 16)


class Pairs(nn.Module):
    """A network with a layer of two inputs."""

    def __init__(self):
        super().__init__()
        self.flat, self.first, self.pair, self.head = nn.Flatten(), nn.Linear(64, 16), Twice(), nn.Linear(16, 10)

    def forward(self, x):
        h = self.first(self.flat(x))
        return self.head(self.pair(h, h.relu()))


class Recurrent(nn.Module):
    """A network with a layer whose output is no tensor."""

    def __init__(self):
        super().__init__()
        self.rows, self.head = nn.GRU(8, 16, batch_first=True), nn.Linear(16, 10)

    def forward(self, x):
        return self.head(self.rows(x[:, 0])[0][:, -1])


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_a_layer_of_two_inputs_is_run_with_the_module_around_it():
    assert np.isfinite(score(None, "grand", model=Pairs, fallback="vmap")["grand"]).all()


def test_a_layer_that_the_fallback_cannot_run_is_refused_by_name(tmp_path):
    with pytest.raises(OptionError, match=r"rows \(GRU\)") as refused:
        score(tmp_path / "run", "grand", model=Recurrent, fallback="vmap")
    assert "Pass fallback" not in str(refused.value)  # it was passed
    assert not (tmp_path / "run").exists()


def test_what_needs_no_gradient_per_parameter_takes_any_layer():
    assert np.isfinite(score(None, "vog,knn_shapley,influence", model=odd)["vog"]).all()


def by_batch_1d():
    return unusual(lambda: nn.BatchNorm1d(16, track_running_stats=False))


def by_batch_2d():
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), norm, nn.Flatten(), nn.Linear(144, 10))


@pytest.mark.parametrize("name", ["grand", "vog", "ekfac_self_influence", "grad_dot"])
@pytest.mark.parametrize("model", [by_batch_1d, by_batch_2d])
def test_batch_statistics_are_refused_by_name(tmp_path, name, model):
    """They mix the examples, so no example has a gradient of its own."""
    for fallback in (None, "vmap"):
        with pytest.raises(OptionError, match=r"2 .*normalises by the statistics of the batch"):
            score(tmp_path / "run", name, model=model, fallback=fallback, data=some(0, 60))
    assert not (tmp_path / "run/scores.parquet").exists() and not list((tmp_path / "run").rglob("part-*.npy"))


def test_batchnorm_with_running_statistics_is_an_ordinary_layer():
    scores = score(None, "grand,vog,grad_dot,datainf", model=lambda: unusual(lambda: nn.BatchNorm1d(16)))
    assert all(np.isfinite(scores[name]).all() for name in scores.names)
