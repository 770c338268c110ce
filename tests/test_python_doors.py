"""What people type first in Python: data in memory, what is shown, what behaves like what."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import datadiet as dd
from datadiet.errors import DataError, OptionError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)


def el2n(data):
    return dd.score(data, "datadiet:mlp", "el2n", epochs=1)["el2n"]


@pytest.mark.parametrize(
    "data",
    [
        (X, Y), (torch.tensor(X), torch.tensor(Y)), (X, Y[:, None]), (X, np.where(Y, "yes", "no")), (X.astype("f8"), Y),
        (pd.DataFrame(X), pd.Series(Y)), (pd.DataFrame(X), pd.Series(Y).astype("category")),
        pd.DataFrame(X, columns=list("abcd")).assign(label=Y),
        pd.DataFrame(X, columns=list("abcd")).assign(label=Y)[::-1][::-1],
    ],
)  # fmt: skip
def test_arrays_and_frames_are_data(data):
    assert np.array_equal(el2n(data), el2n((X, Y)))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ((X, Y[:5]), "give one label each"),
        (X, "has no labels"),
        ({"x": X}, "dict.*give a map-style data set, arrays"),
        (pd.DataFrame(X), "has no labels"),
        (pd.DataFrame({"a": [object(), 1]}), "cannot be read"),
        (iter([(X[0], 0)]), "only be read from front to back"),
        ((x for x in X), "only be read from front to back"),
        (3, "has no len"),
    ],
)
def test_other_things_are_one_sentence(data, words):
    with pytest.raises((DataError, OptionError), match=words) as caught:
        el2n(data)
    assert "\n" not in str(caught.value)


def test_streams_are_refused_with_what_to_do_instead():
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter([(X[0], 0)])

    with pytest.raises(OptionError, match=r"front to back.*store it as Parquet"):
        el2n(Stream())
    datasets = pytest.importorskip("datasets")
    stream = datasets.Dataset.from_dict({"x": X.tolist(), "label": Y.tolist()}).to_iterable_dataset()
    with pytest.raises(OptionError, match=r"front to back.*store it as Parquet"):
        el2n(stream)


def test_scores_and_selections_fit_a_screen():
    scores = dd.score("digits", "datadiet:mlp", "el2n,aum,forgetting", epochs=2)
    assert (
        repr(scores).startswith("Scores(1438 examples, 10 classes; columns: el2n, aum, forgetting")
        and len(repr(scores)) < 200
    )
    assert repr(dd.select(scores, "ccs", score="aum", keep=0.3)) == "Selection(431 of 1438 examples by ccs)"
    assert len(repr(dd.Scores.from_arrays({f"s{i}": np.zeros(3) for i in range(100)}))) < 200


def test_ids_are_a_sequence_of_str():
    ids = dd.score("digits", "datadiet:mlp", "el2n", epochs=1).ids
    assert (isinstance(ids[0], str) and ids[0] == "1") or ids[0].isdigit()
    assert ids[-1] == list(ids)[-1] and ids.index(ids[7]) == 7 and ids[7] in ids and "nobody" not in ids
    assert list(ids[2:5]) == [ids[2], ids[3], ids[4]] and ids[np.array([3, 1])] == [ids[3], ids[1]]
    assert len({*ids}) == len(ids) == 1438 and len(repr(ids)) < 100
    chosen = dd.select(dd.Scores.from_arrays(pd.DataFrame({"s": [1.0, 2.0], "id": ["a", "b"]})), "random", keep=1)
    assert list(chosen.ids) == ["a", "b"]


def test_a_data_set_dict_is_answered_with_its_splits():
    datasets = pytest.importorskip("datasets")
    part = datasets.Dataset.from_dict({"x": X.tolist(), "label": Y.tolist()})
    both = datasets.DatasetDict(train=part, test=part)
    chosen = dd.select(dd.Scores.from_arrays({"s": X[:, 0]}), "random", keep=5)
    with pytest.raises(OptionError, match=r"splits train, test: give the split.*dataset\['train'\]"):
        chosen.apply(both)
    assert len(chosen.apply(both["train"])) == 5


def test_hugging_face_folders_are_scored(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"x": X.tolist(), "label": Y.tolist()}).save_to_disk(str(tmp_path / "hf"))
    for spec in (f"hf:{tmp_path}/hf", str(tmp_path / "hf")):
        assert np.array_equal(el2n(spec), el2n((X, Y)))


def test_the_folder_of_an_embedding_is_data(tmp_path):
    scores = dd.score("digits", "datadiet:mlp", "el2n", epochs=2, out=tmp_path / "run")
    vectors = dd.embed("digits", "datadiet:mlp", checkpoint=tmp_path / "run", out=tmp_path / "vectors")
    source = dd.open_data(tmp_path / "vectors")
    assert source.shape == (vectors.shape[1],) and source.labels.tolist() == scores.labels.tolist()
    assert source.ids.to_pylist() == list(scores.ids)
    found = dd.score(tmp_path / "vectors", "datadiet:mlp", "el2n,prototypes", epochs=1)
    assert list(found.ids) == list(scores.ids) and np.isfinite(found["prototypes"]).all()
    with pytest.raises(OptionError, match="is a run without vectors"):
        dd.open_data(tmp_path / "run")


def test_columns_that_are_dropped_are_listed_once(tmp_path, caplog):
    frame = pd.DataFrame(X, columns=list("abcd")).assign(label=Y, note="text", day="2026-01-01")
    frame.to_csv(tmp_path / "d.csv", index=False)
    dd.open_data(tmp_path / "d.csv").take([0])
    assert caplog.text.count("not numbers, so not among the features: 'note', 'day'") == 1


def test_a_missing_signal_names_the_python_option(tmp_path):
    recorder = dd.Recorder(n=3)
    recorder.update([0, 1, 2], torch.eye(3), torch.arange(3))
    recorder.end_epoch()
    with pytest.raises(dd.MissingSignal, match=r"params=\{NAME: \{'mode': 'train'\}\}"):
        dd.score(recorder.finish(), scorers="el2n")


def test_a_folder_of_a_scoring_run_is_no_place_to_train(tmp_path):
    dd.score("digits", "datadiet:mlp", "el2n", epochs=1, out=tmp_path / "run")
    with pytest.raises(OptionError, match="holds a run of datadiet score, and this is datadiet train"):
        dd.train("digits", "datadiet:mlp", epochs=1, out=tmp_path / "run")
