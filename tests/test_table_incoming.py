"""Scores from elsewhere: every form of file and frame says which example a row is, or is taken in order with a note."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import datadiet as dd
from datadiet.errors import DataError, FingerprintMismatch, OptionError
from datadiet.files import read_parquet, write_parquet
from datadiet.table import Scores
from datadiet.table.frames import array_of
from datadiet.workflow.selecting.inspect import inspect

SCORE = [0.1, 0.9, 0.5, 0.7]  # the two hardest are 1 and 3
FRAME = pd.DataFrame({"s": SCORE})
SORTED = FRAME.sort_values("s", ascending=False)


def by_csv(path, frame, **options):
    frame.to_csv(path / "s.csv", **options)
    return path / "s.csv"


def by_parquet(path, frame, **options):
    frame.to_parquet(path / "s.parquet", **options)
    return path / "s.parquet"


def by_json(path, frame):
    (path / "s.json").write_text(json.dumps(frame.reset_index().to_dict(orient="list")))
    return path / "s.json"


def by_rows(path, frame):
    (path / "s.json").write_text(json.dumps(frame.reset_index().to_dict(orient="records")))
    return path / "s.json"


def by_npz(path, frame):
    np.savez(path / "s.npz", index=frame.index.to_numpy(), s=frame["s"].to_numpy())
    return path / "s.npz"


def as_frame(path, frame):
    return frame


def as_series(path, frame):
    return frame["s"]


def as_mapping(path, frame):
    return Scores.from_arrays(frame)


def as_polars(path, frame):
    polars = pytest.importorskip("polars")
    return Scores.from_arrays(polars.from_pandas(frame.reset_index()))


ROUTES = [by_csv, by_parquet, by_json, by_rows, by_npz, as_frame, as_series, as_mapping, as_polars]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("frame", [FRAME, SORTED, FRAME[::-1], FRAME.sample(frac=1, random_state=0)])
def test_a_sorted_frame_keeps_the_right_rows(tmp_path, route, frame, caplog):
    given = route(tmp_path, frame)
    assert dd.select(given, "top_k", keep=2, prefer="hardest").ranked.tolist() == [1, 3]
    assert "order of the data set" not in caplog.text


@pytest.mark.parametrize("name", ["index", "id"])
@pytest.mark.parametrize("route", [by_csv, by_parquet])
def test_a_named_index_is_heeded(tmp_path, route, name):
    frame = SORTED.rename_axis(index=name)
    scores = Scores.read(route(tmp_path, frame.reset_index(), index=False))
    if name == "index":
        assert scores["s"].tolist() == np.float32(SCORE).tolist()
    else:
        assert scores.ids.to_pylist() == ["1", "3", "2", "0"]


@pytest.mark.parametrize("route", [by_csv, by_parquet])
def test_without_an_index_one_note_says_that_rows_are_taken_in_order(tmp_path, route, caplog):
    scores = Scores.read(route(tmp_path, FRAME, index=False))
    assert scores["s"].tolist() == np.float32(SCORE).tolist()
    assert caplog.text.count("its rows are taken in the order of the data set") == 1


@pytest.mark.parametrize("route", [by_csv, by_parquet, as_mapping])
def test_an_index_that_does_not_number_the_rows_says_nothing(tmp_path, route):
    found = route(tmp_path, FRAME.set_axis([10, 20, 30, 40]))
    scores = found if isinstance(found, Scores) else Scores.read(found)
    assert scores["s"].tolist() == np.float32(SCORE).tolist()


@pytest.mark.parametrize("name", ["s.csv", "s.parquet", "s.json", "s.npz"])
@pytest.mark.parametrize("kind", ["with id", "without id"])
def test_a_parquet_file_is_read_as_the_same_csv_is(tmp_path, name, kind):
    """In any row order, with `index` and a score."""
    columns = {"index": [2, 0, 1], "s": [20.0, 0.0, 10.0]} | ({"id": ["c", "a", "b"]} if kind == "with id" else {})
    frame = pd.DataFrame(columns)
    {
        "s.csv": lambda p: frame.to_csv(p, index=False),
        "s.parquet": lambda p: frame.to_parquet(p, index=False),
        "s.json": lambda p: p.write_text(json.dumps(columns)),
        "s.npz": lambda p: np.savez(p, **columns),
    }[name](tmp_path / name)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        scores = Scores.read(tmp_path / name)
    assert scores["s"].tolist() == [0, 10, 20] and scores.index.tolist() == [0, 1, 2]
    assert kind == "without id" or scores.ids.to_pylist() == ["a", "b", "c"]


def test_our_own_file_in_another_row_order_is_read_right(tmp_path):
    path = dd.score("digits", "datadiet:mlp", "el2n", epochs=1).write(tmp_path / "s.parquet")
    before = Scores.read(path)
    frame = pd.read_parquet(path).sort_values("el2n")
    for index in (True, False):
        frame.to_parquet(path, index=index)
        after = Scores.read(path)
        assert np.array_equal(after["el2n"], before["el2n"]) and after.ids == before.ids
    chosen = dd.select(before, "top_k", keep=5, prefer="hardest")
    chosen.write(tmp_path / "c.parquet")
    pd.read_parquet(tmp_path / "c.parquet").sort_values("rank").to_parquet(tmp_path / "c.parquet")
    assert dd.Selection.read(tmp_path / "c.parquet").ranked.tolist() == chosen.ranked.tolist()


# Ids, where the data is at hand.


@pytest.fixture
def named(tmp_path):
    """Data with ids, and scores of it in another order that know only the ids."""
    x = np.arange(8.0).reshape(4, 2)
    np.savez(tmp_path / "d.npz", x=x, y=[0, 1, 0, 1], ids=["a", "b", "c", "d"])
    pd.DataFrame({"id": list("dbca"), "s": [0.7, 0.9, 0.5, 0.1]}).to_csv(tmp_path / "s.csv", index=False)
    return f"npz:{tmp_path}/d.npz", tmp_path / "s.csv"


def test_scores_that_know_only_ids_find_their_examples(named, tmp_path):
    data, path = named
    chosen = dd.select(path, "top_k", keep=2, prefer="hardest")
    chosen.write(tmp_path / "c.parquet")
    chosen = dd.Selection.read(tmp_path / "c.parquet")
    dd.export(chosen, data, "jsonl", tmp_path / "kept.jsonl")
    assert [json.loads(line)["id"] for line in (tmp_path / "kept.jsonl").read_text().splitlines()] == ["b", "d"]
    result = dd.train(data, "datadiet:mlp", chosen, epochs=1)
    assert result.kept == 2
    datasets = pytest.importorskip("datasets")
    hf = datasets.Dataset.from_dict({"id": list("abcd"), "x": [0.0, 1.0, 2.0, 3.0]})
    assert chosen.apply(hf)["id"] == ["b", "d"]


def test_ids_that_the_data_lacks_are_refused(named):
    data, path = named
    path.write_text(path.read_text().replace("b,", "z,"))
    with pytest.raises(FingerprintMismatch, match="has no example 'z'"):
        dd.train(data, "datadiet:mlp", dd.select(path, "top_k", keep=2, prefer="hardest"), epochs=1)


def test_texts_are_matched_by_id(tmp_path):
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"id": i, "text": f"text {i}"}) + "\n" for i in "abcd"))
    pd.DataFrame({"id": list("dcba"), "s": [4.0, 3, 2, 1]}).to_csv(tmp_path / "s.csv", index=False)
    chosen = dd.select(
        tmp_path / "s.csv", "exact_dedup", texts=f"jsonl:{tmp_path}/t.jsonl", text="text", keep=2, prefer="s"
    )
    assert chosen.ranked.tolist() == [3, 2]


# Values.


@pytest.mark.parametrize("route", [by_csv, by_parquet, as_mapping])
def test_a_number_beyond_float32_is_never_cut(tmp_path, route):
    with pytest.raises(DataError, match="holds 1e\\+300 in row 2, which float32 cannot"):
        found = route(tmp_path, pd.DataFrame({"s": [1.0, 2.0, 1e300, 3.0]}))
        Scores.read(found)


def test_a_missing_score_is_not_ranked(tmp_path):
    (tmp_path / "s.csv").write_text("index,s\n0,1\n1,\n2,3\n")
    with pytest.raises(OptionError, match="NaN"):
        dd.select(tmp_path / "s.csv", "top_k", keep=1, prefer="hardest")


@pytest.mark.parametrize(
    "values", [np.array([1 + 2j, 0]), np.array(["a", "b"]), np.ma.masked_array([1.0, 2.0], mask=[0, 1]), [object(), 1]]
)
def test_arrays_that_hold_no_plain_numbers(values):
    try:
        scores = Scores.from_arrays({"s": values})
    except (DataError, OptionError) as error:
        assert "\n" not in str(error)
        return
    assert np.isnan(scores["s"]).tolist() == [False, True]  # the masked one


@pytest.mark.parametrize("kind", ["category", "string_view", "large_string", "dictionary"])
def test_ids_of_every_string_type(tmp_path, kind):
    ids = pa.array(["x", "y", "z"])
    ids = {
        "category": lambda: pa.array(pd.Categorical(["x", "y", "z"])),
        "string_view": lambda: ids.cast(pa.string_view()),
        "large_string": lambda: ids.cast(pa.large_string()),
        "dictionary": lambda: ids.dictionary_encode(),
    }[kind]()
    table = pa.table({"index": [0, 1, 2], "id": ids, "s": [1.0, 2.0, 3.0]})
    pq.write_table(table, tmp_path / "s.parquet")
    with pytest.warns(UserWarning, match="no description"):
        assert Scores.read(tmp_path / "s.parquet").ids.to_pylist() == ["x", "y", "z"]


# Selections.


def selection_frame(**changes):
    frame = dd.select(np.arange(4.0), "top_k", keep=2, prefer="hardest").to_pandas()
    return frame.assign(**changes)


def read_selection(path, frame):
    import warnings

    frame.to_parquet(path / "c.parquet", index=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return dd.Selection.read(path / "c.parquet")


@pytest.mark.parametrize("route", ["frame", "parquet", "csv", "jsonl"])
def test_ids_count_where_the_index_is_the_one_that_pandas_makes(tmp_path, route):
    """Shuffled, and numbered anew from 0: the index says nothing, so the ids do."""
    ids = [f"n{row}" for row in range(20)]
    np.savez(tmp_path / "d.npz", x=np.eye(20), y=np.arange(20) % 2, id=ids)
    frame = pd.DataFrame({"id": ids, "s": np.arange(20.0)}).sample(frac=1, random_state=0).reset_index(drop=True)
    frame.to_parquet(tmp_path / "s.parquet")
    frame.to_csv(tmp_path / "s.csv", index=False)
    frame.to_json(tmp_path / "s.jsonl", orient="records", lines=True)
    given = frame if route == "frame" else tmp_path / f"s.{route}"
    chosen = dd.select(given, "top_k", keep=3, prefer="hardest")
    dd.export(chosen, dd.open_data(f"npz:{tmp_path}/d.npz", id="id"), "indices", tmp_path / "out.txt")
    assert (tmp_path / "out.txt").read_text().split() == ["17", "18", "19"]


SHUFFLED = np.random.default_rng(5).permutation(20)


def beside_scores(values):
    """label of each example, as a series or frame whose rows were shuffled."""
    return values.iloc[SHUFFLED]


def test_labels_and_ids_of_a_recording_follow_their_own_index():
    recorder = dd.Recorder(20)
    recorder.update(torch.arange(20), torch.eye(20), torch.arange(20))
    recorder.end_epoch()
    labels, ids = pd.Series(np.arange(20) // 5), pd.Series([f"n{row}" for row in range(20)])
    signals = recorder.finish(labels=beside_scores(labels), ids=beside_scores(ids))
    assert signals.labels.tolist() == labels.tolist() and signals.ids.to_pylist() == ids.tolist()


def test_vectors_and_texts_beside_scores_follow_their_own_index():
    scores, vectors = np.arange(20.0), np.random.default_rng(0).normal(size=(20, 3))
    texts = pd.Series([f"text number {row}" for row in range(10)] * 2)
    for method, further in (("d2", {"embeddings": pd.DataFrame(vectors)}), ("exact_dedup", {"texts": texts})):
        (name, plain), options = next(iter(further.items())), {"keep": 6} if method == "d2" else {}
        wanted = dd.select(scores, method, **{name: plain}, **options)
        found = dd.select(scores, method, **{name: beside_scores(plain)}, **options)
        assert found.ranked.tolist() == wanted.ranked.tolist(), method


def test_further_columns_follow_their_own_index_and_are_checked():
    scores = Scores.from_arrays({"s": np.arange(20.0)})
    more = scores.with_columns({"t": beside_scores(pd.Series(np.arange(20.0)))}, {"t": {"hardness": 1}})
    assert type(more["t"]) is np.ndarray and more["t"].tolist() == scores["s"].tolist()
    for values, words in [
        (np.ones(3), "3 values for 20"),
        (["a"] * 20, "give real numbers"),
        (np.ones((20, 1)), "shape"),
    ]:
        with pytest.raises(DataError, match=words):
            scores.with_columns({"t": values}, {})


def test_inputs_and_labels_whose_indexes_name_other_rows_are_refused():
    x, y = pd.DataFrame(np.eye(20)), pd.Series(np.arange(20) % 2)
    assert len(dd.open_data((beside_scores(x), beside_scores(y)))) == 20
    assert len(dd.open_data((beside_scores(x), beside_scores(y).to_numpy()))) == 20
    with pytest.raises(DataError, match=r"the indexes of X and y order the same rows differently: .*y.loc\[X.index\]"):
        dd.open_data((beside_scores(x), y))


@pytest.mark.parametrize("form", ["array", "series", "frame", "csv", "parquet", "npz"])
def test_numbers_that_float32_cannot_keep_apart_are_noted(tmp_path, caplog, form):
    values = 1.7e9 + np.arange(1000.0)
    frame = pd.DataFrame({"index": np.arange(1000), "s": values})
    frame.to_csv(tmp_path / "s.csv", index=False)
    frame.to_parquet(tmp_path / "s.parquet")
    np.savez(tmp_path / "s.npz", s=values)
    if form in ("csv", "parquet", "npz"):
        scores = Scores.read(tmp_path / f"s.{form}")
    else:
        scores = Scores.from_arrays({"array": {"s": values}, "series": {"s": frame["s"]}, "frame": frame}[form])
    kept = len(np.unique(scores["s"]))
    assert kept < 20 and f"(1000 different ones become {kept})" in caplog.text


@pytest.mark.parametrize("values", [
    np.exp(-np.linspace(90, 130, 1000)), np.array([1e-50, 3e-50, 2e-50, 1.0]), 1 + np.arange(5) * 1e-9,
    np.array([np.inf, 1.7e9, 1.7e9 + 1]), np.arange(2**53, 2**53 + 100), np.linspace(0, 1e-44, 10**5),
])  # fmt: skip
def test_numbers_below_its_range_are_noted_too(caplog, values):
    Scores.from_arrays({"s": np.random.default_rng(0).permutation(values)})
    assert "float32 cannot keep apart" in caplog.text


@pytest.mark.parametrize("values", [
    np.arange(1000.0), np.arange(1000) * 2**40, np.random.default_rng(0).random(10**5), np.full(1000, 1.7e9),
    np.array([np.inf, 1.0, np.nan]), np.array([True, False]),
])  # fmt: skip
def test_numbers_that_it_does_keep_apart_are_not(caplog, values):
    Scores.from_arrays({"s": values})
    assert not caplog.text


def test_an_archive_with_ids_says_whether_they_count(tmp_path, caplog):
    np.savez(tmp_path / "s.npz", s=np.arange(3.0), id=np.array(["c", "a", "b"]))
    Scores.read(tmp_path / "s.npz")
    assert "match the rows of" in caplog.text


@pytest.mark.parametrize("use", ["apply", "subset", "train", "export"])
def test_a_selection_whose_ids_and_positions_were_mixed_up_is_refused(tmp_path, use):
    """A frame that was sorted and lost its index, say; in every place that has the data."""
    x, y, ids = np.eye(20), np.arange(20) % 2, [f"n{row}" for row in range(20)]
    np.savez(tmp_path / "d.npz", x=x, y=y, id=ids)
    data = dd.open_data(f"npz:{tmp_path}/d.npz", id="id")
    scores = Scores.from_arrays({"s": np.arange(20.0), "id": ids, "index": np.arange(20)})
    chosen = dd.select(scores, "top_k", keep=4, prefer="hardest")
    chosen.write(tmp_path / "right.parquet")
    frame = chosen.to_pandas()
    frame["id"] = frame["id"].to_numpy()[::-1]
    frame.to_parquet(tmp_path / "wrong.parquet", index=False)
    uses = {
        "apply": lambda one: one.placed(data),
        "subset": lambda one: one.placed(data.subset(np.arange(10))),
        "train": lambda one: dd.train(data, "datadiet:mlp", one, epochs=1),
        "export": lambda one: dd.export(one, data, "indices", tmp_path / "out", overwrite=True),
    }
    uses[use](dd.Selection.read(tmp_path / "right.parquet"))
    with pytest.raises(DataError, match=r"says that example 0 is 'n19', and in the data it is 'n0' \((20|10) such"):
        uses[use](dd.Selection.read(tmp_path / "wrong.parquet"))


@pytest.mark.parametrize(
    "changed",
    [
        lambda f: f.set_index("index"), lambda f: f.set_index("id"), lambda f: f.set_index(["index", "id"]),
        lambda f: f.sort_values("rank"), lambda f: f.sort_values("rank").set_index("index"), lambda f: f[f.keep],
    ],
)  # fmt: skip
def test_a_selection_that_pandas_wrote_is_read(tmp_path, changed):
    frame = changed(dd.select(np.arange(6.0), "top_k", keep=2, prefer="hardest").to_pandas())
    frame.to_parquet(tmp_path / "s.parquet")
    with pytest.warns(UserWarning, match="no description"):
        assert dd.Selection.read(tmp_path / "s.parquet").ranked.tolist() == [5, 4]


def test_weights_far_from_mean_one_are_noted(tmp_path, caplog):
    for weight, said in ((1.0, 0), (100.0, 1)):
        read_selection(tmp_path, selection_frame(weight=[0.0, 0.0, weight, weight]))
        assert caplog.text.count("have mean 100, not 1") == said


@pytest.mark.parametrize("weight", [np.nan, np.inf, -1.0, 0.0, 1e300])
def test_weights_that_would_ruin_a_network_are_refused_by_row(tmp_path, weight):
    with pytest.raises(DataError, match=r"weight.*(row 3|example '3')"):
        read_selection(tmp_path, selection_frame(weight=[0.0, 0.0, 1.0, weight]))


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"keep": [0, 0, 1, 1]}, [2, 3]),
        ({"keep": [0.0, 0.0, 1.0, 1.0]}, [2, 3]),
        ({"rank": [-1.0, -1.0, 1.0, 0.0]}, [2, 3]),
        ({"stratum": [0.0, 1.0, 2.0, 3.0]}, [2, 3]),
        ({"index": [0.0, 1.0, 2.0, 3.0]}, [2, 3]),
        ({"id": pd.Categorical(list("abcd"))}, [2, 3]),
        ({"keep": [0, 0, 1, 2]}, "'keep' holds numbers other than 0 and 1"),
        ({"keep": ["no", "no", "yes", "yes"]}, "'keep' holds .*string: give whole numbers"),
        ({"keep": [None, False, True, True]}, "'keep' holds nothing in row 0"),
        ({"rank": ["-1", "-1", "1", "0"]}, "'rank' holds .*string: give whole numbers"),
        ({"rank": [-1.0, -1.0, 1.5, 0.0]}, "'rank' holds 1.5 in row 2: give whole numbers"),
        ({"rank": [np.nan, -1.0, 1.0, 0.0]}, "'rank' holds nothing in row 0: give whole numbers"),
        ({"stratum": [0, 1, 2, 2**40]}, "'stratum' holds numbers beyond int32"),
        ({"stratum": ["a", "b", "c", "d"]}, "'stratum' holds .*string: give whole numbers"),
        ({"index": [0.0, 1.5, 2.0, 3.0]}, "'index' holds 1.5 in row 1: give whole numbers"),
        ({"index": [0, 1, 2, 2]}, "'index' holds 2 twice"),
        ({"weight": ["a", "b", "c", "d"]}, "'weight' holds .*string"),
    ],
)
def test_columns_of_a_selection_are_read_where_their_meaning_is_certain(tmp_path, changes, kept):
    if isinstance(kept, list):
        assert read_selection(tmp_path, selection_frame(**changes)).indices.tolist() == kept
        return
    with pytest.raises(DataError, match=kept):
        read_selection(tmp_path, selection_frame(**changes))


@pytest.mark.parametrize("kind", [Scores, dd.Selection])
def test_positions_beyond_the_data_are_refused(tmp_path, kind):
    scores = Scores.from_arrays({"s": np.arange(4.0)})
    written = scores if kind is Scores else dd.select(scores, "top_k", keep=2, prefer="hardest")
    path = written.write(tmp_path / "w.parquet")
    written.to_pandas().assign(index=[0, 1, 2, 4]).to_parquet(path, index=False)  # the description beside it stays
    with pytest.raises(DataError, match="'index' holds 4, and the data has 4 examples"):
        kind.read(path)


@pytest.mark.parametrize("read", [Scores.read, inspect])
@pytest.mark.parametrize("hardness", [0, 2, "harder"])
def test_an_orientation_that_there_is_not_is_refused(tmp_path, read, hardness):
    path = Scores.from_arrays({"s": np.arange(4.0)}).write(tmp_path / "w.parquet")
    table, identity = read_parquet(path)
    identity["columns"]["s"]["hardness"] = hardness
    write_parquet(path, table, identity)
    with pytest.raises(DataError, match="hardness"):
        read(path)


def lines(frame):
    return "".join(json.dumps(row) + "\n" for row in frame.to_dict("records"))


FORMS = {
    "s.csv": lambda path: FRAME.to_csv(path, index=False),
    "s.csv.gz": lambda path: FRAME.to_csv(path, index=False),
    "s.CSV": lambda path: FRAME.to_csv(path, index=False),
    "s.jsonl": lambda path: path.write_text(lines(FRAME)),
    "s.jsonl.gz": lambda path: path.write_bytes(gzip.compress(lines(FRAME).encode())),
    "s.pq": lambda path: FRAME.to_parquet(path),
    "s.part": lambda path: FRAME.to_parquet(path),
    "s": lambda path: FRAME.to_parquet(path),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_a_score_file_is_read(tmp_path, name):
    FORMS[name](tmp_path / name)
    assert Scores.read(tmp_path / name)["s"].tolist() == np.float32(SCORE).tolist()


@pytest.mark.parametrize("name", ["s.tsv", "s.txt", "s.tsv.gz", "s.npy.gz", "s.json.gz", "s.xlsx"])
def test_other_forms_name_those_that_are_read(tmp_path, name):
    (tmp_path / name).write_text("a\tb\n1\t2\n")
    with pytest.raises(DataError, match=r"scores are read from .parquet, .npy, .npz, .json, .csv and .jsonl"):
        Scores.read(tmp_path / name)
    with pytest.raises(DataError, match=r"nothing.tsv does not exist"):
        Scores.read(tmp_path / "nothing.tsv")


# The index of pandas, and what is no table of scores.

NAMED = [FRAME.rename_axis("row"), SORTED.rename_axis("row"), SORTED.rename_axis("index"), SORTED.rename_axis("s.2")]
UNNUMBERED = [
    FRAME.set_axis([10, 20, 30, 40]), FRAME.set_axis([10, 20, 30, 40]).rename_axis("row"), FRAME.set_axis(list("abcd")),
    FRAME.set_axis(pd.MultiIndex.from_tuples([(0, 1), (1, 0), (2, 5), (3, 5)])),
    FRAME.set_axis(pd.MultiIndex.from_tuples([(0, 1), (1, 0), (2, 5), (3, 5)], names=["a", "b"])),
    FRAME.set_axis([0, 1, 2, 2]), FRAME.set_axis([0.0, 1.5, 2.0, 3.0]), FRAME.set_axis(pd.interval_range(0, 4)),
]  # fmt: skip


@pytest.mark.parametrize("route", [by_parquet, as_frame, as_series])
@pytest.mark.parametrize("frame", NAMED)
def test_an_index_of_any_name_says_which_example_a_row_is(tmp_path, route, frame, caplog):
    given = route(tmp_path, frame)
    assert dd.select(given, "top_k", keep=2, prefer="hardest").ranked.tolist() == [1, 3]
    assert "order of the data set" not in caplog.text
    if route is by_parquet:
        assert list(Scores.read(given).columns) == ["s"]


@pytest.mark.parametrize("route", [by_parquet, as_mapping])
@pytest.mark.parametrize("frame", UNNUMBERED)
def test_another_index_is_ignored_with_a_note(tmp_path, route, frame, caplog):
    if route is by_parquet and isinstance(frame.index, pd.IntervalIndex):
        pytest.skip("Parquet has no intervals")
    found = route(tmp_path, frame)
    scores = found if isinstance(found, Scores) else Scores.read(found)
    assert list(scores.columns) == ["s"] and scores["s"].tolist() == np.float32(SCORE).tolist()
    assert caplog.text.count("its rows are taken in the order of the data set") == 1


@pytest.mark.parametrize("route", [by_parquet, as_mapping])
@pytest.mark.parametrize("ids", [list("dbca"), [30, 10, 40, 20]])
def test_an_index_named_id_holds_the_ids(tmp_path, route, ids):
    found = route(tmp_path, FRAME.assign(id=ids).set_index("id"))
    scores = found if isinstance(found, Scores) else Scores.read(found)
    assert scores.ids.to_pylist() == list(map(str, ids)) and list(scores.columns) == ["s"]


def test_each_series_is_placed_by_its_own_index():
    labels = pd.Series(list("abcd"))
    by_hand = Scores.from_arrays({"s": SCORE}, labels=list("abcd"))
    shuffled = labels.sample(frac=1, random_state=1)
    for scores in (
        Scores.from_arrays({"s": SORTED["s"]}, labels=labels),
        Scores.from_arrays({"s": SORTED["s"], "label": shuffled}),
        Scores.from_arrays(SORTED, labels=labels),
        Scores.from_arrays(SORTED, labels=shuffled),
        Scores.from_arrays(SORTED, labels=[labels[row] for row in SORTED.index]),
        Scores.from_arrays(SORTED, labels=labels[SORTED.index].to_numpy()),
        Scores.from_arrays(SORTED.assign(label=labels)),
        Scores.from_arrays(SORTED["s"], labels=labels),
        Scores.from_arrays({"s": FRAME["s"].set_axis(list("wxyz"))}, labels=labels),
    ):
        assert scores["s"].tolist() == by_hand["s"].tolist() and scores.labels.tolist() == [0, 1, 2, 3]


VALUES = [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    "values",
    [
        np.array(VALUES, dtype=">f8"), np.array(VALUES, dtype=">f4"), np.array(VALUES, dtype=">i2"),
        np.array(VALUES, dtype=np.longdouble), np.array(VALUES, dtype=np.float16), pd.Series(VALUES, dtype=">f8"),
        torch.tensor(VALUES, dtype=torch.bfloat16), torch.tensor(VALUES, requires_grad=True),
        pd.Series(pd.arrays.SparseArray(VALUES)), pd.Series(VALUES, dtype="Float64"), pd.Series(VALUES, dtype="Int8"),
        pd.Series(VALUES).astype("category"), pa.array(VALUES), pa.chunked_array([VALUES]),
        memoryview(np.array(VALUES)),
    ],
)  # fmt: skip
def test_numbers_of_every_kind_are_scores(tmp_path, values):
    assert Scores.from_arrays({"x": values})["x"].tolist() == VALUES
    if isinstance(values, pd.Series):
        assert Scores.from_arrays(pd.DataFrame({"x": values}))["x"].tolist() == VALUES
    if isinstance(values, np.ndarray):
        np.save(tmp_path / "x.npy", values)
        np.savez(tmp_path / "x.npz", x=values)
        for given in (values, tmp_path / "x.npy", tmp_path / "x.npz"):
            assert dd.select(given, "top_k", keep=1, prefer="hardest").ranked.tolist() == [2]


def twice():
    return pd.DataFrame(np.eye(3), columns=["a", "a", "b"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([1.0, 2.0], "of type list: give a dict"),
        (np.array([1.0, 2.0]), "of type ndarray: give a dict"),
        (None, "of type NoneType: give a dict"),
        (5, "of type int: give a dict"),
        ("el2n", "of type str: give a dict"),
        ({1: [1.0, 2.0]}, "named 1: name the columns with strings"),
        ({"x": [1j, 2.0]}, "column 'x' holds complex numbers"),
        (twice(), "two columns are named 'a'"),
        (pd.DataFrame(np.eye(2), columns=[1, "1"]), "two columns are named '1'"),
        (pa.table([[1.0], [2.0]], names=["a", "a"]), "two columns are named 'a'"),
        (pd.DataFrame({"m": [1, "a", object()]}), "column 'm' cannot be read"),
        (pd.DataFrame({"c": [1j, 2]}), "column 'c' holds complex numbers"),
        (pd.DataFrame(), "no numbers|different lengths"),
    ],
)
def test_what_is_not_scores_is_one_sentence(given, words):
    with pytest.raises((DataError, OptionError), match=words) as caught:
        Scores.from_arrays(given)
    assert "\n" not in str(caught.value)
    if isinstance(given, pd.DataFrame):
        with pytest.raises((DataError, OptionError), match=words):
            dd.select(given, "top_k", keep=1, prefer="hardest")


def test_columns_of_one_name_in_a_file_are_one_sentence(tmp_path):
    pq.write_table(pa.table([[1.0], [2.0]], names=["a", "a"]), tmp_path / "s.parquet")
    with pytest.raises(DataError, match="two columns are named 'a'"):
        Scores.read(tmp_path / "s.parquet")


@pytest.mark.parametrize("name", ["index", "id", "label", "cluster"])
def test_names_that_a_score_table_uses_itself_are_refused(tmp_path, name):
    values = np.arange(6, dtype=np.float32)
    table = Scores.from_arrays({"s": values})
    X, y = np.arange(24, dtype=np.float32).reshape(6, 4), np.arange(6) % 2

    def scorer(loss):
        return loss.mean((0, 1))

    scorer.__name__ = name
    for door, words in (
        (lambda: Scores(np.arange(6), {name: values}), f"a score cannot be named {name!r}"),
        (lambda: table.with_columns({name: values}, {}), f"a score cannot be named {name!r}"),
        (lambda: dd.score((X, y), "datadiet:mlp", "el2n", epochs=1, save_as=name, out=tmp_path), "save_as=NAME"),
        (lambda: dd.score((X, y), "datadiet:mlp", scorer, epochs=1, out=tmp_path), "save_as=NAME"),
    ):
        with pytest.raises(OptionError, match=words):
            door()
    with pytest.raises(DataError, match=r"a column with another name than index, id, label or cluster"):
        Scores.from_arrays({name: values})


def test_labels_are_given_once():
    with pytest.raises(OptionError, match="labels= and a column 'label' were given"):
        Scores.from_arrays({"s": [1.0, 2.0], "label": [0, 1]}, labels=[1, 0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"columns": {"cutoff_scores": np.arange(6.0)}},
            r"columns\['cutoff_scores'\]=array.*is not the name of a column",
        ),
        ({"columns": {"cutoff_scores": [1, 2]}}, r"columns\['cutoff_scores'\]=\[1, 2\] is not the name of a column"),
        ({"columns": {"cutoff_scores": "loss"}}, r"not there.*columns=\{'cutoff_scores': NAME\} \(--column cutoff"),
        ({"columns": {3: "el2n"}}, "3 is not a further column of ccs"),
        ({"columns": "el2n"}, "columns='el2n': give a dict"),
        ({"columns": np.arange(6.0)}, "columns=.*: give a dict"),
        ({"score": np.arange(6.0)}, "score=.* is not the name of a column: add the values to the scores"),
    ],
)
def test_columns_are_chosen_by_name(options, words):
    table = Scores.from_arrays({"el2n": np.arange(6.0), "aum": np.arange(6.0)})
    with pytest.raises(OptionError, match=words):
        dd.select(table, "ccs", keep=3, **{"score": "el2n", **options})


def test_a_column_may_have_the_name_of_a_parameter():
    table = Scores.from_arrays({"el2n": np.arange(20.0), "cutoff_scores": np.arange(20.0)[::-1]})
    named = dd.select(table, "ccs", keep=5, score="el2n", columns={"cutoff_scores": "cutoff_scores"})
    assert named.meta["columns"] == {"score": "el2n", "cutoff_scores": "cutoff_scores"}


def test_the_spread_over_seeds_is_not_a_suffix_of_a_scorer():
    X, y = np.arange(24, dtype=np.float32).reshape(6, 4), np.arange(6) % 2

    def mine(loss):
        return {"": loss.mean((0, 1)), "std": loss.mean((0, 1))}

    with pytest.raises(OptionError, match=r"the key 'std'.*'std' is the spread over seeds"):
        dd.score((X, y), "datadiet:mlp", mine, epochs=1)


def test_a_column_of_many_texts_is_no_obstacle(tmp_path, monkeypatch):
    """More than 2 GiB of text do not fit one array with 32-bit offsets; here 10 bytes count as that."""
    monkeypatch.setattr("datadiet.table.frames._NARROW", 10)
    table = pa.table({"text": ["some words"] * 4, "bytes": [b"some bytes"] * 4, "s": [4.0, 3.0, 2.0, 1.0]})
    pq.write_table(table, tmp_path / "s.parquet", row_group_size=2)
    assert Scores.read(tmp_path / "s.parquet")["s"].tolist() == [4, 3, 2, 1]
    assert array_of(table["text"], "x").type == pa.large_string()


@pytest.mark.parametrize("route", ["frame", "csv", "parquet"])
def test_an_index_of_floats_that_numbers_the_rows_counts(tmp_path, route, caplog):
    frame = FRAME.sample(frac=1, random_state=1)
    frame.index = frame.index.astype(float)
    forms = {"frame": lambda path, frame: frame, "csv": by_csv, "parquet": by_parquet}
    found = forms[route](tmp_path, frame)
    scores = Scores.from_arrays(found) if route == "frame" else Scores.read(found)
    assert np.allclose(scores["s"], SCORE) and not caplog.text


@pytest.mark.parametrize("text", ["id;s\na;1\nb;2\n", "id\ts\na\t1\n", "id;s\na;0,5\n"])
def test_a_csv_file_with_other_marks_than_commas_is_refused(tmp_path, text):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(DataError, match=r"not a readable CSV file .*: check what .*; fields are separated by commas"):
        dd.Scores.read(tmp_path / "s.csv")
