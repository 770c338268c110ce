"""select: methods that compare texts, from lists and from data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from datadiet.cli import main
from datadiet.data import open_data
from datadiet.errors import DataError, OptionError
from datadiet.selectors import SELECTORS
from datadiet.table import Scores, Selection
from datadiet.workflow.selecting.select import select

METHODS = [name for name, spec in SELECTORS.items() if spec.first == "texts"]
# Six texts, of which two have a copy and one of these two.
TEXTS = [f"number {word} of the texts that are here" for word in ("one", "two", "three", "four", "five", "six")]
TEXTS += [TEXTS[0], TEXTS[1], TEXTS[0]]
GROUP = np.array([0, 1, 2, 3, 4, 5, 0, 1, 0])
every_method = pytest.mark.parametrize("method", METHODS)


def test_there_are_two() -> None:
    assert METHODS == ["exact_dedup", "minhash"]


@pytest.fixture
def data(tmp_path: Path) -> str:
    rows = [{"key": f"k{i}", "text": text, "label": i % 2} for i, text in enumerate(TEXTS)]
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return f"jsonl:{tmp_path / 'docs.jsonl'}"


@every_method
def test_without_a_size_one_of_each_group_is_kept(method: str, data: str, tmp_path: Path) -> None:
    for given, options in ((TEXTS, {}), (data, {"text": "text"})):
        found = select(given, method, **options)
        assert sorted(GROUP[found.indices]) == [0, 1, 2, 3, 4, 5]
        assert found.meta["keep"] == {"given": None, "k": 6, "n": 9} and found.meta["nested"] is False
        back = Selection.read(found.write(tmp_path / "s.parquet"))
        removed = np.flatnonzero(~back.keep)
        names = [str(name) for name in back.ids.to_pylist()] if back.ids is not None else [str(i) for i in range(9)]
        witness = [names.index(str(back.witness[int(i)])) for i in removed]
        assert (GROUP[witness] == GROUP[removed]).all() and back.keep[witness].all()
        np.testing.assert_array_equal(back.similarity[removed], 1)


@every_method
def test_sizes_are_exact_nested_and_by_seed(method: str) -> None:
    kept = {k: select(TEXTS, method, keep=k).ranked.tolist() for k in (6, 7, 9)}
    assert [len(rows) for rows in kept.values()] == [6, 7, 9]
    assert kept[6] == kept[7][:6] and kept[7] == kept[9][:7]
    assert select(TEXTS, method, keep=7).meta["nested"] is True
    assert len({tuple(select(TEXTS, method, keep=6, seed=seed).indices) for seed in range(8)}) > 1


@every_method
def test_by_class_compares_within_classes(method: str, data: str) -> None:
    found = select(data, method, text="text", keep=8, by_class=True)  # of classes of 5 and 4
    assert len(found) == 8 and sorted(np.bincount(found.indices % 2)) == [4, 4]
    with pytest.raises(OptionError, match="by_class divides a size among"):
        select(data, method, text="text", by_class=True)


def test_a_size_that_no_joining_reaches_is_refused() -> None:
    assert len(select(TEXTS, "exact_dedup", keep=2)) == 2
    with pytest.raises(OptionError, match=r"make 6 groups of 9 texts.*k=6 or more"):
        select(TEXTS, "minhash", keep=5)
    assert len(select(TEXTS, "minhash", keep=5, threshold=0.2, width=1)) == 5


def test_vectors() -> None:
    vectors = np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 4.0]])
    found = select(vectors, "exact_dedup")
    assert len(found) == 2
    assert found.meta["parents"] == select(vectors, "k_center", keep=1).meta["parents"] != {}
    both = select(vectors, "exact_dedup", texts=["a", "b", "a"])
    assert len(both) == 2 and 1 in both.indices, "a pool may hold both, and texts are what this method compares"
    with pytest.raises(OptionError, match="or use semdedup"):
        select(vectors, "minhash")
    with pytest.raises(OptionError, match="compares texts, but there are none"):
        select(np.array([1.0, 2.0]), "minhash")


@every_method
def test_texts_beside_a_score_that_says_which_copy_stays(method: str, data: str, tmp_path: Path) -> None:
    source = open_data(data, text="text")
    scores = np.arange(9.0)
    table = Scores(source.index, {"ppl": scores}, source.ids, source.labels,
                   {"data": source.identity(), "columns": {"ppl": {"hardness": 1, "scorer": "imported"}}})  # fmt: skip
    table.write(tmp_path / "scores.parquet")
    last = [2, 3, 4, 5, 7, 8]  # of each group the one with the highest score
    for given in (table, tmp_path / "scores.parquet", scores):
        name = "score" if given is scores else "ppl"
        path = Path(data.removeprefix("jsonl:"))
        for texts in ({"texts": TEXTS}, {"texts": data, "text": "text"}, {"texts": path, "text": "text"}):
            found = select(given, method, prefer=name, **texts)
            assert found.indices.tolist() == last and found.meta["columns"] == {"hardness": name}
            easiest = select(given, method, score=name, prefer="easiest", **texts)
            assert easiest.indices.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_part_of_the_data_that_was_scored_has_its_own_texts(data: str) -> None:
    table = Scores(np.array([0, 3, 6, 8]), {}, meta={"data": {"n": 9}, "columns": {}})  # numbers 0 and 3, and 0 twice
    assert len(select(table, "exact_dedup", texts=data, text="text")) == 2


@pytest.mark.parametrize(
    ("texts", "text", "words"),
    [(TEXTS[:5], None, "5 texts and 9 examples"), ("data", None, "name the column of its texts"),
     ("other", "text", "data of 8 examples, but 9 to select from"), ("data", "body", "body")],
)  # fmt: skip
def test_texts_that_do_not_belong_to_the_scores(texts: object, text: str | None, words: str, data: str) -> None:
    shorter = data.replace("docs", "other")
    lines = Path(data.removeprefix("jsonl:")).read_text().splitlines(keepends=True)
    Path(shorter.removeprefix("jsonl:")).write_text("".join(lines[:-1]))
    texts = {"data": data, "other": shorter}.get(str(texts), texts)
    with pytest.raises((OptionError, DataError), match=words):
        select(np.arange(9.0), "exact_dedup", texts=texts, text=text)


@every_method
def test_whatever_holds_texts_is_a_list_of_them(method: str) -> None:
    want = select(np.arange(9.0), method, texts=TEXTS, prefer="score").indices.tolist()
    for texts in (tuple(TEXTS), np.array(TEXTS), np.array(TEXTS, dtype=object), pd.Series(TEXTS), pa.array(TEXTS),
                  pa.chunked_array([TEXTS[:4], TEXTS[4:]])):  # fmt: skip
        assert select(np.arange(9.0), method, texts=texts, prefer="score").indices.tolist() == want
        assert select(texts, method).indices.tolist() == select(TEXTS, method).indices.tolist()


def test_opened_data_is_taken_beside_scores_and_alone(data: str) -> None:
    source = open_data(data, text="text", id="key", label="label")
    found = select(np.arange(9.0), "exact_dedup", texts=source, prefer="score", keep=8, by_class=True)
    assert found.ids.to_pylist() == [f"k{i}" for i in range(9)], "bare scores learn what they are scores of"
    assert found.meta["data"] == source.identity() == select(source, "exact_dedup").meta["data"]
    assert found.meta["parents"]["texts"] == select(source, "exact_dedup").meta["parents"]["texts"]
    other = [*TEXTS[:-1], "another"]
    assert select(other, "exact_dedup").meta["parents"] != select(TEXTS, "exact_dedup").meta["parents"]


def test_scores_of_named_examples_and_the_same_data_by_rows(data: str) -> None:
    source = open_data(data, text="text", id="key")
    meta = {"data": source.identity(), "columns": {"ppl": {"hardness": 1, "scorer": "imported"}}}
    table = Scores(source.index, {"ppl": np.arange(9.0)}, source.ids, None, meta)
    assert select(table, "exact_dedup", texts=data, text="text").ids.to_pylist()[0] == "k0"
    short = Scores(np.array([0, 12]), {}, meta={"data": {"n": 20}, "columns": {}})
    with pytest.raises(DataError, match=r"number of examples|lacks some examples"):
        select(short, "exact_dedup", texts=data, text="text")


@every_method
def test_a_direction_goes_by_the_only_score_or_is_refused(method: str) -> None:
    ends = [select(np.arange(9.0), method, texts=TEXTS, prefer=end) for end in ("hardest", "easiest")]
    assert [found.indices.tolist() for found in ends] == [[2, 3, 4, 5, 7, 8], [0, 1, 2, 3, 4, 5]]
    assert ends[0].meta["columns"] == {"hardness": "score"}
    two = Scores.from_arrays({"a": np.arange(9.0), "b": np.arange(9.0)})
    with pytest.raises(OptionError, match="several scores"):
        select(two, method, texts=TEXTS, prefer="easiest")
    with pytest.raises(OptionError, match="needs a score, but there is none"):
        select(TEXTS, method, prefer="easiest")
    with pytest.raises(OptionError, match="another is named too"):
        select(two, method, texts=TEXTS, prefer="a", score="b")
    assert len(select(TEXTS, method, prefer="random")) == 6


@pytest.mark.parametrize(
    ("scores", "method", "options", "words"),
    [
        (np.arange(9.0), "top_k", {"texts": TEXTS, "keep": 3}, "top_k does not read texts"),
        (TEXTS, "exact_dedup", {"texts": TEXTS}, "is itself texts: leave texts out"),
        (np.arange(9.0), "exact_dedup", {"texts": TEXTS, "text": "text"}, "leave text out"),
        (np.arange(9.0), "exact_dedup", {"texts": []}, "texts= is a list: give"),
        (np.arange(9.0), "exact_dedup", {"texts": [None] * 9}, "begins with a NoneType"),
        (np.arange(9.0), "exact_dedup", {"texts": [*TEXTS[:8], None]}, "item 8 of the texts is a NoneType"),
        (np.arange(9.0), "exact_dedup", {"texts": (text for text in TEXTS)}, "texts= is a generator"),
        (np.arange(9.0), "exact_dedup", {"texts": np.arange(9)}, "texts= is a ndarray"),
        (np.arange(9.0), "exact_dedup", {"texts": pd.DataFrame({"a": TEXTS})}, "a DataFrame is data: name the column"),
        (np.arange(9.0), "exact_dedup", {"texts": open_data("digits")}, "opened without its texts"),
    ],
)
def test_texts_that_cannot_be_used(scores: object, method: str, options: dict, words: str) -> None:
    with pytest.raises(OptionError, match=words) as error:
        select(scores, method, **options)
    assert len(str(error.value)) < 250


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["select", *arguments])
    return stop.value.code


def test_the_command_line(data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("s.npy", np.arange(9.0))
    exact = ["--method", "exact_dedup", "--out", "a.parquet", "--overwrite"]
    of_data = ["--text", "text", "--id", "key", "--label", "label"]
    assert run("s.npy", *exact, "--texts", data, *of_data, "-p", "prefer=score") == 0
    assert Selection.read("a.parquet").ids.to_pylist()[8] == "k8"
    assert run(data, *exact, *of_data, "--by-class", "--keep", "n=8") == 0
    assert len(Selection.read("a.parquet")) == 8
    assert run("s.npy", *exact, "--id", "key") == 2


def test_nothing_that_is_read_is_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"text": TEXTS}).to_parquet("docs.parquet")
    np.save("s.npy", np.arange(9.0))
    before = Path("docs.parquet").read_bytes()
    for given in (["s.npy", "--texts", "parquet:docs.parquet"], ["parquet:docs.parquet"], ["parquet:d*.parquet"]):
        assert run(*given, "--text", "text", "--method", "exact_dedup", "--out", "docs.parquet") == 2
        assert "its own input" in capsys.readouterr().err
    assert Path("docs.parquet").read_bytes() == before
