"""Executors without a cluster: who is chosen, what is queued, shared and sent, and what an actor says."""

from __future__ import annotations

import io
import logging
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import datadiet as dd
from datadiet.data.specs import opened_elsewhere
from datadiet.errors import DataError, MissingExtra, OptionError
from datadiet.models.running import placed
from datadiet.progress import Progress
from datadiet.runtime import Plan, RunFolder, Sink, planned_hardware, transfer
from datadiet.runtime.actor import Actor, Failure, Note, ProcessFailed, Written, _sees
from datadiet.runtime.cluster import Cluster, Share
from datadiet.runtime.executors import executor_for
from datadiet.runtime.hardware import Hardware, versions
from datadiet.runtime.local import LocalExecutor
from datadiet.runtime.ray import RayExecutor
from datadiet.runtime.remote_worker import Job
from datadiet.runtime.simulation import makespan
from datadiet.runtime.transfer import Arrivals, Departures, Piece, pieces_of
from datadiet.runtime.unit_queue import UnitQueue
from datadiet.runtime.units import Cost, Product, Unit
from datadiet.runtime.worker_pool import WorkerPool
from datadiet.workflow.scoring.recording import RecordingJob
from datadiet.workflow.session import JobSpec


@pytest.fixture(autouse=True)
def _level():
    """An actor has a process of its own, and makes its log quiet."""
    log = logging.getLogger("datadiet")
    before, handlers = log.level, [*log.handlers]
    yield
    log.setLevel(before)
    log.handlers = handlers


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


def test_the_pieces_of_a_file_are_stored_once_until_it_changes(tmp_path):
    stored = []
    departures = Departures(lambda piece: stored.append(piece) or len(stored))
    (tmp_path / "f").write_bytes(b"old")
    assert departures.of(tmp_path, "f") == departures.of(tmp_path, "f") == [1]
    (tmp_path / "f").write_bytes(b"new")
    os.utime(tmp_path / "f", ns=(1, 1))
    assert departures.of(tmp_path, "f") == [2] and bytes(stored[1].data) == b"new"
    for name in "abcd":
        (tmp_path / name).write_bytes(b"")
        departures.of(tmp_path, name)
    assert departures.of(tmp_path, "f") == [7], "only the latest are kept"


def test_a_file_whose_sender_is_lost_leaves_nothing(tmp_path):
    arrivals = Arrivals(tmp_path)
    assert not arrivals.add(Piece("a/f", np.ones(10, dtype=np.uint8), last=False))
    arrivals.drop()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert arrivals.add(Piece("a/f", np.zeros(3, dtype=np.uint8), last=True))
    assert (tmp_path / "a" / "f").read_bytes() == b"\0\0\0"


READS = frozenset({"state/seed-0"})


class Writing:
    """A worker that makes one product of every kind."""

    def __init__(self, plan, path):
        self.plan, self.path = plan, path

    def run(self, unit, emit):
        if unit.kind == "fail":
            raise DataError("the example 'x' is damaged.")
        if unit.kind == "odd":
            raise RuntimeError(lambda: 1)
        if unit.kind == "gpu":
            raise DataError("the network fails.") from torch.AcceleratorError("an illegal memory access")
        if unit.kind == "warn":
            logging.getLogger("datadiet").warning("the weights of %s are rounded", unit.kind)
        emit(Product("embeddings/x/seed-0/epoch-1/part-0-2.npy", np.arange(2), examples=2))
        emit(Product("state/seed-0", "text"))
        emit(Product("run.json", {"a": 1}))
        emit(Product("run.json", Cost("x", 2.0)))
        emit(Product("state/seed-0", None))

    def close(self):
        pass


def begun(tmp_path, token=None):
    plan = Plan({"a": 1})
    sink = Sink(RunFolder(tmp_path, plan))
    made = (pickle.dumps(Made(plan)), [])
    actor = Actor()
    with sink.probe() as (path, content):
        answer = actor.begin(made, (os.getcwd(), ()), plan, tmp_path, (path, token or content), READS, 1)
    return actor, answer


