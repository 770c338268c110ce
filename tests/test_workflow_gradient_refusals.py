"""Scorers that read gradients or features: options and data that are refused, and when."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import datadiet as dd
from datadiet.data import Source, open_data
from datadiet.data.batch import Batch
from datadiet.data.inputs import InputReader
from datadiet.errors import DataError, OptionError
from datadiet.signals.passes import Examples, Setup
from datadiet.signals.passes.gradients import naming
from datadiet.tasks import Classification
from datadiet.workflow.scoring.recording_worker import RecordingWorker

pytestmark = pytest.mark.usefixtures("one_thread")


def soft():
    """A network whose output is not that of its last linear layer."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Softmax(1))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scorers": "vog", "epochs": 1}, "vog compares checkpoints: give several"),
        ({"scorers": "vog", "params": {"vog": {"at": "2-2"}}}, "vog compares checkpoints: give several"),
        ({"scorers": "vog", "params": {"vog": {"at": "last"}}}, "vog compares checkpoints.*-p vog.at=every"),
        ({"scorers": "vog", "params": {"vog": {"at": "2-3"}}}, r"vog.at='2-3' is outside the 2 recorded epochs"),
        ({"scorers": "vog", "model": nn.Sequential(nn.Flatten(), nn.Linear(64, 10))}, "vog compares checkpoints"),
        ({"scorers": "vog", "params": {"vog": {"normalise": "classes"}}}, "choose 'none' or 'class'"),
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
        ({"scorers": "trak", "params": {"trak": {"l2": "small"}}}, "trak: l2='small': give a float"),
        ({"scorers": "knn_shapley", "params": {"knn_shapley": {"metric": "l1"}}}, "choose 'euclidean'"),
        ({"scorers": "influence", "params": {"influence": {"order": "third"}}}, "choose 'newton' or 'first'"),
        ({"fallback": "yes"}, "fallback='yes': give vmap"),
        ({"scorers": "knn_shapley", "reference": "0%"}, "reference='0%'"),
        ({"scorers": "knn_shapley", "reference": "some%"}, "reference='some%'"),
        ({"scorers": "knn_shapley", "reference": "0.1%"}, "holding out 0.001 of 120 examples leaves one part empty"),
        ({"scorers": "knn_shapley", "model": soft}, "name it with head="),
    ],
)  # fmt: skip
def test_bad_options_are_refused_before_anything_is_written(tmp_path, options, words, score_small):
    with pytest.raises(OptionError, match=words):
        score_small(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def broken(tmp_path_factory, some_digits, tiny):
    """60 inputs of numbers with names, of which 'n7' can be made worse; and weights to look at them with."""
    folder = tmp_path_factory.mktemp("broken")
    torch.manual_seed(0)
    for number in (1, 2):
        torch.save(tiny().state_dict(), folder / f"weights-{number}.pt")

    def make(value=None, named="n"):
        x = some_digits(0, 60).take(np.arange(60)).numpy().astype(np.float32) / 16
        x[7] = x[7] if value is None else value
        path = folder / f"{named}-{value}.npz"
        np.savez(path, x=x, y=some_digits(0, 60).labels, id=np.array([f"{named}{row}" for row in range(60)]))
        return open_data(f"npz:{path}", id="id")

    files = sorted(folder.glob("*.pt"))
    return make, {"checkpoints": files, "params": {}}


def test_an_input_that_is_no_number_is_named(broken, tmp_path, gradient_scorer, score_small):
    make, options = broken
    params = {"grand": {"at": 2}} if gradient_scorer == "grand" else {}
    options = {**options, "params": params, "reference": make(named="m")}
    with pytest.raises(DataError, match=r"'n7'.*missing or infinite"):
        score_small(tmp_path / "run", gradient_scorer, data=make(np.nan), **options)
    assert not (tmp_path / "run").exists()


def test_an_input_of_the_reference_that_is_no_number_is_named(broken, tmp_path, comparing_scorer, score_small):
    make, options = broken
    with pytest.raises(DataError, match=r"'n7'.*missing or infinite"):
        score_small(tmp_path / "run", comparing_scorer, data=make(named="m"), **options, reference=make(np.nan))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("place", ["data", "reference", "eval"])
def test_an_input_that_is_no_number_is_told_before_any_training(broken, tmp_path, monkeypatch, place, score_small):
    make, _ = broken
    monkeypatch.setattr(RecordingWorker, "_train", lambda *_: pytest.fail("it was trained"))
    given = {"data": make(named="k"), "reference": make(named="m"), "eval": make(named="o"), place: make(np.nan)}
    with pytest.raises(DataError, match=r"'n7'.*missing or infinite"):
        score_small(tmp_path / "run", "knn_shapley", **given)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("place", ["dataset", "eval"])
def test_training_alone_tells_of_such_an_input_before_it_begins(broken, tmp_path, place, tiny):
    make, _ = broken
    given = {"dataset": make(named="k"), "eval": make(named="o"), place: make(np.nan)}
    with pytest.raises(DataError, match=r"'n7'.*missing or infinite"):
        dd.train(model=tiny, epochs=1, out=tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


def test_inputs_that_memory_cannot_hold_are_checked_as_they_are_read(monkeypatch):
    """Looking through them first would read them all once more."""
    x = np.ones((40, 8, 8))
    x[33, 0, 5] = np.nan
    monkeypatch.setattr("datadiet.data.inputs.MEMORY_LIMIT", 0)
    read, take = [], InputReader.take
    monkeypatch.setattr(InputReader, "take", lambda self, index: read.extend(index) or take(self, index))
    source = open_data([(x[row], row % 10) for row in range(40)])
    source.look_through()
    assert not source.inputs.in_memory and read == []
    with pytest.raises(DataError, match=r"'33'.*missing or infinite"):
        source.take([32, 33])


def test_the_data_of_a_run_that_goes_on_are_not_looked_through_again(tmp_path, monkeypatch, other_digits, score_small):
    looked, look = [], Source.look_through
    monkeypatch.setattr(Source, "look_through", lambda self: looked.append(len(self)) or look(self))
    for _ in range(2):
        score_small(tmp_path / "run", "knn_shapley", eval=other_digits(60, 100))
    assert looked == [60, 120, 40, 60]  # reference, data and held-out data; then the reference, which may be another


@pytest.mark.parametrize("batch_size", [4, 20])  # in the second batch, and in the first
@pytest.mark.parametrize("name", ["grand", "grad_dot", "ekfac_self_influence", "datainf", "knn_shapley"])
def test_an_input_too_large_for_its_gradient_is_named(broken, tmp_path, name, batch_size, score_small, written):
    """The input is a number; what comes out of the network is none. One name for each kind of pass."""
    make, options = broken
    options = {**options, "params": {"grand": {"at": 2}} if name == "grand" else {}, "reference": make(named="m")}
    with pytest.raises(DataError, match=r"^(the gradient of|features is not finite for) the example 'n7'"):
        score_small(tmp_path / "run", name, data=make(3e38), recipe={"batch_size": batch_size}, **options)
    run = tmp_path / "run"
    if name == "grad_dot":  # what was made of the reference stays for a later call
        assert list(written(run)) == ["manifest.json", next(iter(written(run, "state/prepared/dots@")))]
    else:
        assert not run.exists()


def test_a_folder_that_was_there_and_a_run_that_was_begun_stay_when_the_data_are_bad(
    broken, tmp_path, monkeypatch, score_small, stamps, written
):
    make, options = broken
    options = {**options, "recipe": {"batch_size": 4}, "data": make(3e38)}
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="'n7'"):
        score_small(tmp_path / "empty", "self_influence", **options)
    assert not list((tmp_path / "empty").iterdir())
    monkeypatch.setattr("datadiet.workflow.scoring.recording.shard_rows", lambda *sizes: 4)
    with pytest.raises(DataError, match="'n7'"):
        score_small(tmp_path / "run", "self_influence", **options)
    parts = written(tmp_path / "run")
    assert "manifest.json" in parts and "signals/grad/seed-0/epoch-1/part-0-4.parquet" in parts
    before = stamps(tmp_path / "run")
    with pytest.raises(DataError, match="'n7'"):
        score_small(tmp_path / "run", "self_influence", **options)
    assert stamps(tmp_path / "run") == before


class Doubled(nn.Sequential):
    """3e38 becomes infinite at once, so that no weights make it finite."""

    def forward(self, x):
        return super().forward(2 * x)


@pytest.mark.parametrize("batch_size", [4, 20])
@pytest.mark.parametrize("name", ["grad_dot", "grad_cos", "datainf", "knn_shapley"])
def test_a_reference_too_large_for_its_gradient_is_named_and_the_training_serves_another(
    broken, tmp_path, name, batch_size, score_small, stamps, tiny
):
    make, _ = broken
    options = {"data": make(named="m"), "recipe": {"batch_size": batch_size}, "model": lambda: Doubled(*tiny())}
    with pytest.raises(DataError, match=r"^(the gradient of|features is not finite for) the example 'n7'"):
        score_small(tmp_path / "run", name, reference=make(3e38), **options)
    assert not (tmp_path / "run/scores.parquet").exists()
    trained = stamps(tmp_path / "run")
    scores = score_small(tmp_path / "run", name, reference=make(named="k"), **options)
    assert np.isfinite(scores[name]).all() and stamps(tmp_path / "run").items() >= trained.items()


def test_what_no_example_is_to_blame_for_is_told_as_it_is(tiny):
    """An error over the batches, where every gradient is finite."""
    x, y = torch.zeros(4, 1, 8, 8), torch.arange(4)
    examples = Examples(lambda: [Batch(x, y, torch.arange(4))], "row {}".format)
    setup = Setup([tiny().eval()], Classification(10), list, examples)
    with pytest.raises(DataError, match=r"^as it is$"), naming(setup, examples):
        raise DataError("as it is")
