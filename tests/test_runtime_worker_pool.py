"""What the driver does when workers come late, die or do not match, without Ray."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from datadiet.errors import OptionError
from datadiet.progress import Progress
from datadiet.runtime import Plan, RunFolder, Sink
from datadiet.runtime.actor import Note, ProcessFailed, Restarted, Started, Written
from datadiet.runtime.hardware import Hardware, versions
from datadiet.runtime.remote_worker import Job
from datadiet.runtime.transfer import Arrivals
from datadiet.runtime.unit_queue import UnitQueue
from datadiet.runtime.units import Unit
from datadiet.runtime.worker_errors import nobody_left
from datadiet.runtime.worker_pool import WorkerPool

KINDS = (
    "RayError", "RayActorError", "ObjectLostError", "NodeDiedError", "WorkerCrashedError", "OutOfMemoryError",
)  # fmt: skip


@pytest.fixture
def pool():
    """A pool of one worker, and what was killed; Ray does nothing."""
    errors = SimpleNamespace(**{name: type(name, (Exception,), {}) for name in KINDS})
    for name in ("ActorDiedError", "ActorUnavailableError"):
        setattr(errors, name, type(name, (errors.RayActorError,), {}))
    ray = SimpleNamespace(exceptions=errors, killed=[], available_resources=lambda: {"CPU": 1.0})
    ray.kill = lambda actor, no_restart: ray.killed.append(no_restart)
    ray.put = lambda piece: piece
    ray.wait = lambda answers, **_: (answers[:1], answers[1:])
    ray.get = lambda answer: answer
    found = WorkerPool(ray, SimpleNamespace, "cpu", "1 core", 1.0)
    found._set_number(1)
    return found


def job_of(tmp_path, *units):
    sink = Sink(RunFolder(tmp_path, Plan({"a": 1})))
    return Job(Plan({"a": 1}), None, ("", ()), (tmp_path, ""), sink, UnitQueue(units))


def running(pool, job):
    """The worker of the pool, in the middle of a unit."""
    (worker,) = pool._workers
    worker.call, worker.unit, worker.arrivals, worker.started = "run", job.queue.take(), Arrivals(job.folder), True
    return worker


def test_a_worker_that_dies_whenever_it_opens_the_data_is_left_out_with_one_sentence(pool):
    (worker,) = pool._workers
    for _ in range(5):
        assert pool._workers == [worker]
        worker.call = "begin"
        pool._on_death(worker, None, pool.ray.exceptions.RayActorError("it was killed"), Progress("", 0))
    assert pool._workers == []
    with pytest.raises(OptionError, match=r"the worker died 5 times while opening the data and the model \(RayActor"):
        pool._refuse_nobody()


def refusing(pool, kind):
    """Ray cannot give an answer."""

    def get(answer):
        raise getattr(pool.ray.exceptions, kind)(answer)

    pool.ray.get = get


@pytest.mark.parametrize("what", [Restarted(), ProcessFailed("CUDA error: ECC"), "an error of Ray"])
def test_a_unit_whose_worker_cannot_do_it_goes_back_into_the_queue(pool, tmp_path, what, caplog):
    """The worker was restarted while it waited, so that it has opened nothing; its GPU fails; or Ray does."""
    job = job_of(tmp_path, Unit("embed", ("x", 0, 1), 0, 8))
    worker, progress = running(pool, job), Progress("", 8)
    worker.answer = iter([what])
    if isinstance(what, str):
        refusing(pool, "RayError")
    assert pool._take(worker, job, progress) is False
    assert job.queue.left == 1 and job.queue.take() == Unit("embed", ("x", 0, 1), 0, 8)
    restarted = isinstance(what, Restarted)
    assert pool.ray.killed == ([] if restarted else [isinstance(what, str)]) and bool(caplog.text) != restarted
    assert ("CUDA error: ECC" in caplog.text) == isinstance(what, ProcessFailed)


def test_workers_that_died_while_they_were_idle_are_not_charged_to_the_next_unit(pool, tmp_path):
    job = job_of(tmp_path, Unit("prepare", ("x", 0, 1)))
    for _ in range(7):
        worker = running(pool, job)
        worker.started, worker.answer = False, iter([Restarted()])
        pool._take(worker, job, Progress("", 1))
        worker = running(pool, job)
        worker.started = False
        pool._on_death(worker, job, pool.ray.exceptions.ActorDiedError("preempted"), Progress("", 1))
    worker = running(pool, job)
    worker.started, worker.answer = False, iter([Started(), Note("a warning"), Note("a warning")])
    pool._take(worker, job, Progress("", 1))
    assert worker.started and not pool._killed_by


def test_a_worker_that_dies_before_it_is_up_does_not_count_as_activity(pool):
    (worker,) = pool._workers
    worker.call, worker.answer = "hardware", "torch cannot be imported"
    refusing(pool, "RayActorError")
    pool._waiting._active -= 2
    with pytest.raises(OptionError, match=r"no worker has started for 1 s \(the last one died: torch cannot be imp"):
        pool._wait(None, None)
    assert pool.ray.killed == [], "one that is starting is left alone"


def test_a_process_that_may_still_work_is_ended_before_its_unit_is_given_away(pool, tmp_path):
    job = job_of(tmp_path, Unit("embed", ("x", 0, 1), 0, 8))
    worker = running(pool, job)
    pool._on_death(worker, job, pool.ray.exceptions.ActorDiedError("it is dead"), Progress("", 8))
    assert pool.ray.killed == []
    worker = running(pool, job)
    unavailable = type("Gone", (pool.ray.exceptions.ActorUnavailableError,), {})
    pool._on_death(worker, job, unavailable("no answer"), Progress("", 8))
    assert pool.ray.killed == [False]


def test_deaths_count_only_while_a_unit_does_not_advance(pool, tmp_path):
    """A state is later than the one that the training went on from; other files may be those of before."""
    job = job_of(tmp_path, Unit("train", (0,), reads=("state/seed-0",), presented=10))
    for _ in range(12):
        worker = running(pool, job)
        worker.answer = iter([Written("state/seed-0", 5)])
        pool._take(worker, job, Progress("", 10))
        pool._on_death(worker, job, pool.ray.exceptions.RayActorError("preempted"), Progress("", 10))
    with pytest.raises(OptionError, match="5 workers died on the unit 'train 0'"):
        for _ in range(5):
            worker = running(pool, job)
            worker.answer = iter([Written("checkpoints/seed-0/epoch-1", 0)])
            pool._take(worker, job, Progress("", 10))
            pool._on_death(worker, job, pool.ray.exceptions.RayActorError("memory"), Progress("", 10))


def test_other_hardware_and_other_versions_are_left_out(pool, caplog):
    (worker,) = pool._workers
    here = Hardware.here("cpu")
    assert pool._on_hardware(worker, here, "a", versions()) is None
    pool._wanted = here
    for there, other in ((replace(here, model="A100"), versions()), (here, versions() | {"pyarrow": "1.0"})):
        problem = pool._on_hardware(worker, there, "b", other)
        assert str(problem).startswith(("device_model is A100 there and ", "pyarrow is 1.0 there and "))


def test_workers_that_are_not_there_are_told_after_a_minute(pool, caplog):
    pool._set_number(2)
    pool._workers[0].hardware = Hardware.here("cpu")
    pool._workers[1].call, pool.ray.wait = "hardware", lambda answers, **_: ([], answers)
    for _ in range(2):
        pool._waiting._complete -= 61
        pool._wait(None, None)
    assert caplog.text.count("not started yet") == 2
    assert (
        "1 of 2 workers not started yet: each needs 1 core, and the cluster has 0 GPUs and 1 core free" in caplog.text
    )


def test_the_first_of_several_workers_says_what_a_new_run_is_done_on(pool, monkeypatch):
    """One machine without datadiet does not end the command; the others that are too many are ended."""
    made = []

    def actor():
        number = len(made)
        made.append(SimpleNamespace(hardware=SimpleNamespace(remote=lambda device: number)))
        return made[-1]

    pool.make_actor = actor
    pool._set_number(0)
    here = Hardware.here("cpu")
    failed = type("Failed", (pool.ray.exceptions.ActorDiedError,), {"actor_init_failed": True})

    def get(answer):
        if answer == 0:
            raise failed("No module named datadiet")
        return here, "node", versions()

    monkeypatch.setattr(pool.ray, "get", get)
    assert pool.first_hardware(9) == here and len(made) == 4 and len(pool._workers) == 3
    pool._set_number(1)
    assert [worker.hardware for worker in pool._workers] == [here]
    with pytest.raises(OptionError, match=r"no worker can work .*: install the same versions of datadiet"):
        raise nobody_left(ImportError("No module named datadiet"))
    kept = type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory")
    assert nobody_left(kept) is kept
