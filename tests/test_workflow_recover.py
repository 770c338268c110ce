"""Prune and recover, on the bundled digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import datadiet as dd
from datadiet.errors import OptionError
from datadiet.sparsity.prunable import prunable

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
    assert chosen.rows[2].name == "top_k" and chosen.rows[1] == found.rows[1]


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


def test_all_rows_learn_from_the_teacher_with_the_same_weight(dense: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="datadiet"):
        recovered(dense, method="random")
    told = [record.message.partition(" at temp")[0] for record in caplog.records if "x cross-entropy" in record.message]
    assert len(told) == 2 and told[0] == told[1]
