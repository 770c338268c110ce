"""select by vectors: where they come from, what is kept with the choice, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import datadiet as dd
from datadiet.cli import main
from datadiet.errors import BadVector, DataError, OptionError
from datadiet.randomness import Keys
from datadiet.selectors import d2, k_center, semdedup

N = 60


def vectors() -> np.ndarray:
    """Every third row is a near copy of the one before."""
    values = np.random.default_rng(0).normal(size=(N, 8)).astype(np.float32)
    values[2::3] = values[1::3] + 1e-3 * values[::3]
    return values


def table(**columns: np.ndarray) -> dd.Scores:
    scores = dd.Scores.from_arrays(columns or {"el2n": np.arange(float(N))}, labels=np.arange(N) * 3 // N)
    ids = pa.array([f"ex{i}" for i in range(N)])
    return dd.Scores(scores.index, scores.columns, ids, scores.labels, scores.meta)


def run_folder(path: Path, values: np.ndarray, size: int = 25) -> Path:
    """A run with scores, and features in three parts."""
    folder = path / "embeddings" / "features" / "seed-0" / "epoch-3"
    folder.mkdir(parents=True)
    for lo in range(0, len(values), size):
        np.save(folder / f"part-{lo}-{min(lo + size, len(values))}.npy", values[lo : lo + size])
    table().write(path / "scores.parquet")
    return path


def test_vectors_in_memory_on_disk_and_in_a_run_are_the_same(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", vectors())
    run = run_folder(tmp_path / "run", vectors())
    wanted = k_center(vectors(), 12, keys=Keys(1, "select.k_center", N)).tolist()
    for given in (vectors(), tmp_path / "v.npy", run, run / "embeddings" / "features" / "seed-0" / "epoch-3"):
        assert dd.select(given, "k_center", keep=12, seed=1).ranked.tolist() == wanted
    beside = dd.select(table(), "k_center", keep=12, seed=1, embeddings=tmp_path / "v.npy")
    assert beside.ranked.tolist() == wanted and beside.meta["nested"]
    assert dd.select(table(), "k_center", keep=12, seed=1, embeddings=run).ranked.tolist() == wanted


def test_of_a_run_with_several_seeds_the_selection_says_whose_vectors_it_took(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", vectors())
    other = run / "embeddings" / "features" / "seed-1" / "epoch-3"
    other.mkdir(parents=True)
    np.save(other / f"part-0-{N}.npy", -vectors())
    chosen = dd.select(run, "k_center", keep=12)
    assert chosen.meta["vectors"] == "features/seed-0/epoch-3"
    assert dd.select(run, "k_center", keep=12, embeddings=other).meta["vectors"] == "features/seed-1/epoch-3"
    assert dd.select(other.rename(tmp_path / "mine"), "k_center", keep=12).meta["vectors"] == "mine"
    assert "vectors" not in dd.select(vectors(), "k_center", keep=12).meta


def test_the_identity_of_the_vectors_is_a_parent() -> None:
    one, other = vectors(), vectors()
    other[30] += 1
    parents = [dd.select(given, "k_center", keep=12).meta["parents"]["embeddings"] for given in (one, one, other)]
    assert parents[0] == parents[1] != parents[2]


def test_what_is_left_out_has_a_witness(tmp_path: Path) -> None:
    chosen = dd.select(table(), "semdedup", embeddings=vectors(), epsilon=1e-3, clusters=1, seed=2)
    plain = semdedup.explain(vectors(), epsilon=1e-3, clusters=1, keys=Keys(2, "select.semdedup", N))
    assert len(chosen) == 40 and chosen.meta["keep"] == {"given": None, "k": 40, "n": N}
    left = np.flatnonzero(~chosen.keep)
    assert [chosen.witness[i].as_py() for i in left] == [f"ex{plain.witness[i]}" for i in left]
    read = dd.Selection.read(chosen.write(tmp_path / "s.parquet"))
    assert read.witness.to_pylist() == chosen.witness.to_pylist()
    np.testing.assert_array_equal(read.similarity, chosen.similarity)
    rows = pq.read_table(tmp_path / "s.parquet").to_pydict()
    for i in range(N):
        if rows["keep"][i]:
            assert rows["witness"][i] is None and np.isnan(rows["similarity"][i])
        else:
            assert rows["keep"][int(rows["witness"][i][2:])] and rows["similarity"][i] > 0.999


def test_within_classes_rows_and_witnesses_are_those_of_all_the_data() -> None:
    chosen = dd.select(table(), "semdedup", embeddings=vectors(), keep=0.5, clusters=2, by_class=True)
    labels = np.arange(N) * 3 // N
    assert np.bincount(labels[chosen.indices]).tolist() == [10, 10, 10]
    told = [(i, int(w[2:])) for i, w in enumerate(chosen.witness.to_pylist()) if w is not None]
    assert told and all(labels[i] == labels[w] for i, w in told)
    a, b = (vectors()[list(part)].astype(np.float64) for part in zip(*told, strict=True))
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(chosen.similarity[[i for i, _ in told]], cosine, atol=1e-6)
    strata = [set(chosen.stratum[labels == c].tolist()) for c in range(3)]
    assert all(len(s) <= 2 for s in strata) and not strata[0] & strata[1] and not strata[1] & strata[2]


@pytest.mark.parametrize("how", [{"score": "el2n"}, {"prefer": "el2n"}, {"columns": {"hardness": "el2n"}}])
def test_a_column_decides_which_copy_stays(how: dict) -> None:
    chosen = dd.select(table(), "semdedup", embeddings=vectors(), epsilon=1e-3, clusters=1, **how)
    assert chosen.meta["columns"] in ({"score": "el2n"}, {"hardness": "el2n"})
    assert set(np.flatnonzero(~chosen.keep)) == set(range(1, N, 3)), "of each pair the later has the higher score"


def test_clusters_found_before_are_taken_and_named() -> None:
    clusters = dd.kmeans(vectors(), 4, seed=3)
    chosen = dd.select(vectors(), "dbp", keep=20, clusters=clusters)
    assert chosen.stratum.tolist() == clusters.labels.tolist()
    assert chosen.meta["params"]["clusters"]["number"] == 4 and len(chosen.meta["params"]["clusters"]["hash"]) == 32


def test_weights_and_classes_of_a_method_that_knows_them() -> None:
    chosen = dd.select(table(), "craig", embeddings=vectors(), keep=12, by_class=True)
    assert np.bincount((np.arange(N) * 3 // N)[chosen.indices]).tolist() == [4, 4, 4]
    assert chosen.weights.mean() == pytest.approx(1) and len(set(chosen.weights.tolist())) > 1


def test_a_method_that_needs_a_score_takes_the_only_one() -> None:
    chosen = dd.select(table(), "d2", embeddings=vectors(), keep=10)
    hardness = np.arange(float(N), dtype=np.float32)
    assert chosen.ranked.tolist() == d2(vectors(), 10, hardness=hardness, keys=Keys(0, "select.d2", N)).tolist()
    with pytest.raises(OptionError, match="several scores"):
        dd.select(table(a=np.arange(60.0), b=np.ones(60)), "d2", embeddings=vectors(), keep=10)
    with pytest.raises(OptionError, match="a score as well as vectors"):
        dd.select(vectors(), "d2", keep=10)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"keep": 0.5, "epsilon": 0.1}, "both decide how much is kept"),
        ({}, "needs to know how much to keep: give a size, keep=0.3"),
        ({"epsilon": 3.0}, "epsilon"),
        ({"epsilon": -0.1}, "epsilon"),
        ({"epsilon": 0.1, "by_class": True}, "divides a size among"),
        ({"keep": 0.5, "clusters": 61}, "clusters=61 of 60"),
        ({"keep": 0.5, "clusters": 0}, "clusters"),
        ({"keep": 0.5, "mode": "chains"}, "mode"),
        ({"keep": 0.5, "prefer": "zzz"}, "prefer, or a score: there are easiest, el2n, hardest, random"),
        ({"keep": 0.5, "prefer": "el2m"}, "did you mean 'el2n'"),
    ],
)
def test_options_that_cannot_be(options: dict, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        dd.select(table(), "semdedup", embeddings=vectors(), **options)


@pytest.mark.parametrize(("value", "words"), [(0.0, "all zeros"), (np.nan, "not finite")])
@pytest.mark.parametrize("by_class", [False, True])
def test_a_bad_vector_is_named_by_id(value: float, words: str, by_class: bool) -> None:
    bad = vectors()
    bad[31] = value
    with pytest.raises(BadVector, match=f"example 'ex31' is {words}"):
        dd.select(table(), "semdedup", embeddings=bad, keep=0.5, by_class=by_class)


def test_vectors_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="59 vectors and 60 examples"):
        dd.select(table(), "k_center", embeddings=vectors()[:59], keep=3)
    with pytest.raises(OptionError, match=r"selects by vectors, but there are none"):
        dd.select(table(), "k_center", keep=3)
    np.save(tmp_path / "v.npy", vectors())
    whole = (tmp_path / "v.npy").read_bytes()
    (tmp_path / "v.npy").write_bytes(whole[:-100])
    with pytest.raises(DataError, match=r"v.npy is not a complete .npy file"):
        dd.select(tmp_path / "v.npy", "k_center", keep=3)
    run = run_folder(tmp_path / "run", vectors())
    part = next(run.glob("embeddings/*/*/*/part-25-50.npy"))
    np.save(part, vectors()[25:45])
    with pytest.raises(DataError, match=r"part-25-50\.npy holds 20 rows, but its name gives another number"):
        dd.select(run, "k_center", keep=3)
    part.unlink()
    with pytest.raises(DataError, match="rows missing between its parts"):
        dd.select(run, "k_center", keep=3)
    np.save(part, vectors()[25:50, :4])
    with pytest.raises(DataError, match="shape"):
        dd.select(run, "k_center", keep=3)


@pytest.mark.parametrize("rows", [10, 40])
def test_leaks_within_classes_have_witnesses_in_the_reference(rows: int) -> None:
    """A reference smaller and larger than a class of 20: row 4 of it is row 30 of the data."""
    reference = np.random.default_rng(8).normal(size=(rows, 8)).astype(np.float32)
    reference[4] = vectors()[30]
    chosen = dd.select(table(), "decontaminate", keep=57, embeddings=vectors(), reference=reference, by_class=True)
    assert not chosen.keep[30] and chosen.witness[30].as_py() == "4" and chosen.similarity[30] == 1


def test_a_bad_row_of_the_reference_is_no_training_example(tmp_path: Path) -> None:
    reference = vectors()
    reference[45] = 0
    for by_class in (False, True):
        with pytest.raises(BadVector, match="row 45 of reference is all zeros"):
            dd.select(table(), "decontaminate", keep=30, embeddings=vectors(), reference=reference, by_class=by_class)


def test_equal_vectors_on_disk_are_found_within_classes(tmp_path: Path) -> None:
    values = vectors()
    values[5] = values[3]
    run = run_folder(tmp_path / "run", values)
    chosen = dd.select(run, "exact_dedup", keep=57, by_class=True)
    assert len(chosen) == 57 and chosen.keep[[3, 5]].sum() == 1


def test_data_is_not_taken_for_scores() -> None:
    datasets = pytest.importorskip("datasets")
    for given in ("jsonl:t.jsonl", "py:mine:data", datasets.Dataset.from_dict({"text": ["a", "b"]})):
        with pytest.raises(OptionError, match=r"is data, not scores: name the column of its texts with text=NAME"):
            dd.select(given, "exact_dedup")
    first = r"is data, not scores: embed it first \(datadiet embed imagefolder:img --model … --out RUN, or"
    with pytest.raises(OptionError, match=first):
        dd.select("imagefolder:img", "exact_dedup")


def test_tensors_are_vectors_too() -> None:
    torch = pytest.importorskip("torch")
    wanted = dd.select(vectors(), "k_center", keep=5).ranked.tolist()
    tensor = torch.from_numpy(vectors())
    assert dd.select(tensor.requires_grad_(), "k_center", keep=5).ranked.tolist() == wanted
    assert dd.select(tensor.detach().bfloat16(), "exact_dedup", keep=5).meta["keep"]["k"] == 5


def test_vectors_twice_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", vectors())
    for given in (vectors(), tmp_path / "v.npy"):
        with pytest.raises(OptionError, match="were both given"):
            dd.select(given, "k_center", keep=3, embeddings=vectors())


def test_a_number_to_keep_is_whole() -> None:
    with pytest.raises(OptionError, match=r"k=2\.5: give a whole number"):
        k_center(vectors(), 2.5)


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("vectors.npy", vectors())
    with pytest.raises(SystemExit) as done:
        main(["select", "vectors.npy", "--method", "semdedup", "--keep", "50%", "--json"])
    assert done.value.code == 0
    out = capsys.readouterr()
    assert json.loads(out.out)["k"] == 30 and "taken to mean harder" not in out.err
    assert len(dd.Selection.read("selection.parquet")) == 30
    with pytest.raises(SystemExit) as done:
        main(["select", "vectors.npy", "--method", "semdedup", "-p", "epsilon=0.001", "--out", "distinct.parquet"])
    assert done.value.code == 0 and "kept 40 of 60" in capsys.readouterr().out
    with pytest.raises(SystemExit) as done:
        main(
            [
                "select",
                "vectors.npy",
                "--method",
                "semdedup",
                "--keep",
                "50%",
                "-p",
                "epsilon=0.1",
                "--out",
                "b.parquet",
            ]
        )
    assert done.value.code == 2 and not Path("b.parquet").exists()
