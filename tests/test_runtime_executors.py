"""Executors without a cluster: who is chosen, what is queued, shared and sent, and what an actor says."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import datadiet as dd
from datadiet.errors import DataError, MissingExtra, OptionError
from datadiet.runtime import Plan, RunFolder, Sink, transfer
from datadiet.runtime.actor import Actor, Failure
from datadiet.runtime.cluster import Cluster, Share
from datadiet.runtime.crew import Crew
from datadiet.runtime.executors import executor_for
from datadiet.runtime.hardware import Hardware
from datadiet.runtime.local import LocalExecutor
from datadiet.runtime.ray import RayExecutor
from datadiet.runtime.simulation import makespan
from datadiet.runtime.transfer import Arrivals, Piece, pieces_of
from datadiet.runtime.unit_queue import UnitQueue
from datadiet.runtime.units import Cost, Product, Unit


@pytest.fixture(autouse=True)
def _level():
    """An actor has a process of its own, and makes its log quiet."""
    log = logging.getLogger("datadiet")
    before = log.level
    yield
    log.setLevel(before)


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
        ([(2, 0)], (3, None, 1), Share(3, 0.67, 0)),
        ([(8, 4)], (None, 0.0, 2), Share(4, 2, 0)),
        ([(0, 0)], (None, None, 0), Share(1, 1, 0)),
        ([(8, 0)], (4, 1.0, 0), Share(4, 1, 1)),
    ],
)
def test_how_workers_share_a_cluster(nodes, asked, share):
    assert Cluster(tuple(nodes)).share(*asked) == share


def test_a_file_arrives_as_it_was_sent(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "PIECE", 1000)
    (tmp_path / "from" / "a").mkdir(parents=True)
    arrivals = Arrivals(tmp_path / "to")
    for size in (0, 1, 1000, 1001, 12345):
        content = np.random.default_rng(size).bytes(size)
        (tmp_path / "from" / "a" / "f").write_bytes(content)
        pieces = list(pieces_of(tmp_path / "from", "a/f"))
        assert len(pieces) == max(1, -(-size // 1000))
        assert [arrivals.add(pickle.loads(pickle.dumps(piece))) for piece in pieces] == [piece.last for piece in pieces]
        assert (tmp_path / "to" / "a" / "f").read_bytes() == content


def test_a_file_whose_sender_is_lost_leaves_nothing(tmp_path):
    arrivals = Arrivals(tmp_path)
    assert not arrivals.add(Piece("a/f", np.ones(10, dtype=np.uint8), last=False))
    arrivals.drop()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert arrivals.add(Piece("a/f", np.zeros(3, dtype=np.uint8), last=True))
    assert (tmp_path / "a" / "f").read_bytes() == b"\0\0\0"


class Writing:
    """A worker that makes one product of every kind."""

    def __init__(self, plan, path):
        self.plan, self.path = plan, path

    def run(self, unit, emit):
        if unit.kind == "fail":
            raise DataError("the example 'x' is damaged.")
        if unit.kind == "odd":
            raise RuntimeError(lambda: 1)
        emit(Product("embeddings/x/seed-0/epoch-1/part-0-2.npy", np.arange(2)))
        emit(Product("state/seed-0", "text"))
        emit(Product("run.json", {"a": 1}))
        emit(Product("run.json", Cost("x", 2.0)))
        emit(Product("state/seed-0", None))

    def close(self):
        pass


def begun(tmp_path, token=None):
    plan = Plan({"a": 1})
    sink = Sink(RunFolder(tmp_path, plan))
    made = np.frombuffer(pickle.dumps(Made(plan)), dtype=np.uint8)
    actor = Actor()
    with sink.probe() as (path, content):
        answer = actor.begin(made, (os.getcwd(), ()), plan, tmp_path, (path, token or content))
    return actor, answer


class Made:
    def __init__(self, plan):
        self.plan = plan

    def __call__(self, path):
        return Writing(self.plan, path)


def test_an_actor_that_sees_the_folder_writes_files_and_returns_what_belongs_into_json(tmp_path):
    actor, answer = begun(tmp_path)
    assert answer == (True, "")
    messages = list(actor.run(Unit("measure", ("x", 0, 1))))
    assert [(m.path, m.content) for m in messages] == [("run.json", {"a": 1}), ("run.json", Cost("x", 2.0))]
    assert np.load(tmp_path / "embeddings/x/seed-0/epoch-1/part-0-2.npy").tolist() == [0, 1]
    assert not (tmp_path / "state/seed-0").exists() and not (tmp_path / "run.json").exists()


def test_an_actor_that_does_not_see_the_folder_returns_the_files(tmp_path):
    actor, answer = begun(tmp_path, token="another")
    assert answer == (False, "")
    messages = list(actor.run(Unit("measure", ("x", 0, 1))))
    assert [type(message) for message in messages] == [Piece, Piece, Product, Product, Product]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["manifest.json"], "of the probe"
    folder = actor._temporary
    assert bytes(messages[0].data) == (folder / messages[0].path).read_bytes()
    actor.close()
    assert not folder.exists()


def test_an_error_in_a_unit_is_returned_as_it_is(tmp_path):
    actor, _ = begun(tmp_path)
    (failure,) = actor.run(Unit("fail", (0,)))
    assert isinstance(failure, Failure) and isinstance(failure.error, DataError)
    assert str(failure.error) == "the example 'x' is damaged." and "in run" in failure.trace
    (odd,) = actor.run(Unit("odd", (0,)))
    assert isinstance(odd.error, RuntimeError), "one that cannot be pickled is returned as text"


def test_the_automatic_executor_is_ray_only_where_there_is_one(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert isinstance(executor_for("auto"), LocalExecutor) and isinstance(executor_for("local"), LocalExecutor)
    assert isinstance(executor_for("ray"), RayExecutor)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert isinstance(executor_for("auto"), RayExecutor) and isinstance(executor_for("local"), LocalExecutor)
    mine = RayExecutor(actors=3)
    assert executor_for(mine) is mine
    with pytest.raises(OptionError, match="'rya' is not a name: did you mean 'ray'"):
        executor_for("rya")


def test_the_automatic_executor_says_how_many_gpus_stay_idle(monkeypatch, caplog):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    with caplog.at_level("INFO"):
        executor_for("auto", "cpu")
        executor_for("local")
        assert not caplog.text
        executor_for("auto")
    assert "3 other GPUs stay idle: executor='ray' (--executor ray) uses all" in caplog.text


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"actors": 0}, "actors=0: give a whole number of at least 1"),
        ({"actors": 1.5}, "actors=1.5: give a whole number"),
        ({"gpus_per_actor": 1.5}, "gpus_per_actor=1.5: give a share of a GPU, such as 0.25, or a whole number"),
        ({"gpus_per_actor": -1}, "gpus_per_actor=-1: give a share"),
    ],
)
def test_impossible_options_of_ray_are_refused(options, problem):
    with pytest.raises(OptionError, match=problem):
        RayExecutor(**options)


def test_what_ray_cannot_do_is_refused_before_any_work(monkeypatch, tmp_path):
    with pytest.raises(OptionError, match="device='cuda:1' is one card of one machine"):
        dd.score("digits", "datadiet:mlp", epochs=1, device="cuda:1", executor="ray")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'datadiet\[ray\]'"):
        dd.score("digits", "datadiet:mlp", epochs=1, executor="ray", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_address_of_ray_client_is_refused():
    pytest.importorskip("ray", reason="needs the extra ray")
    with pytest.raises(OptionError, match="is an address of Ray Client, which cannot stream results"):
        dd.score("digits", "datadiet:mlp", epochs=1, executor=RayExecutor(address="ray://head:10001"))


def test_the_hardware_is_in_the_plan_but_its_threads_are_not():
    here = Hardware.here("cpu")
    assert here.for_plan() == {
        "device": "cpu", "device_model": torch.backends.cpu.get_cpu_capability(), "torch": torch.__version__,
    }  # fmt: skip
    assert here.threads == torch.get_num_threads()


def test_naming_the_executor_loads_neither_torch_nor_ray():
    code = "import datadiet, sys; datadiet.RayExecutor(actors=2); print({'torch', 'ray'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_a_worker_that_dies_whenever_it_opens_the_data_is_left_out_with_one_sentence():
    kinds = ("RayActorError", "ObjectLostError", "NodeDiedError", "WorkerCrashedError", "OutOfMemoryError")
    errors = SimpleNamespace(**{name: type(name, (Exception,), {}) for name in kinds})
    crew = Crew(SimpleNamespace(exceptions=errors, kill=lambda *_, **__: None), object, "cpu", "1 core", 1.0)
    crew._engage(1)
    (member,) = crew._members
    for _ in range(5):
        assert crew._members == [member]
        member.doing = "begin"
        crew._miss(member, None, errors.RayActorError("it was killed"))
    assert crew._members == []
    assert str(crew._cause).startswith("it ended 5 times while it opened data and model (RayActorError): give each")
