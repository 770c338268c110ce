"""Prune and recover, on the bundled digits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import datadiet as dd
from datadiet.errors import OptionError
from datadiet.sparsity.prunable import prunable
from datadiet.workflow.fitting import pruning

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dense") / "run"
    dd.train("digits", "datadiet:mlp", epochs=4, out=out)
    return out


def recovered(model: Any, **more: Any) -> dd.Recovery:
    return dd.recover(model, "digits", sparsify="global_magnitude:0.95", keep=0.2, epochs=4, **more)


def test_a_pruned_network_recovers(dense: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = recovered(dense, out=out)
    rows = {row.name: row for row in found.rows}
    assert [*rows] == ["dense", "pruned", "paser", "random", "all data"]
    assert rows["pruned"].accuracy < rows["random"].accuracy < rows["dense"].accuracy
    assert rows["dense"].accuracy == dd.train("digits", "datadiet:mlp", epochs=4).accuracy
    assert {rows[name].steps for name in ("paser", "random", "all data")} == {4 * 3}  # 288 of 1438 in batches of 128
    assert [rows[name].kept for name in ("paser", "random", "all data")] == [288, 288, 1438]
    assert rows["paser"].choosing > 0 == rows["random"].choosing == rows["all data"].choosing
    kept = sum(int(weight.count_nonzero()) for weight in prunable(found.model).values())
    assert kept == found.masks.counts()[0] == 1293 and found.costs[1].nonzero < found.costs[0].nonzero
    by_hand = dd.train(
        "digits", "datadiet:mlp", found.selection, start=out / "pruned", sparsify=found.masks, teacher=dense, steps=12,
        recipe={"lr": 0.03},
    )  # fmt: skip
    assert by_hand.accuracy == rows["paser"].accuracy
    again = recovered(dense, out=out)
    assert again.rows == found.rows and (again.selection.indices == found.selection.indices).all()
    assert "all data" in found.table() and "–" in found.table()


def test_a_module_in_memory_is_not_changed(dense: Path) -> None:
    network = dd.train("digits", "datadiet:mlp", epochs=2).model
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = recovered(network, method="random", teacher=None)
    assert [row.name for row in found.rows] == ["dense", "pruned", "random", "all data"]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    chosen = recovered(network, method="top_k", score="el2n", params={"prefer": "hardest"}, teacher=None)
    assert chosen.rows[2].name == "top_k" and chosen.rows[1].accuracy == found.rows[1].accuracy
    assert found.rows[1].pruning > 0


def test_what_is_refused(dense: Path, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    file.write_bytes((dense / "checkpoints/seed-0/epoch-4.safetensors").read_bytes())
    for model, options, why in (
        (file, {}, "name it, network="),
        (dense, {"method": "best"}, "not a selection method"),
        (dense, {"keep": 0}, "keep"),
        (tmp_path / "none", {}, "no checkpoint"),
        (nn.Linear(3, 3), {}, "cannot take inputs"),
    ):
        with pytest.raises((OptionError, dd.DataError), match=why):
            dd.recover(model, "digits", **options)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="does not say how sparse"):
        dd.recover(dense, "digits", sparsify="global_magnitude")
    x, y = torch.zeros(8, 1, 8, 8), torch.arange(8) % 2
    with pytest.raises((OptionError, dd.DataError)):
        dd.recover(dense, torch.utils.data.TensorDataset(x, y))
    with pytest.raises(OptionError, match="the name of a method"):
        dd.recover(dense, "digits", sparsify="masks:run")


def test_a_recovery_starts_from_the_network_that_is_shown_as_pruned(tmp_path: Path) -> None:
    """Running statistics included: with hardly any learning, a recovered network is the pruned one."""
    rng, y = np.random.default_rng(0), np.arange(300) % 3
    x = (rng.normal(size=(300, 1, 8, 8)) * 20 + 100 + 40 * y[:, None, None, None]).clip(0, 255).astype(np.uint8)
    dd.train((x, y), "datadiet:cnn", epochs=3, out=tmp_path / "dense", recipe={"augment": "none", "batch_size": 32})
    found = dd.recover(
        tmp_path / "dense", (x, y), eval="20%", keep=0.2, steps=1, recipe={"lr": 1e-9}, method="random", teacher=None,
        sparsify="global_magnitude:0.5",
    )  # fmt: skip
    rows = {row.name: row.accuracy for row in found.rows}
    assert abs(rows["random"] - rows["pruned"]) < 0.1 and abs(rows["all data"] - rows["pruned"]) < 0.1, rows


def test_all_rows_learn_from_the_teacher_with_the_same_weight(dense: Path, tmp_path: Path) -> None:
    recovered(dense, method="random", out=tmp_path / "out")
    plans = [json.loads((tmp_path / "out" / row / "manifest.json").read_text())["plan"] for row in ("random", "all")]
    assert plans[0]["teacher"] == plans[1]["teacher"] and plans[0]["rows_kept"] != plans[1]["rows_kept"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"keep": "150%"}, "150"),
        ({"method": "ccs", "params": {"wrong": 1}}, "parameter of ccs"),
        ({"method": "ccs", "score": "aum"}, "aum reads presentations"),
        ({"method": "ccs", "score": "nosuch"}, "nosuch"),
        ({"method": "ccs", "columns": {"cutoff_scores": "nosuch"}}, "nosuch"),
        ({"method": "beta"}, "dual reads presentations"),
        ({"method": "ccs", "score": "influence"}, "reference"),
        ({"method": "random", "score": "loss"}, "leave out score="),
        ({"method": "minhash"}, "compares texts"),
        ({"method": "semdedup", "params": {"epsilon": 0.1}}, "both decide how much is kept"),
        ({"teacher": None, "kd_weight": 0.5}, "are about a teacher"),
        ({"teacher": "nosuch"}, "no checkpoint nosuch"),
        ({"sparsify": "global_magnitude:1.5"}, "1.5"),
    ],
)
def test_options_are_refused_before_anything_is_pruned(
    dense: Path, tmp_path: Path, options: dict[str, Any], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "costs_of", lambda *_, **__: pytest.fail("it was pruned already"))
    with pytest.raises((OptionError, dd.DataError, dd.MissingSignal), match=why):
        dd.recover(dense, "digits", out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_what_select_takes_recover_takes(dense: Path, tmp_path: Path) -> None:
    found = recovered(dense, method="ccs", score="margin", columns={"cutoff_scores": "el2n"}, by_class=True)
    about = found.selection.meta
    assert about["columns"] == {"score": "margin", "cutoff_scores": "el2n"} and about["by_class"]
    wrapped = recovered(dense, method=lambda hardness, k, *, keys: np.argsort(hardness)[:k], teacher=dense)
    assert wrapped.rows[2].kept == 288


def test_what_a_user_is_told(dense: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="datadiet"):
        found = recovered(dense, method="random", out=tmp_path / "out", recipe={"lr": 100.0, "clip_norm": 1.0})
    assert repr(found) == str(found) == found.table()
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == len(set(texts)) and any("1438 examples of 10 classes" in text for text in texts)
    assert any("left the network worse than pruning did: take more than 12 steps" in text for text in texts)
    assert "zero already" not in caplog.text
    recovered(tmp_path / "out" / "random", method="random")
    assert "95 % of the weights are zero already" in caplog.text


def test_channels_can_be_removed_too(dense: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch_pruning")
    out, how = tmp_path / "out", {"sparsify": "channels:0.7", "keep": 0.2, "epochs": 40}
    found = dd.recover(dense, "digits", out=out, **how)
    rows = {row.name: row.accuracy for row in found.rows}
    assert rows["pruned"] < rows["paser"] and found.masks is None and len(found.removed) == 1
    assert found.costs[1].parameters < 0.31 * found.costs[0].parameters
    assert sum(p.numel() for p in found.model.parameters()) == found.costs[1].parameters
    assert dd.recover(dense, "digits", out=out, **how).rows == found.rows
    again = dd.score("digits", "datadiet:mlp", "loss", checkpoints=out / "paser")
    held = dd.score("digits", found.model, "loss")
    assert np.allclose(again["loss"], held["loss"], rtol=1e-4, atol=1e-6)
    network = dd.train("digits", "datadiet:mlp", epochs=4).model
    in_memory = dd.recover(network, "digits", **how)
    assert [row.accuracy for row in in_memory.rows[:2]] == [row.accuracy for row in found.rows[:2]]
    assert sum(p.numel() for p in in_memory.model.parameters()) == found.costs[1].parameters


def test_a_checkpoint_in_no_run_teaches_its_smaller_copy(dense: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch_pruning")
    file = tmp_path / "weights.safetensors"
    file.write_bytes((dense / "checkpoints/seed-0/epoch-4.safetensors").read_bytes())
    found = dd.recover(file, "digits", network="datadiet:mlp", sparsify="channels:0.3", method="random", steps=3)
    assert found.rows[2].steps == 3 and len(found.removed) == 1


def test_an_interrupted_recovery_continues_with_other_threads(dense: Path, tmp_path: Path) -> None:
    """As after a kill that left only the pruned network: it is read again, not made again."""
    how = {"method": "random", "sparsify": "snip:0.9", "keep": 0.2, "steps": 3, "out": tmp_path / "out"}
    first = dd.recover(dense, "digits", recipe={"threads": 2}, **how)
    for folder in ("random", "all"):
        shutil.rmtree(tmp_path / "out" / folder)
    weights = tmp_path / "out/pruned/checkpoints/seed-0/epoch-0.safetensors"
    before = weights.stat().st_mtime_ns
    again = dd.recover(dense, "digits", recipe={"threads": 2}, **how)
    assert [row.accuracy for row in again.rows] == [row.accuracy for row in first.rows]
    assert weights.stat().st_mtime_ns == before and again.rows[1].pruning == first.rows[1].pruning
    with pytest.raises(OptionError, match="sparsify"):
        dd.recover(dense, "digits", recipe={"threads": 2}, **{**how, "sparsify": "snip:0.8"})


def test_a_method_of_the_users_is_not_taken_for_the_baseline(dense: Path, tmp_path: Path) -> None:
    def random(hardness: np.ndarray, k: int, *, keys: Any) -> np.ndarray:
        return np.argsort(hardness)[:k]

    def all(hardness: np.ndarray, k: int, *, keys: Any) -> np.ndarray:
        return np.argsort(hardness)[:k]

    found = recovered(dense, method=random)
    assert [row.name for row in found.rows][2:] == ["random", "random", "all data"] and found.rows[2].choosing > 0
    assert recovered(dense, method=all, out=tmp_path / "out").rows[2].kept == 288


@pytest.mark.parametrize(("options", "why"), [({"epochs": 1, "steps": 3}, "give one"), ({"steps": 0}, "steps")])
def test_one_budget(dense: Path, options: dict[str, int], why: str) -> None:
    with pytest.raises(OptionError, match=why):
        dd.recover(dense, "digits", **options)  # type: ignore[arg-type]


def test_a_run_is_no_place_for_several(dense: Path) -> None:
    with pytest.raises(OptionError, match="is a run, and recover makes several"):
        dd.recover(dense, "digits", out=dense)


def test_held_out_examples_that_the_dense_network_saw_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    data = rng.standard_normal((60, 4)).astype(np.float32), np.arange(60) % 3
    how = {"method": "random", "keep": 0.5, "steps": 1, "eval": "20%"}
    dd.train(data, "datadiet:mlp", epochs=1, out=tmp_path / "seen")
    dd.train(data, "datadiet:mlp", epochs=1, eval="20%", out=tmp_path / "unseen")
    dd.recover(tmp_path / "unseen", data, **how)
    assert "held out here" not in caplog.text
    dd.recover(tmp_path / "seen", data, **how)
    assert "trained on examples that are held out here" in caplog.text
