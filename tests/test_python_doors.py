"""What people type first in Python: data in memory, what is shown, what behaves like what."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import datadiet as dd
from datadiet.errors import DataError, MissingSignal, OptionError
from datadiet.table.ids import Ids

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


# What each door takes, and what it says of other things.

MASKED = np.ma.masked_array(X, mask=X > 1)


@pytest.mark.parametrize(
    "data",
    [
        (X, Y.tolist()), (X, Y[:, None].tolist()), (X, list(np.where(Y, "yes", "no"))),
        (X.astype(">f8"), Y.astype(">i2")),
        pa.table({name: X[:, place] for place, name in enumerate("abcd")} | {"label": Y}),
    ],
)  # fmt: skip
def test_lists_of_labels_and_arrow_tables_are_data(data):
    assert np.array_equal(el2n(data), el2n((X, Y)))


def test_narrow_floats_are_data():
    narrow = torch.tensor(X).bfloat16()
    for y in (Y, torch.tensor(Y).bfloat16()):
        assert np.array_equal(el2n((narrow, y)), el2n((narrow.float().numpy(), Y)))


def test_intervals_are_classes_by_their_text():
    frame = pd.DataFrame(X, columns=list("abcd")).assign(label=pd.cut(X[:, 0], [-9, 0, 9]))
    assert dd.open_data(frame).class_names == ("(-9, 0]", "(0, 9]")
    assert np.array_equal(el2n(frame), el2n((X, Y)))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ((X, Y, Y), r"3 arrays of different shapes: give \(X, y\)"),
        ((MASKED, Y), "X of .* has .* masked entries"),
        ((X, np.ma.masked_array(Y, mask=Y)), "y of .* has .* masked entries"),
        ((X, np.array(5)), "give one label each"),
        ((X, pd.Series(pd.cut(X[:, 0], 3))), "cannot be read as one label"),
    ],
)
def test_other_tuples_are_one_sentence(data, words):
    with pytest.raises((DataError, OptionError), match=words) as caught:
        el2n(data)
    assert "\n" not in str(caught.value)


def not_data_sets():
    datasets = pytest.importorskip("datasets")
    stream = datasets.Dataset.from_dict({"x": X.tolist()}).to_iterable_dataset()
    return [
        stream,
        pd.DataFrame(X),
        pa.table({"x": X[:, 0]}),
        (x for x in X),
        {"x": X},
        (X, X[:, 0]),
        (X, list(X)),
        None,
        5,
    ]


def test_what_is_not_read_by_position_is_one_sentence():
    chosen = dd.select(X[:, 0], "top_k", keep=5, prefer="hardest")
    for given in not_data_sets():
        doors = [chosen.subset, dd.Indexed] + [chosen.apply] * (not isinstance(given, dict))
        for door in doors:
            with pytest.raises(OptionError, match="of type") as caught:
                door(given)
            assert "\n" not in str(caught.value)
    with pytest.raises(OptionError, match=r"df\.iloc\[selection\.indices\]"):
        chosen.apply(pd.DataFrame(X))
    with pytest.raises(OptionError, match=r"datasets\.Dataset, and this is of type list"):
        chosen.apply(list(X))


def test_ids_behave_as_a_list_of_str():
    wanted = ["a", "b", "c"]
    ids = Ids(wanted)
    assert list(ids[[]]) == [] and list(ids[[-1, 0]]) == ["c", "a"] and ids[np.array(-1)] == "c"
    assert list(ids[[True, False, True]]) == ["a", "c"] and list(ids[torch.tensor([1])]) == ["b"]
    for error, place in [(TypeError, "a"), (TypeError, 1.5), (TypeError, None), (IndexError, [3]), (IndexError, 3)]:
        with pytest.raises(error):
            ids[place]
    for same in (wanted, tuple(wanted), np.array(wanted), pd.Series(wanted), pa.array(wanted), Ids(wanted)):
        assert (ids == same) is True and (ids != same) is False
    for other in ("abc", None, 5, set(wanted), np.array(wanted[:2]), np.array(1.0), [1, 2, 3]):
        assert (ids == other) is False


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 1.5}, {"epochs": "a"}, {"epochs": True}, {"seeds": 1.5}, {"seed": "a"}, {"recipe": 5}, {"params": 5},
        {"params": {"el2n": 5}}, {"save_as": 5}, {"out": 5}, {"scorers": 5}, {"scorers": None}, {"scorers": b"el2n"},
        {"checkpoints": 5}, {"checkpoints": [b"x"]}, {"model": 5}, {"head": 5}, {"strip_prefix": 5}, {"device": 5},
    ],
)  # fmt: skip
def test_an_argument_of_another_type_is_one_sentence(options):
    (name,) = options
    with pytest.raises(OptionError, match=rf"^{name}=.*: give ") as caught:
        dd.score((X, Y), **{"model": "datadiet:mlp", **options})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"n": "a"}, {"n": 1.5}, {"dim": "a"}, {"method": 5}, {"params": 5}])
def test_a_plan_checks_its_arguments(options):
    (name,) = options
    with pytest.raises(OptionError, match=rf"^{name}=.*: give "):
        dd.plan(**{"n": 100, "dim": 4, "method": "top_k", "keep": 0.3, **options})


def test_numbers_of_numpy_and_devices_of_torch_are_arguments():
    given = {"epochs": np.int64(1), "seed": np.int32(0), "device": torch.device("cpu"), "recipe": {"lr": 0.1}}
    assert len(dd.score((X, Y), "datadiet:mlp", "el2n", **given)) == 60


@pytest.mark.parametrize("data", [X, (X,), pd.DataFrame(X), list(X)])
def test_data_in_memory_without_labels_says_how_to_give_them(data):
    with pytest.raises(DataError, match=r"has no labels.*give arrays \(X, y\) or items \(input, label\), or name"):
        el2n(data)


@pytest.mark.parametrize("scorer", ["grand", "moderate", "tdds", "self_influence"])
def test_missing_signals_say_what_to_call(scorer):
    recorder = dd.Recorder(n=60)
    for _ in range(2):
        recorder.update(np.arange(60), np.stack([X[:, 0], -X[:, 0]], 1), Y)
        recorder.end_epoch()
    with pytest.raises(MissingSignal, match=r"score the data with this scorer \(dd\.score, datadiet score\)"):
        dd.score(recorder.finish(), scorers=scorer)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ((X, Y), r"type tuple: say X\[selection.indices\], y\[selection.indices\]"),
        ((X, Y.tolist()), r"type tuple: say X\[selection.indices\]"),
        ("digits", "type str: give the data itself, or write what is kept with datadiet.export"),
        (3, "type int: examples are kept by position"),
    ],
)
def test_a_selection_of_other_things_says_what_to_do(data, words):
    selection = dd.select(np.arange(60.0), "random", keep=0.5)
    for verb in (selection.apply, selection.subset):
        with pytest.raises(OptionError, match=words):
            verb(data)


ODD_NAMES = ["a\nb\x1b[31m\u2028", "x" * 5000, "a, b", "été"]


def fits_a_screen(text):
    lines = text.split("\n")
    return max(map(len, lines)) <= 100 and len(lines) <= 30 and not set(text) & {"\x1b", "\u2028", "\r"}


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("more", [0, 40])
def test_odd_names_fit_a_screen(name, more):
    values = np.arange(6.0)
    columns = {f"{name}{i or ''}": values for i in range(more + 1)}
    scores = dd.Scores.from_arrays({**columns, "id": [f"{name}{i}" for i in range(6)]}, labels=[name, "b"] * 3)

    def method(scores, k):
        return np.arange(k)

    method.__name__ = name
    recorder = dd.Recorder(n=6)
    recorder.update(np.arange(6), np.stack([values, -values], 1), np.zeros(6, int))
    recorder.end_epoch()
    selection = dd.select(scores, method, keep=2, score=name)
    for shown in (scores, scores.ids, selection, recorder, recorder.finish(), dd.Indexed([name] * 99)):
        assert fits_a_screen(repr(shown)), repr(shown)[:200]
    assert repr(recorder) == "Recorder(6 examples, seed 0, after epoch 1)"


@pytest.mark.parametrize("name", ODD_NAMES)
def test_notes_and_warnings_are_one_line(tmp_path, caplog, name):
    labels = np.array([name, "b"] * 29 + ["c", "d"])
    scores = dd.Scores.from_arrays({"s": np.arange(60.0)}, labels=labels)
    dd.select(scores, "top_k", keep=1, prefer="hardest")
    frame = pd.DataFrame(X, columns=list("abcd")).assign(**{name: "text", "label": Y})
    el2n(frame)
    path = tmp_path / f"{name[:40]}.csv"
    path.write_text("s\n1\n2\n")
    dd.select(path, "random", keep=1)
    assert len(caplog.records) >= 3
    assert all("\n" not in note and "\x1b" not in note and len(note) < 600 for note in caplog.messages)
    path = path.with_suffix(".parquet")
    pq.write_table(pa.table({"index": [0, 1], "id": ["a", "b"], "s": [1.0, 2.0]}), path)
    with pytest.warns(UserWarning, match="has no description") as caught:
        dd.Scores.read(path)
    assert "\n" not in str(caught[0].message)