class Made:
    def __init__(self, plan):
        self.plan = plan

    def __call__(self, path):
        return Writing(self.plan, path)


def test_an_actor_that_sees_the_folder_writes_files_and_returns_what_belongs_into_json(tmp_path):
    actor, answer = begun(tmp_path)
    assert answer == (True, "", ())
    messages = list(actor.run(Unit("measure", ("x", 0, 1))))
    assert messages == [
        Written("embeddings/x/seed-0/epoch-1/part-0-2.npy", 2), Written("state/seed-0", 0),
        Product("run.json", {"a": 1}), Product("run.json", Cost("x", 2.0)),
    ]  # fmt: skip
    assert np.load(tmp_path / "embeddings/x/seed-0/epoch-1/part-0-2.npy").tolist() == [0, 1]
    assert not (tmp_path / "state/seed-0").exists() and not (tmp_path / "run.json").exists()


def test_an_actor_that_does_not_see_the_folder_returns_the_files(tmp_path):
    actor, answer = begun(tmp_path, token="another")
    assert answer == (False, "", ())
    sent = actor.run(Unit("measure", ("x", 0, 1)))
    piece, folder = next(sent), actor._temporary
    assert piece.last and np.load(io.BytesIO(piece.data.tobytes())).tolist() == [0, 1]
    messages = list(sent)
    assert [type(message) for message in messages] == [Written, Piece, Written, Product, Product, Product]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["manifest.json"], "of the probe"
    assert not [*folder.rglob("part-*")], "what is sent and not read again is removed"
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
    assert "3 more GPUs are idle: executor='ray' (--executor ray) uses all GPUs" in caplog.text


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"actors": 0}, "actors=0: give a whole number of at least 1"),
        ({"actors": 1.5}, "actors=1.5: give a whole number"),
        ({"gpus_per_actor": 2}, r"gpus_per_actor=2 \(--gpus-per-actor\): a worker uses one GPU at most"),
        ({"gpus_per_actor": -1}, "a number from 0 to 1, such as 0.25"),
    ],
)
def test_impossible_options_of_ray_are_refused(options, problem):
    with pytest.raises(OptionError, match=problem):
        RayExecutor(**options)


