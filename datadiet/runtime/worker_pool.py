"""The driver's side of workers in other processes: who does what, and what happens when one dies."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from datadiet.errors import OptionError, counted, first_line, named
from datadiet.progress import Progress
from datadiet.runtime.actor import Failure, Message, Note, ProcessFailed, Restarted, Started, Written
from datadiet.runtime.hardware import Hardware
from datadiet.runtime.remote_worker import Job, RemoteWorker
from datadiet.runtime.transfer import Arrivals, Departures, Piece
from datadiet.runtime.waiting import Waiting
from datadiet.runtime.worker_errors import DEATHS, died_on_unit, died_while_opening, mismatch, nobody_left

__all__ = ["WorkerPool"]

_log = logging.getLogger("datadiet")

_TICK = 1.0  # seconds between checks
_SCOUTS = 4  # workers of which the first that is up says what hardware a new run is done on
_STREAMED = {"num_returns": "streaming", "_generator_backpressure_num_objects": 4}  # messages on their way
_GOODBYE = 5.0  # seconds


class WorkerPool:
    """Workers that are actors of Ray.

    Args:
        ray: the module.
        make_actor: starts an actor.
        device: that they work on.
        needs: the resources of each, in words.
        patience: seconds without a worker after which to give up.
    """

    def __init__(self, ray: Any, make_actor: Callable[[], Any], device: Any, needs: str, patience: float) -> None:
        self.ray, self.make_actor, self.device = ray, make_actor, device
        errors = ray.exceptions
        self._deadly = (
            errors.RayActorError, errors.ObjectLostError, errors.NodeDiedError, errors.WorkerCrashedError,
            errors.OutOfMemoryError,
        )  # fmt: skip
        self._workers: list[RemoteWorker] = []
        self._wanted: Hardware | None = None
        self._cause: BaseException | None = None  # of the latest worker that was left out, or died while it started
        self._killed_by: Counter[str] = Counter()
        self._departures = Departures(ray.put)
        self._said: set[str] = set()
        self._waiting = Waiting(needs, self._free, patience)

    def first_hardware(self, workers: int) -> Hardware:
        """What the first worker works on that is up.

        Args:
            workers: how many there may be.

        Raises:
            OptionError: none starts, or the device cannot be used there.
        """
        self._set_number(min(workers, _SCOUTS))
        while True:
            for worker in self._workers:
                if worker.hardware is not None:
                    return worker.hardware
                self._assign(worker, None)
            self._wait(None, None)
            self._refuse_nobody()

    def work(self, job: Job, workers: int, hardware: Hardware) -> None:
        """Have all units of a job done.

        Args:
            job: what to do.
            workers: how many to use.
            hardware: that each must have.

        Raises:
            OptionError: no worker arrives at the plan, or none starts for too long.
            Exception: whatever a unit raises, as if it had been done here.
        """
        queue = job.queue
        self._wanted = hardware
        self._set_number(workers)
        with Progress("ex", queue.examples) as progress:
            while queue.left:
                for worker in [*self._workers]:
                    self._assign(worker, job)
                self._wait(job, progress)
                busy = sum(worker.call == "run" for worker in self._workers)
                progress.describe(f"{counted(busy, 'worker')}, {counted(queue.left, 'unit')} left")
                self._refuse_nobody()

    def stop(self) -> None:
        """End all workers; one that is idle tidies up first."""
        with suppress(Exception):
            idle = [worker.actor.close.remote() for worker in self._workers if not worker.call]
            if idle:
                self.ray.wait(idle, num_returns=len(idle), timeout=_GOODBYE)
        for worker in self._workers:
            worker.forget_arrivals()
            self._kill(worker, no_restart=True)
        self._workers = []

    def _set_number(self, workers: int) -> None:
        """Start more workers, or end some, those that are not up first."""
        more = range(len(self._workers) + 1, workers + 1)
        self._workers += [RemoteWorker(number, self.make_actor()) for number in more]
        self._workers.sort(key=lambda worker: worker.hardware is None)
        for worker in self._workers[workers:]:
            self._kill(worker, no_restart=True)
        del self._workers[workers:]
        self._waiting.restart()

    def _assign(self, worker: RemoteWorker, job: Job | None) -> None:
        """Give an idle worker something to do."""
        if worker.call or time.monotonic() < worker.again:
            return
        if worker.hardware is None:
            worker.ask("hardware", worker.actor.hardware.remote(self.device))
        elif job is not None and not worker.begun:
            worker.arrivals = Arrivals(job.folder)
            about = job.packed, job.place, job.plan, job.folder, job.probe, job.queue.reads
            worker.ask("begin", worker.actor.begin.remote(*about))
        elif job is not None and (unit := job.queue.take(worker.unit)) is not None:
            self._send(worker, unit.reads, job)
            worker.unit, worker.started, worker.done = unit, False, 0
            worker.ask("run", worker.actor.run.options(**_STREAMED).remote(unit))

    def _send(self, worker: RemoteWorker, paths: tuple[str, ...], job: Job) -> None:
        """Send files of the run to a worker that does not see them; several workers share the pieces."""
        for path in paths:
            if worker.shared or path in worker.has or not (job.folder / path).exists():
                continue
            for piece in self._departures.of(job.folder, path):
                worker.actor.receive.remote(piece)
            worker.has.add(path)

    def _wait(self, job: Job | None, progress: Progress | None) -> None:
        """Wait for answers, and deal with them."""
        waiting = {id(worker.answer): worker for worker in self._workers if worker.call}
        ready: list[Any] = []
        if waiting:
            answers = [worker.answer for worker in waiting.values()]
            ready, _ = self.ray.wait(answers, num_returns=1, timeout=_TICK)
            if ready:  # and all others that are there, so that none waits for ever
                ready, _ = self.ray.wait(answers, num_returns=len(answers), timeout=0)
        else:
            time.sleep(_TICK)
        alive = [self._take(waiting[id(answer)], job, progress) for answer in ready]
        active = any(alive) or any(worker.call in ("begin", "run") for worker in self._workers)
        missing = sum(worker.hardware is None for worker in self._workers)
        self._waiting.check(active, missing, len(self._workers), self._cause)

    def _take(self, worker: RemoteWorker, job: Job | None, progress: Progress | None) -> bool:
        """Deal with an answer; False if the worker is gone."""
        try:
            if worker.call == "run":
                assert job is not None and progress is not None
                return self._on_message(worker, job, progress)
            answer = self.ray.get(worker.answer)
        except self._deadly as error:
            self._on_death(worker, job, error, progress)
            return False
        except self.ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            self._leave_out(worker, job, cause if isinstance(cause, Exception) else error, progress)
            return False
        if isinstance(answer, ProcessFailed):
            self._on_death(worker, job, RuntimeError(answer.reason), progress)
            return False
        worker.call = ""
        problem = self._on_hardware(worker, *answer) if worker.hardware is None else self._on_begun(worker, *answer)
        if problem is not None:
            self._leave_out(worker, job, problem, progress)
        return problem is None

    def _on_hardware(
        self, worker: RemoteWorker, hardware: Hardware, node: str, versions: dict[str, str]
    ) -> OptionError | None:
        worker.hardware, worker.node = hardware, node
        problem = mismatch(self._wanted or hardware, hardware, versions)
        worker.hardware = hardware if problem is None else None
        return problem

    def _on_begun(self, worker: RemoteWorker, shared: bool, difference: str) -> OptionError | None:
        worker.begun, worker.shared = True, shared
        if difference:
            return OptionError(
                f"the worker does not match the run ({difference}): give all machines the same data, code and versions."
            )
        return None

    def _on_message(self, worker: RemoteWorker, job: Job, progress: Progress) -> bool:
        """Take the next message of a unit."""
        assert worker.unit is not None and worker.arrivals is not None
        try:
            message: Message = self.ray.get(next(worker.answer))
        except StopIteration:
            worker.call, worker.deaths = "", 0
            job.queue.done(worker.unit)
            progress.advance(worker.unit.examples - worker.done)
            return True
        if isinstance(message, Restarted):
            self._return_unit(worker, job, progress)
            worker.restarted(time.monotonic())
            return False
        if isinstance(message, ProcessFailed):
            self._on_death(worker, job, RuntimeError(message.reason), progress)
            return False
        if isinstance(message, Failure):
            message.error.add_note(f"{worker}, {worker.unit.name}:\n{message.trace}")
            raise message.error
        if isinstance(message, Started):
            worker.started = True
        elif isinstance(message, Note):
            self._say(message.text)
        elif isinstance(message, Piece):
            if message.path.endswith(".npy"):
                job.sink.note_plan(job.folder / message.path)
            worker.arrivals.add(message)
        elif isinstance(message, Written):
            worker.has.add(message.path)
            worker.done += message.examples
            progress.advance(message.examples)
            if message.path in worker.unit.reads:  # a later state than the one that it went on from
                self._killed_by.pop(worker.unit.name, None)
            job.queue.written(message.path)
        else:
            job.sink.write(message)
            worker.has.discard(message.path)
        return True

    def _on_death(self, worker: RemoteWorker, job: Job | None, error: BaseException, progress: Progress | None) -> None:
        """A worker is dead: return its unit, and ask whether it is back after a while."""
        _log.debug("%s, asked for %s: %s", worker, worker.call, error)
        if getattr(error, "actor_init_failed", False):
            self._leave_out(worker, job, error, progress)
            return
        if worker.call == "hardware":
            self._cause = error
        elif not isinstance(error, self.ray.exceptions.ActorDiedError):  # so that no old process goes on unseen
            self._kill(worker, no_restart=False)
        unit = self._return_unit(worker, job, progress)
        if worker.call != "hardware":
            _log.warning(
                "%s died (%s)%s", worker, named(error), "" if unit is None else ": its work will be done again"
            )
        if unit is not None and worker.started:
            self._killed_by[unit] += 1
            if self._killed_by[unit] == DEATHS:
                raise died_on_unit(unit, error) from error
        elif worker.call == "begin":
            worker.deaths += 1
        if worker.deaths == DEATHS:
            self._leave_out(worker, job, died_while_opening(error), progress)
            return
        worker.restarted(time.monotonic() + _TICK)

    def _return_unit(self, worker: RemoteWorker, job: Job | None, progress: Progress | None) -> str | None:
        """Put back the unit that a worker is doing, if it is doing one, and return its name."""
        if worker.call != "run" or worker.unit is None or job is None or progress is None:
            return None
        worker.forget_arrivals()
        job.queue.back(worker.unit)
        progress.advance(-worker.done)
        return worker.unit.name

    def _leave_out(
        self, worker: RemoteWorker, job: Job | None, error: BaseException, progress: Progress | None
    ) -> None:
        _log.warning("%s is left out: %s", worker, first_line(error))
        self._cause = error
        self._return_unit(worker, job, progress)
        self._workers.remove(worker)
        self._kill(worker, no_restart=True)

    def _refuse_nobody(self) -> None:
        if not self._workers:
            assert self._cause is not None
            raise nobody_left(self._cause)

    def _kill(self, worker: RemoteWorker, *, no_restart: bool) -> None:
        with suppress(Exception):
            self.ray.kill(worker.actor, no_restart=no_restart)

    def _say(self, text: str) -> None:
        """Warn once, however many workers do."""
        if text not in self._said:
            self._said.add(text)
            _log.warning("%s", text)

    def _free(self) -> str:
        free = self.ray.available_resources()
        return f"{counted(free.get('GPU', 0), 'GPU')} and {counted(free.get('CPU', 0), 'core')}"
