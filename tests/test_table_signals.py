"""Signals: arrays from parts, in memory and on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datadiet.errors import DataError, MissingSignal, OptionError
from datadiet.table import Signals


def part(index: list[int], **columns: list) -> pa.Table:
    types = {"correct": pa.bool_()}
    return pa.table(
        {"index": pa.array(index, pa.int64())}
        | {n: pa.array(v, types.get(n, pa.float32())) for n, v in columns.items()}
    )


def test_golden_parts_and_rows_that_were_not_presented() -> None:
    # Epoch 1 of seed 4 comes in two parts, out of order; epoch 2 lacks row 1; seed 9 saw row 2 only, and never epoch 2.
    signals = Signals(3, {
        ("train", 4, 1): [part([2, 0], loss=[0.25, 0.5], correct=[True, False]), part([1], loss=[1.5], correct=[True])],
        ("train", 4, 2): [part([0, 2], loss=[2.5, 3.5], correct=[True, True])],
        ("train", 9, 1): [part([2], loss=[4.5], correct=[True])],
        ("train", 9, 2): [part([], loss=[], correct=[])],
    })  # fmt: skip
    values, seen = signals.array("loss", "train", [1, 2])
    assert (
        values.tolist() == [[[0.5, 1.5, 0.25], [2.5, 0, 3.5]], [[0, 0, 4.5], [0, 0, 0]]] and values.dtype == np.float32
    )
    assert seen.astype(int).tolist() == [[[1, 1, 1], [1, 0, 1]], [[0, 0, 1], [0, 0, 0]]]
    correct, _ = signals.array("correct", "train", [2])
    assert correct.dtype == bool and correct.astype(int).tolist() == [[[1, 0, 1]], [[0, 0, 0]]]
    assert signals.seeds == [4, 9] and signals.epochs("train") == [1, 2] and signals.epochs("eval") == []


def test_epochs_come_in_the_order_asked_for() -> None:
    signals = Signals(1, {("eval", 0, e): [part([0], loss=[float(e)])] for e in (1, 2, 3)})
    assert signals.array("loss", "eval", [3, 1])[0].ravel().tolist() == [3, 1]


def test_nan_means_not_measured() -> None:
    values, seen = Signals(2, {("train", 0, 1): [part([0, 1], shift=[np.nan, 2.0])]}).array("shift", "train", [1])
    assert values.tolist() == [[[0, 2]]] and seen.tolist() == [[[False, True]]]


def test_only_epochs_that_every_seed_has_are_offered() -> None:
    signals = Signals(1, {("eval", s, e): [part([0], loss=[0.0])] for s, e in [(0, 1), (0, 5), (1, 5)]})
    assert signals.epochs("eval") == [5]


def test_what_was_not_recorded_is_named() -> None:
    signals = Signals(1, {("train", 0, 1): [part([0], loss=[0.0])]})
    with pytest.raises(MissingSignal, match=r"eval mode at epoch 1 of seed 0 \(recorded epochs: none\)"):
        signals.array("loss", "eval", [1])
    with pytest.raises(MissingSignal, match=r"epoch 2 of seed 0 \(recorded epochs: \[1\]\)"):
        signals.array("loss", "train", [1, 2])
    with pytest.raises(MissingSignal, match="'margin' was not recorded in train mode"):
        signals.array("margin", "train", [1])
    with pytest.raises(MissingSignal, match=r"'feature_norm'.*last linear layer"):
        signals.array("feature_norm", "train", [1])


def write_part(run: Path, low: int, high: int, seed: int = 0, epoch: int = 1) -> None:
    folder = run / "signals" / "eval" / f"seed-{seed}" / f"epoch-{epoch}"
    folder.mkdir(parents=True, exist_ok=True)
    rows = list(range(low, high))
    pq.write_table(part(rows, loss=[10.0 * epoch + r for r in rows]), folder / f"part-{low:010d}-{high:010d}.parquet")


def test_parts_on_disk_are_joined(tmp_path: Path) -> None:
    for epoch in (2, 10):
        write_part(tmp_path, 0, 2, seed=3, epoch=epoch)
        write_part(tmp_path, 2, 3, seed=3, epoch=epoch)
    signals = Signals.open(tmp_path, 3, labels=np.array([7, 8, 9]))
    assert signals.seeds == [3] and signals.epochs("eval") == [2, 10] and signals.labels.tolist() == [7, 8, 9]
    values, seen = signals.array("loss", "eval", [2, 10])
    assert values.tolist() == [[[20, 21, 22], [100, 101, 102]]] and seen.all()


@pytest.mark.parametrize(
    "ranges", [[(0, 2)], [(1, 3)], [(0, 2), (1, 3)], [(0, 1), (2, 3)], [(0, 3), (0, 3 + 1)], [(0, 2), (2, 4)]]
)
def test_parts_that_overlap_or_leave_rows_out_are_refused(tmp_path: Path, ranges: list) -> None:
    for low, high in ranges:
        write_part(tmp_path, low, high)
    with pytest.raises(DataError, match="does not hold rows 0 to 3 once each"):
        Signals.open(tmp_path, 3)


def test_a_truncated_part_is_refused_when_it_is_read(tmp_path: Path) -> None:
    write_part(tmp_path, 0, 3)
    (path,) = tmp_path.glob("signals/eval/seed-0/epoch-1/*.parquet")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match="not a complete Parquet file"):
        Signals.open(tmp_path, 3).array("loss", "eval", [1])


def test_runs_with_different_seeds_are_merged() -> None:
    runs = [Signals(1, {("train", s, 1): [part([0], loss=[float(s)])]}, meta={"facts": {"epochs": 1}}) for s in (5, 2)]
    merged = Signals.merged(runs)
    assert merged.seeds == [2, 5] and merged.array("loss", "train", [1])[0].ravel().tolist() == [2, 5]
    assert merged.meta == {"facts": {"epochs": 1}}


def test_runs_that_do_not_belong_together_are_refused() -> None:
    run = Signals(1, {("train", 0, 1): [part([0], loss=[0.0])]})
    with pytest.raises(OptionError, match="same seed"):
        Signals.merged([run, run])
    with pytest.raises(OptionError, match="same number of examples"):
        Signals.merged([run, Signals(2, {})])
    with pytest.raises(OptionError, match="at least one"):
        Signals.merged([])
