"""Which unit is next, how long all take, and how workers share a cluster."""

from __future__ import annotations

import numpy as np
import pytest

from datadiet.runtime.cluster import Cluster, Share
from datadiet.runtime.simulation import makespan
from datadiet.runtime.unit_queue import UnitQueue
from datadiet.runtime.units import Unit


def parts(key, count, *after):
    return [Unit("measure", key, lo, lo + 1, after) for lo in range(count)]


def test_a_queue_gives_a_worker_more_of_the_same_pass_and_others_the_first():
    first, second = parts(("a", 0, 1), 3), parts(("b", 0, 1), 2)
    queue = UnitQueue([*first, *second])
    assert [queue.take(), queue.take(second[0])] == [first[0], second[0]]
    assert queue.take(second[0]) == second[1]
    assert [queue.take(second[1]), queue.take(), queue.take()] == [first[1], first[2], None]


def test_a_queue_gives_nothing_before_what_it_reads_is_done():
    train, prepare = Unit("train", (0,)), Unit("prepare", ("x", 0, 2), after=("train 0", "not among them"))
    queue = UnitQueue([*parts(("x", 0, 2), 2, train.name, prepare.name), prepare, train])
    assert queue.take() == train and queue.take() is None
    queue.done(train)
    assert queue.take() == prepare and queue.take() is None
    queue.back(prepare)
    assert queue.take() == prepare, "its worker was lost"
    queue.done(prepare)
    assert [unit.lo for unit in (queue.take(), queue.take())] == [0, 1] and queue.left == 2


def test_every_unit_is_given_once_whatever_comes_back():
    rng = np.random.default_rng(0)
    units = [Unit("train", (seed,)) for seed in range(3)]
    units += [unit for seed in range(3) for unit in parts(("e", seed, 1), 20, f"train {seed}")]
    queue, taken, done, last = UnitQueue(units), [], [], None
    while queue.left:
        while (unit := queue.take(last)) is not None and len(taken) < 4:
            taken.append(last := unit)
        if unit is not None:
            queue.back(unit)
        unit = taken.pop(rng.integers(len(taken)))
        if rng.random() < 0.3:
            queue.back(unit)
        else:
            assert set(unit.after) <= {other.name for other in done}
            queue.done(unit)
            done.append(unit)
    assert sorted(unit.name for unit in done) == sorted(unit.name for unit in units)


def test_the_makespan_of_a_small_run_by_hand():
    """Two trainings of 10 s, then 3 parts of 2 s each. Two workers: 10, then 6 parts in 3 rounds of 2 s."""
    units = [Unit("train", (seed,)) for seed in (0, 1)]
    units += [unit for seed in (0, 1) for unit in parts(("e", seed, 1), 3, f"train {seed}")]

    def seconds(unit):
        return 10.0 if unit.kind == "train" else 2.0

    assert makespan(units, seconds, 1) == 32
    assert makespan(units, seconds, 2) == 16
    assert makespan(units, seconds, 6) == 12, "no number of workers shortens a training and a part after it"
    assert makespan(units, seconds, 2, begin=5) == 21
    assert makespan(units, seconds, 1, handling=0.5) == 36


def test_a_queue_begins_what_reads_a_file_as_soon_as_that_is_there():
    train = Unit("train", (0,), reads=("state",))
    early, late = (Unit("measure", ("e", 0, epoch), 0, 1, ("train 0",), (f"epoch-{epoch}",)) for epoch in (1, 2))
    queue = UnitQueue([train, early, late])
    assert queue.take() == train and queue.take() is None
    queue.written("state")
    queue.written("epoch-1")
    assert queue.take() == early and queue.take() is None
    queue.written("epoch-1")  # again, by a training that was repeated
    queue.done(train)
    assert queue.take() == late and queue.take() is None and queue.reads == {"state", "epoch-1", "epoch-2"}


@pytest.mark.parametrize(
    ("nodes", "asked", "share"),
    [
        ([(16, 4), (16, 4)], (None, None, 0), Share(8, 4, 1)),
        ([(16, 4), (16, 4)], (None, 0.25, 0), Share(32, 1, 0.25)),
        ([(16, 4)], (2, None, 0), Share(2, 4, 1)),
        ([(4, 8)], (None, None, 0), Share(8, 0.5, 1)),
        ([(8, 0), (4, 0)], (None, None, 0), Share(2, 4, 0)),
        ([(8, 0), (4, 0)], (None, None, 1), Share(12, 1, 0)),
        ([(8, 0), (4, 0)], (3, None, 0), Share(3, 4, 0)),
        ([(2, 0)], (3, None, 1), Share(3, 0.66, 0)),
        ([(0, 0)], (8, None, 0), Share(8, 1, 0)),
        ([(0, 0), (8, 4)], (None, None, 0), Share(4, 2, 1)),
        ([(8, 4)], (None, 0.0, 2), Share(4, 2, 0)),
        ([(0, 0)], (None, None, 0), Share(1, 1, 0)),
        ([(8, 0)], (4, 1.0, 0), Share(4, 1, 1)),
    ],
)
def test_how_workers_share_a_cluster(nodes, asked, share):
    assert Cluster(tuple(nodes)).share(*asked) == share
