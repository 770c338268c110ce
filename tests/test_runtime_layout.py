"""The names under which the parts of passes are filed, and reading those parts back."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datadiet.errors import DataError, MissingSignal
from datadiet.runtime.layout import describe_pass, reference_in
from datadiet.scorers import SCORERS
from datadiet.signals.passes import PASSES
from datadiet.table import Signals

HASH = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"mode": "train"}, "train"),
        ({"mode": "eval", "epochs": [4]}, "eval"),
        ({"mode": "grad", "epochs": [4], "options": {"per_layer": False}}, "grad"),
        ({"mode": "grad", "options": {"per_layer": True}}, "grad@per_layer=True"),
        ({"mode": "vog", "epochs": [1, 2, 3, 4, 5]}, "vog@1-5"),
        ({"mode": "dots", "reference": HASH}, "dots@0123456789ab"),
        ({"mode": "features", "reference": HASH}, "features@0123456789ab"),
        ({"mode": "projected", "options": {"dim": 512}}, "projected"),
        ({"mode": "projected", "reference": HASH, "options": {"dim": 64}}, "projected@0123456789ab@dim=64"),
    ],
)  # fmt: skip
def test_golden_names(given, name):
    given = dict(given)
    assert PASSES[given.pop("mode")].filed_as(**given) == name


def test_what_decides_the_content_decides_the_name():
    names = set()
    for epochs, reference, options in product(([1, 2], [1, 3]), ("", HASH, HASH[::-1]), (0, 1)):
        for mode, kind in PASSES.items():
            given = {key: not v if isinstance(v, bool) else v + options for key, v in kind.options.items()}
            names.add((kind.filed_as(epochs, reference, given if options else {}), mode))
    kinds = PASSES.values()
    assert len(names) == 3 * (len(kinds) + sum(kind.together for kind in kinds) + sum(bool(k.options) for k in kinds))
    assert len({name for name, _ in names}) == len(names)


def test_names_are_names_of_folders_also_in_long_runs():
    """File systems take 255 bytes."""
    for mode in PASSES:
        name = PASSES[mode].filed_as(range(1, 201), HASH, {"dim": 4096} if PASSES[mode].vectors else {})
        assert not set('/\\:*?"<>| ') & set(name) and len(name.encode()) < 200, name


def test_what_a_name_says_is_read_back():
    name = PASSES["projected"].filed_as(reference=HASH, options={"dim": 64})
    assert reference_in(name) == HASH[:12] and reference_in("vog@1-12") == reference_in("grad@per_layer=True") == ""
    assert describe_pass(name) == "the pass projected with dim=64, for this reference data"


def test_what_scorers_need_is_what_passes_have():
    for name, spec in SCORERS.items():
        for need in spec.needs:
            kind = PASSES[need.pass_name]
            assert set(need.options) <= set(kind.options), name
            assert need.signal in (need.pass_name, "labels") or not kind.vectors, name


def test_a_pass_is_one_record():
    """Only presentations are not measured by running over the data; whoever takes gradients goes by the recipe."""
    assert {name for name, kind in PASSES.items() if kind.measure is None} == {"train"}
    assert {name for name, kind in PASSES.items() if kind.prepare is not None} == {"dots", "ekfac"}
    for name, kind in PASSES.items():
        assert kind.name == name and (kind.batch == "recipe" or not kind.gradients)
        assert kind.forwards > 1 or not kind.gradients, "a backward pass counts two"


def write(run: Path, name: str, spans: list[tuple[int, int]], width: int = 2, seed: int = 0, epoch: int = 1) -> None:
    folder = run / "embeddings" / name / f"seed-{seed}" / f"epoch-{epoch}"
    folder.mkdir(parents=True, exist_ok=True)
    for lo, hi in spans:
        rows = np.arange(lo, hi, dtype=np.float32)[:, None]
        np.save(folder / f"part-{lo}-{hi}.npy", np.repeat(rows, width, axis=1) + 100 * seed + 10 * epoch)


def test_parts_of_vectors_are_joined_in_the_order_of_their_rows(tmp_path):
    for seed, epoch in product((0, 3), (1, 2)):
        write(tmp_path, "features", [(8, 12), (0, 8)], seed=seed, epoch=epoch)
    vectors = np.asarray(Signals.open(tmp_path, 12).vectors("features", [1, 2]))
    assert vectors.shape == (2, 2, 12, 2) and vectors.dtype == np.float32
    assert vectors[1, 0, :, 1].tolist() == [310 + row for row in range(12)]
    assert vectors[0, 1, :, 0].tolist() == [20 + row for row in range(12)]


def test_vectors_of_the_reference_may_be_more_or_fewer(tmp_path):
    write(tmp_path, "features@0123456789ab", [(0, 4), (4, 5)])
    write(tmp_path, "features@ba9876543210", [(0, 40)])
    signals = Signals.open(tmp_path, 12)
    assert np.shape(signals.vectors("features@0123456789ab", [1])) == (1, 1, 5, 2)
    assert np.shape(signals.vectors("features@ba9876543210", [1])) == (1, 1, 40, 2)


@pytest.mark.parametrize("name", ["features", "projected@dim=64"])
@pytest.mark.parametrize("spans", [[(0, 4)], [(4, 12)], [(0, 4), (8, 12)], [(0, 8), (4, 12)], [(0, 13)]])
def test_vectors_of_the_data_cover_it_once(tmp_path, name, spans):
    write(tmp_path, name, spans)
    with pytest.raises(DataError, match=r"epoch-1 does not hold rows 0 to 12 once each"):
        Signals.open(tmp_path, 12)


def test_a_hole_in_the_reference_is_refused(tmp_path):
    write(tmp_path, "features@0123456789ab", [(0, 4), (8, 12)])
    with pytest.raises(DataError, match="once each"):
        Signals.open(tmp_path, 20)


def test_vectors_that_were_not_recorded_are_named(tmp_path):
    write(tmp_path, "features", [(0, 12)])
    signals = Signals.open(tmp_path, 12)
    with pytest.raises(MissingSignal, match="the pass features at epoch 2 of seed 0"):
        signals.vectors("features", [1, 2])
    with pytest.raises(MissingSignal, match="the pass projected at epoch 1"):
        signals.vectors("projected", [1])


def test_a_damaged_part_is_named(tmp_path):
    """Whoever copies a run over a network may end up with one."""
    write(tmp_path, "features", [(0, 12)])
    (path,) = tmp_path.rglob("*.npy")
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match=path.name):
        Signals.open(tmp_path, 12).vectors("features", [1])


def test_what_a_kill_left_behind_is_not_read(tmp_path):
    write(tmp_path, "features", [(0, 12)])
    (path,) = tmp_path.rglob("*.npy")
    path.with_name(".part-12-20.npy.77.tmp").write_bytes(b"half")
    assert np.shape(Signals.open(tmp_path, 12).vectors("features", [1])) == (1, 1, 12, 2)


def test_the_columns_of_a_pass_in_memory_and_on_disk(tmp_path):
    table = pa.table({"index": [0, 1], "grad_norm": [1.0, 2.0], "grad_norm/head": [1.0, 1.0]})
    assert Signals(2, {("grad", 0, 1): [table]}).columns("grad", 1) == ["index", "grad_norm", "grad_norm/head"]
    path = tmp_path / "signals/grad/seed-0/epoch-1/part-0-2.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(table, path)
    assert Signals.open(tmp_path, 2).columns("grad", 1) == table.column_names
