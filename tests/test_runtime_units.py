"""Units of work: how they are cut, in which order they are done, and who does them."""

from __future__ import annotations

import numpy as np
import pytest

from datadiet.errors import OptionError
from datadiet.runtime import Plan, RunFolder, Sink
from datadiet.runtime.hardware import Hardware
from datadiet.runtime.local import LocalFleet
from datadiet.runtime.units import LARGEST, MakeWorker, Product, Unit, in_order, shard_rows, shards


@pytest.mark.parametrize(("n", "size"), [(1, 1), (5, 2), (6, 2), (3, 100), (32768, 32768), (32769, 32768)])
def test_shards_cover_every_row_once(n, size):
    ranges = shards(n, size)
    assert [row for lo, hi in ranges for row in range(lo, hi)] == list(range(n))
    assert all(hi - lo == size for lo, hi in ranges[:-1]) and len(ranges) == -(-n // size)


@pytest.mark.parametrize("n", [1, 2048, 100_000, 1_281_167, 10**9])
@pytest.mark.parametrize("batch", [1, 100, 512])
@pytest.mark.parametrize("row_bytes", [16, 2048, 16384])
def test_a_part_has_whole_batches_many_rows_and_few_bytes(n, batch, row_bytes):
    rows = shard_rows(n, batch, row_bytes)
    assert rows % batch == 0 and rows * row_bytes <= max(LARGEST, batch * row_bytes)
    enough = rows >= 2048 and -(-n // rows) <= 256
    assert enough or (rows + batch) * row_bytes > LARGEST, "only the bytes may make parts smaller"


def test_units_come_after_what_they_read_and_else_as_they_are_given():
    train, prepare = Unit("train", (0,)), Unit("prepare", ("dots", 0, 2), after=("train 0",))
    parts = [Unit("measure", ("dots", 0, 2), lo, hi, (train.name, prepare.name)) for lo, hi in ((0, 4), (4, 6))]
    assert in_order([*parts[::-1], prepare, train]) == [train, prepare, *parts[::-1]]
    assert in_order([*parts, prepare]) == [prepare, *parts], "what is not in the list is done"
    assert parts[1].name == "measure dots 0 2 rows 4-6"


def test_the_order_of_many_units_takes_one_look_at_each(monkeypatch):
    looks = []
    name = Unit.name.fget
    monkeypatch.setattr(Unit, "name", property(lambda unit: looks.append(1) or name(unit)))
    parts = [Unit("measure", ("eval", 0, 1), lo, lo + 1, ("train 0",)) for lo in range(500)]
    assert in_order([*parts, Unit("train", (0,))])[1:] == parts
    assert len(looks) <= 3 * 501


def test_units_that_wait_for_each_other_or_share_a_name_are_refused():
    with pytest.raises(OptionError, match="wait for each other"):
        in_order([Unit("a", (1,), after=("b 2",)), Unit("b", (2,), after=("a 1",))])
    with pytest.raises(OptionError, match="two units are called 'a 1'"):
        in_order([Unit("a", (1,)), Unit("a", (1,))])


class Doubling:
    """A worker that writes the rows of its unit, twice."""

    def __init__(self, plan, done):
        self.plan, self.done = plan, done

    def run(self, unit, emit):
        self.done.append(unit.name)
        emit(Product(f"embeddings/x/seed-0/epoch-1/part-{unit.lo}-{unit.hi}.npy", 2 * np.arange(unit.lo, unit.hi)))

    def close(self):
        self.done.append("closed")


def run_units(plan, units, make, sink):
    LocalFleet(Hardware.here()).run(plan, units, MakeWorker(lambda path: make(), make), sink)


def test_the_local_executor_does_the_units_and_closes_its_worker(tmp_path):
    plan, done = Plan({"a": 1}), []
    sink = Sink(RunFolder.open(tmp_path, plan))
    units = [Unit("measure", ("x",), 0, 2), Unit("measure", ("x",), 2, 3)]
    run_units(plan, units, lambda: Doubling(plan, done), sink)
    assert done == ["measure x rows 0-2", "measure x rows 2-3", "closed"]
    assert np.load(tmp_path / "embeddings/x/seed-0/epoch-1/part-2-3.npy").tolist() == [4]
    run_units(plan, [], lambda: pytest.fail("a worker was built for nothing"), sink)


def test_a_worker_of_another_plan_is_refused_before_it_does_anything(tmp_path):
    plan, done = Plan({"a": 1}), []
    sink = Sink(RunFolder.open(tmp_path / "run", plan))
    with pytest.raises(OptionError, match=r"the worker does not match the run \(a is 2 there and 1 in the run\)"):
        run_units(plan, [Unit("measure", ("x",), 0, 2)], lambda: Doubling(Plan({"a": 2}), done), sink)
    assert done == [] and not (tmp_path / "run").exists()


def test_a_worker_is_closed_when_a_unit_fails(tmp_path):
    plan, done = Plan({"a": 1}), []

    class Failing(Doubling):
        def run(self, unit, emit):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_units(plan, [Unit("measure", ("x",), 0, 2)], lambda: Failing(plan, done), Sink(RunFolder(tmp_path, plan)))
    assert done == ["closed"]