def test_what_ray_cannot_do_is_refused_before_any_work(monkeypatch, tmp_path):
    with pytest.raises(OptionError, match="device='cuda:1' names one GPU, but Ray assigns a GPU to each worker"):
        dd.score("digits", "datadiet:mlp", epochs=1, device="cuda:1", executor="ray")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'datadiet\[ray\]'"):
        dd.score("digits", "datadiet:mlp", epochs=1, executor="ray", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_address_of_ray_client_is_refused():
    pytest.importorskip("ray", reason="needs the extra ray")
    with pytest.raises(OptionError, match="is a Ray Client address, and Ray Client cannot stream results"):
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


KINDS = (
    "RayError", "RayActorError", "ActorUnavailableError", "ObjectLostError", "NodeDiedError", "WorkerCrashedError",
    "OutOfMemoryError",
)  # fmt: skip


@pytest.fixture
def pool():
    """A pool of one worker, and what was killed; Ray does nothing."""
    errors = SimpleNamespace(**{name: type(name, (Exception,), {}) for name in KINDS})
    ray = SimpleNamespace(exceptions=errors, killed=[], available_resources=lambda: {"CPU": 1.0})
    ray.kill = lambda actor, no_restart: ray.killed.append(no_restart)
    ray.put = lambda piece: piece
    ray.wait = lambda answers, **_: (answers[:1], answers[1:])
    ray.get = lambda answer: answer
    found = WorkerPool(ray, SimpleNamespace, "cpu", "1 core", 1.0)
    found._add(1)
    return found


def job_of(tmp_path, *units):
    sink = Sink(RunFolder(tmp_path, Plan({"a": 1})))
    return Job(Plan({"a": 1}), None, ("", ()), (tmp_path, ""), sink, UnitQueue(units))


def running(pool, job):
    """The worker of the pool, in the middle of a unit."""
    (worker,) = pool._workers
    worker.call, worker.unit, worker.arrivals = "run", job.queue.take(), Arrivals(job.folder)
    return worker


def test_a_worker_that_dies_whenever_it_opens_the_data_is_left_out_with_one_sentence(pool):
    (worker,) = pool._workers
    for _ in range(5):
        assert pool._workers == [worker]
        worker.call = "begin"
        pool._on_death(worker, None, pool.ray.exceptions.RayActorError("it was killed"), Progress("", 0))
    assert pool._workers == []
    assert str(pool._nobody_left()).startswith("the worker died 5 times while opening the data and the model (RayAct")


@pytest.mark.parametrize("message", [ProcessFailed("it was restarted while it was idle"), "an error of Ray"])
def test_a_unit_whose_worker_cannot_do_it_goes_back_into_the_queue(pool, tmp_path, message):
    """The worker was restarted while it waited, so that it has opened nothing; or Ray cannot give its answer."""
    job = job_of(tmp_path, Unit("embed", ("x", 0, 1), 0, 8))
    worker, progress = running(pool, job), Progress("", 8)
    if isinstance(message, str):
        worker.answer = iter([message])
        pool.ray.get = lambda answer: (_ for _ in ()).throw(pool.ray.exceptions.RayError(answer))
    else:
        worker.answer = iter([message])
    assert pool._take(worker, job, progress) is False
    assert job.queue.left == 1 and job.queue.take() == Unit("embed", ("x", 0, 1), 0, 8)
    assert pool.ray.killed == [isinstance(message, str)]


def test_a_worker_that_dies_before_it_is_up_does_not_count_as_activity(pool):
    (worker,) = pool._workers
    worker.call, worker.answer = "hardware", "lost"
    pool.ray.get = lambda answer: (_ for _ in ()).throw(pool.ray.exceptions.RayActorError("torch cannot be imported"))
    pool._waiting._active -= 2
    with pytest.raises(OptionError, match=r"no worker has started for 1 s \(the last one died: torch cannot be imp"):
        pool._wait(None, Progress("", 0))


def test_a_process_that_may_still_work_is_ended_before_its_unit_is_given_away(pool, tmp_path):
    job = job_of(tmp_path, Unit("embed", ("x", 0, 1), 0, 8))
    worker = running(pool, job)
    pool._on_death(worker, job, pool.ray.exceptions.RayActorError("it is dead"), Progress("", 8))
    assert pool.ray.killed == []
    worker = running(pool, job)
    unavailable = type("Gone", (pool.ray.exceptions.ActorUnavailableError,), {})
    pool._on_death(worker, job, unavailable("no answer"), Progress("", 8))
    assert pool.ray.killed == [False]


def test_deaths_count_only_while_a_unit_does_not_advance(pool, tmp_path):
    job = job_of(tmp_path, Unit("train", (0,), presented=10))
    for _ in range(12):
        worker = running(pool, job)
        worker.answer = iter([Written("state/seed-0", 5)])
        pool._take(worker, job, Progress("", 10))
        pool._on_death(worker, job, pool.ray.exceptions.RayActorError("preempted"), Progress("", 10))
    with pytest.raises(OptionError, match="5 workers died on the unit 'train 0'"):
        for _ in range(5):
            pool._on_death(running(pool, job), job, pool.ray.exceptions.RayActorError("memory"), Progress("", 10))


def test_other_hardware_and_other_versions_are_left_out(pool, caplog):
    (worker,) = pool._workers
    here = Hardware.here("cpu")
    assert pool._on_hardware(worker, here, "a", versions()) is None
    pool._wanted = here
    for there, other in ((replace(here, model="A100"), versions()), (here, versions() | {"pyarrow": "1.0"})):
        problem = pool._on_hardware(worker, there, "b", other)
        assert str(problem).startswith(("device_model is A100 there and ", "pyarrow is 1.0 there and "))


def test_workers_that_are_not_there_are_told_after_a_minute(pool, caplog):
    pool._add(2)
    pool._workers[0].hardware = Hardware.here("cpu")
    pool._waiting._complete -= 61
    pool._workers[1].call, pool.ray.wait = "hardware", lambda answers, **_: ([], answers)
    pool._wait(None, Progress("", 0))
    assert (
        "1 of 2 workers not started yet: each needs 1 core, and the cluster has 0 GPUs and 1 core free" in caplog.text
    )


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


def test_an_actor_tells_what_only_its_process_cannot_do(tmp_path):
    """An idle one that was restarted has opened nothing; a GPU that failed stays so; its own disk may be full."""
    (message,) = Actor().run(Unit("measure", ("x", 0, 1)))
    assert message == ProcessFailed("it was restarted while it was idle")
    actor, _ = begun(tmp_path, token="another")
    (message,) = actor.run(Unit("gpu", (0,)))
    assert isinstance(message, ProcessFailed) and "an illegal memory access" in message.reason
    shutil.rmtree(actor._temporary)
    actor._temporary.write_text("in the way")
    (message,) = actor.run(Unit("measure", ("x", 0, 1)))
    assert isinstance(message, ProcessFailed)
    actor._temporary.unlink()


def test_the_warnings_of_a_worker_reach_the_driver(tmp_path):
    actor, _ = begun(tmp_path)
    assert list(actor.run(Unit("warn", (0,))))[-1] == Note("the weights of warn are rounded")


def test_a_folder_that_a_worker_cannot_write_is_not_shared(tmp_path, monkeypatch):
    path = tmp_path / "probe"
    path.write_text("token")
    assert _sees(path, "token") and not _sees(path, "other") and not _sees(tmp_path / "no", "token")
    assert [p.name for p in tmp_path.iterdir()] == ["probe"]

    def refused(self, *_, **__):
        raise PermissionError("read-only")

    monkeypatch.setattr(type(path), "write_text", refused)
    assert not _sees(path, "token")


def test_arrays_reach_workers_as_they_are_and_cannot_be_changed_there():
    """Those of one machine share them; data that is read only by copies."""
    x, y = np.arange(40, dtype="f4").reshape(8, 5), np.arange(8) % 2
    job = replace(RecordingJob(JobSpec((x, y), "datadiet:mlp", recipe={"batch_size": 4}), 1, (0,)))
    buffers = []
    head = pickle.dumps(job, protocol=5, buffer_callback=buffers.append)
    assert len(buffers) == 2 and len(head) < 4000
    frozen = [np.frombuffer(buffer.raw().tobytes(), dtype=np.uint8) for buffer in buffers]
    there = pickle.loads(head, buffers=frozen)
    assert there.open().plan.hash == job.open().plan.hash


def test_data_that_a_spec_names_is_opened_anew_elsewhere(tmp_path):
    """Neither its rows nor what was found out about it are sent."""
    np.savez(tmp_path / "d.npz", x=np.zeros((1000, 50), dtype="f4"), y=np.arange(1000) % 2, other=np.ones(1000))
    source = dd.open_data(f"npz:{tmp_path}/d.npz", label="other")
    source.look_through()
    before = source.identity()
    spec = JobSpec(source, "datadiet:mlp", eval="10%").elsewhere()
    assert len(pickle.dumps(spec)) < 2000
    assert dd.open_data(pickle.loads(pickle.dumps(spec)).dataset).identity() == before
    np.savez(tmp_path / "d.npz", x=np.ones((1000, 50), dtype="f4"), y=np.arange(1000) % 2, other=np.ones(1000))
    assert dd.open_data(pickle.loads(pickle.dumps(spec)).dataset).identity() != before, "another copy is found out"
    part = source.subset(range(10))
    assert part.opening is None and opened_elsewhere(part) is part
    sent = pickle.loads(pickle.dumps(part))
    assert "_identity" not in vars(sent.root) and "_memory" not in vars(sent.inputs)


def test_the_caller_s_network_stays_on_its_device():
    """On another one, a copy does the work; meta stands for a GPU."""
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    assert placed(network, torch.device("cpu")) is network
    there = placed(network, torch.device("meta"))
    assert {p.device.type for p in there.parameters()} == {"meta"}
    assert {p.device.type for p in network.parameters()} == {"cpu"}


def test_the_automatic_executor_leaves_tasks_and_ray_client_alone(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def fake(mode, client):
        stub = SimpleNamespace(is_connected=lambda: client)
        context = SimpleNamespace(worker=SimpleNamespace(mode=mode))
        return SimpleNamespace(
            is_initialized=lambda: True, SCRIPT_MODE=0, util=SimpleNamespace(client=SimpleNamespace(ray=stub)),
            get_runtime_context=lambda: context,
        )  # fmt: skip

    for mode, client, kind in ((0, False, RayExecutor), (1, False, LocalExecutor), (0, True, LocalExecutor)):
        monkeypatch.setitem(sys.modules, "ray", fake(mode, client))
        assert isinstance(executor_for("auto"), kind)


def test_the_address_of_the_dashboard_is_refused(monkeypatch):
    pytest.importorskip("ray", reason="needs the extra ray")
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    with pytest.raises(OptionError, match="is the address of the Ray dashboard, which serves only `ray job submit`"):
        dd.score("digits", "datadiet:mlp", epochs=1)


def test_options_of_actors_are_passed_on_and_do_not_replace_those_that_are_needed():
    given = {"accelerator_type": "A100", "max_restarts": 3, "runtime_env": {"env_vars": {"A": "b"}, "working_dir": "."}}
    options = RayExecutor(options=given)._actor_options(Share(1, 2, 1.0), 2)
    assert options["accelerator_type"] == "A100" and options["max_restarts"] == -1
    assert options["runtime_env"] == {"env_vars": {"A": "b", "OMP_NUM_THREADS": "2"}, "working_dir": "."}


@pytest.mark.parametrize(("device", "gpus", "each"), [
    ("auto", None, None), ("auto", 0.5, 0.5), ("cuda", None, 1.0), ("cuda", 0.25, 0.25), ("cpu", None, 0.0),
    ("mps", None, 0.0), ("cpu", 0.0, 0.0),
])  # fmt: skip
def test_how_many_gpus_a_worker_asks_for(device, gpus, each):
    assert RayExecutor(gpus_per_actor=gpus)._gpus(device) == each


def test_gpus_for_work_on_a_cpu_are_refused():
    with pytest.raises(OptionError, match=r"gpus_per_actor=1 \(--gpus-per-actor\) with device='cpu': leave one"):
        RayExecutor(gpus_per_actor=1)._gpus("cpu")


def test_without_a_terminal_progress_is_a_line_a_minute(caplog):
    progress = Progress("ex", 200)
    progress._said -= 61
    progress._begun -= 600
    progress.advance(100)
    with caplog.at_level("INFO"):
        progress.describe("2 workers, 3 units left")
        progress.describe("2 workers, 3 units left")
    assert [record.getMessage() for record in caplog.records] == [
        "2 workers, 3 units left; 50 % of the examples, about 10 min left"
    ]


def test_a_run_goes_on_on_the_hardware_it_was_begun_on(tmp_path):
    assert planned_hardware(tmp_path / "no") is None
    dd.embed(np.ones((4, 3), dtype="f4"), lambda batch: batch, out=tmp_path / "run", device="cpu")
    here = Hardware.here("cpu")
    assert planned_hardware(tmp_path / "run").for_plan() == here.for_plan()
    assert planned_hardware(tmp_path / "run", "cuda") is None, "another is asked for, which the plan refuses"
