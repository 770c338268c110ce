"""Vectors of a run beside scores: of the same examples, and by the same network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import datadiet as dd
from datadiet.errors import BadVector, DataError, FingerprintMismatch, OptionError
from datadiet.files import digest


def network(scale: float):
    """An encoder: pixels, scaled."""

    def pixels(images):
        return scale * images.flatten(1).float() + 1

    return pixels


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits, embedded; half of them, embedded; and scored with a tenth held out."""
    root = tmp_path_factory.mktemp("runs")
    digits = dd.open_data("digits")
    dd.embed(digits, network(1), out=root / "all")
    dd.embed(digits.subset(np.arange(0, len(digits), 2)), network(1), out=root / "half")
    dd.embed(dd.open_data("digits", split="eval"), network(1), out=root / "test")
    dd.score(digits, "datadiet:mlp", "el2n", epochs=1, eval="10%", out=root / "scored")
    return root


def test_scores_of_a_part_take_their_vectors_from_those_of_the_whole(runs: Path) -> None:
    scored, vectors = dd.Scores.read(runs / "scored"), dd.open_vectors(runs / "all")
    assert 0 < len(scored) < len(vectors)
    found = dd.select(runs / "scored", "k_center", keep=20, embeddings=runs / "all")
    wanted = dd.select(scored, "k_center", keep=20, embeddings=vectors[scored.index])
    assert found.indices.tolist() == wanted.indices.tolist() and set(found.indices) <= set(scored.index)
    assert found.meta["vectors"] == "features/seed-0/epoch-1"
    with pytest.raises(DataError, match="not of all"):
        dd.select(runs / "scored", "k_center", keep=20, embeddings=runs / "half")


def test_vectors_of_other_data_are_refused(runs: Path) -> None:
    with pytest.raises(FingerprintMismatch, match="the table to select from belongs to another data set"):
        dd.select(runs / "scored", "k_center", keep=20, embeddings=runs / "test")


def test_a_reference_by_another_network_is_refused(runs: Path, tmp_path: Path) -> None:
    found = dd.select(runs / "all", "decontaminate", reference=str(runs / "test"), epsilon=0.0001)
    assert 0 < len(found) <= len(dd.open_vectors(runs / "all"))
    other = tmp_path / "other"
    dd.embed(dd.open_data("digits", split="eval"), network(1), out=other)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["plan"]["model"] = "another"
    manifest["plan_hash"] = digest(manifest["plan"])
    (other / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(OptionError, match=r"other was embedded with model another"):
        dd.select(runs / "all", "decontaminate", reference=str(other), epsilon=0.0001)


def test_a_witness_in_a_run_has_its_id(runs: Path) -> None:
    digits = dd.open_data("digits", split="eval")
    copies = np.asarray(dd.open_vectors(runs / "test"))[[5, 0]]
    found = dd.select(np.concatenate([copies, -copies]), "decontaminate", reference=str(runs / "test"), epsilon=0.0001)
    names = [digits.ids[i].as_py() for i in (5, 0)]
    assert found.witness.to_pylist() == [*names, None, None]
    plain = dd.select(
        copies * [[1], [-1]], "decontaminate", reference=dd.open_vectors(runs / "test")[:6], epsilon=0.0001
    )
    assert plain.witness.to_pylist() == ["5", None]


def test_nothing_left_is_said_in_one_sentence(runs: Path) -> None:
    with pytest.raises(OptionError, match=r"keeps none of the .* examples at this threshold"):
        dd.select(runs / "all", "decontaminate", reference=str(runs / "all"), epsilon=0.0001)


def test_a_bad_vector_of_a_run_is_named_by_its_example(runs: Path, tmp_path: Path) -> None:
    import shutil

    bad = tmp_path / "bad"
    shutil.copytree(runs / "test", bad)
    part = next(bad.glob("embeddings/features/*/*/part-*.npy"))
    values = np.load(part)
    values[20] = 0
    np.save(part, values)
    name = dd.open_data("digits", split="eval").ids[20].as_py()
    for scorer in ("density", "prototypes"):
        with pytest.raises(BadVector, match=f"example '{name}' is all zeros"):
            dd.rescore(bad, scorer)


@pytest.mark.parametrize("method", ["facility_location", "graph_cut"])
def test_random_draws_are_not_nested(runs: Path, method: str) -> None:
    for optimizer, nested in (("lazy", True), ("stochastic", False)):
        found = [dd.select(runs / "test", method, keep=k, optimizer=optimizer) for k in (10, 40)]
        assert [one.meta["nested"] for one in found] == [nested] * 2
        assert (found[1].ranked[:10].tolist() == found[0].ranked.tolist()) == nested


def test_a_run_without_its_vectors_says_what_to_do(runs: Path, tmp_path: Path) -> None:
    import shutil

    bare = tmp_path / "bare"
    shutil.copytree(runs / "test", bare)
    shutil.rmtree(bare / "embeddings")
    with pytest.raises(OptionError, match="rerun the command that made it"):
        dd.rescore(bare, "prototypes")
    shutil.copytree(runs / "test" / "embeddings", bare / "embeddings")
    (bare / "scores.parquet").unlink()
    from datadiet.workflow.selecting.inspect import inspect

    assert "it continues" in inspect(bare)["unfinished"][0] and not inspect(runs / "test")["unfinished"]
    with pytest.raises(DataError, match="is not finished"):
        dd.select(bare, "top_k", keep=3)
