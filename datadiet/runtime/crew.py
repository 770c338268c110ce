"""The driver's side of workers in other processes: who does what, and what happens when one is lost."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from datadiet.errors import OptionError, first_line
from datadiet.progress import progress_bar
from datadiet.runtime.actor import Failure, Message
from datadiet.runtime.hardware import Hardware
from datadiet.runtime.member import Job, Member
from datadiet.runtime.transfer import Arrivals, Piece, pieces_of
from datadiet.runtime.units import Unit

__all__ = ["Crew"]

_log = logging.getLogger("datadiet")

_TICK = 1.0  # seconds between two looks at everything
_LOSSES = 5  # of workers by one unit, or in a row by a worker that has not done any
_AHEAD = 4  # messages of a unit on their way
_GOODBYE = 5.0  # seconds


class Crew:
    """Workers that are actors of Ray.

    Args:
        ray: the module.
        hire: makes an actor.
        device: that they work on.
        needs: the resources of each, in words.
        patience: seconds without a worker after which to give up.
    """

    def __init__(self, ray: Any, hire: Callable[[], Any], device: Any, needs: str, patience: float) -> None:
        self.ray, self.hire, self.device, self.needs, self.patience = ray, hire, device, needs, patience
        errors = ray.exceptions
        self._losses = (
            errors.RayActorError, errors.ObjectLostError, errors.NodeDiedError, errors.WorkerCrashedError,
            errors.OutOfMemoryError,
        )  # fmt: skip
        self._members: list[Member] = []
        self._wanted: Hardware | None = None
        self._cause: BaseException | None = None  # of the latest worker that was left out
        self._lost: Counter[str] = Counter()
        self._active = time.monotonic()

    def first_hardware(self) -> Hardware:
        """What the first worker works on, once it is up.

        Raises:
            OptionError: none starts, or the device cannot be used there.
        """
        self._engage(1)
        while self._members and self._members[0].hardware is None:
            self._ask(self._members[0], None)
            self._wait(None)
        if not self._members:
            assert self._cause is not None
            raise self._cause
        found = self._members[0].hardware
        assert found is not None
        return found

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
        self._engage(workers)
        with progress_bar("", queue.examples, unit="ex") as bar:
            while queue.left:
                for member in [*self._members]:
                    self._ask(member, job)
                for unit in self._wait(job):
                    bar.update(unit.examples)
                busy = sum(member.doing == "run" for member in self._members)
                bar.set_description(f"{busy} workers, {queue.left} units left", refresh=False)
                if not self._members:
                    raise self._cause or OptionError("all workers are gone.")

    def dismiss(self) -> None:
        """End all workers; one that is idle tidies up first."""
        with suppress(Exception):
            idle = [member.actor.close.remote() for member in self._members if not member.doing]
            if idle:
                self.ray.wait(idle, num_returns=len(idle), timeout=_GOODBYE)
        for member in self._members:
            if member.arrivals is not None:
                member.arrivals.drop()
            with suppress(Exception):
                self.ray.kill(member.actor, no_restart=True)
        self._members = []

    def _engage(self, workers: int) -> None:
        self._members += [Member(number, self.hire()) for number in range(len(self._members) + 1, workers + 1)]
        self._active = time.monotonic()

    def _ask(self, member: Member, job: Job | None) -> None:
        """Give an idle worker something to do."""
        if member.doing or time.monotonic() < member.again:
            return
        actor = member.actor
        if member.hardware is None:
            member.doing, member.answer = "hardware", actor.hardware.remote(self.device)
        elif job is not None and not member.begun:
            folder = job.sink.folder.path.resolve()
            member.arrivals = Arrivals(folder)
            member.doing, member.answer = (
                "begin",
                actor.begin.remote(job.packed, job.place, job.plan, folder, job.probe),
            )
        elif job is not None:
            unit = job.queue.take(member.unit)
            if unit is not None:
                self._send(member, unit, job.sink.folder.path)
                ahead = {"num_returns": "streaming", "_generator_backpressure_num_objects": _AHEAD}
                member.unit, member.doing = unit, "run"
                member.answer = actor.run.options(**ahead).remote(unit)

    def _send(self, member: Member, unit: Unit, folder: Path) -> None:
        """Send the files that a unit reads to a worker that does not see them."""
        if member.shared:
            return
        for path in unit.reads:
            if path not in member.has and (folder / path).exists():
                for piece in pieces_of(folder, path):
                    member.actor.receive.remote(piece)
                member.has.add(path)

    def _wait(self, job: Job | None) -> list[Unit]:
        """Wait for answers, deal with them, and return the units that are done."""
        waiting = {id(member.answer): member for member in self._members if member.doing}
        if waiting:
            answers = [member.answer for member in waiting.values()]
            ready, _ = self.ray.wait(answers, num_returns=1, timeout=_TICK)
        else:
            ready = []
            time.sleep(_TICK)
        done = [self._deal(waiting[id(answer)], job) for answer in ready]
        if ready or any(member.doing in ("begin", "run") for member in self._members):
            self._active = time.monotonic()
        elif time.monotonic() - self._active > self.patience:
            raise OptionError(
                f"no worker has started for {self.patience:g} s: each needs {self.needs}, and the cluster has "
                f"{self._free()} free: free some, add machines, or ask for less with actors= (--actors) and "
                "gpus_per_actor= (--gpus-per-actor)."
            )
        return [unit for unit in done if unit is not None]

    def _deal(self, member: Member, job: Job | None) -> Unit | None:
        """Deal with an answer; returns the unit if it is done."""
        try:
            if member.doing == "run":
                assert job is not None
                return self._heard(member, job)
            answer = self.ray.get(member.answer)
        except self._losses as error:
            self._miss(member, job, error)
            return None
        except self.ray.exceptions.RayTaskError as error:
            self._leave_out(member, error.cause if isinstance(error.cause, Exception) else error)
            return None
        if member.doing == "hardware":
            self._met(member, *answer)
        else:
            self._opened(member, *answer)
        member.doing = ""
        return None

    def _met(self, member: Member, hardware: Hardware, node: str) -> None:
        member.node = node
        wanted = (self._wanted or hardware).for_plan()
        other = {name: value for name, value in hardware.for_plan().items() if value != wanted[name]}
        if other:
            name = next(iter(other))
            self._leave_out(member, OptionError(f"{name} = {other[name]}, and the run has {wanted[name]}"))
        member.hardware = hardware

    def _opened(self, member: Member, shared: bool, difference: str) -> None:
        member.begun, member.shared = True, shared
        if difference:
            self._leave_out(member, OptionError(f"it has another plan than the run: {difference}"))

    def _heard(self, member: Member, job: Job) -> Unit | None:
        """Take the next message of a unit."""
        assert member.unit is not None and member.arrivals is not None
        try:
            message: Message = self.ray.get(next(member.answer))
        except StopIteration:
            member.doing, member.losses = "", 0
            job.queue.done(member.unit)
            return member.unit
        if isinstance(message, Failure):
            message.error.add_note(f"{member}, {member.unit.name}:\n{message.trace}")
            raise message.error
        if isinstance(message, Piece):
            if message.path.endswith(".npy"):
                job.sink.note_plan(job.sink.folder.path / message.path)
            if member.arrivals.add(message):
                member.has.add(message.path)
        else:
            job.sink.write(message)
            member.has.discard(message.path)
        return None

    def _miss(self, member: Member, job: Job | None, error: BaseException) -> None:
        """A worker is lost: return its unit, and ask whether it is back after a while."""
        _log.warning("%s was lost (%s): its work goes to others", member, type(error).__name__)
        _log.debug("%s", error)
        if member.doing == "run" and job is not None and member.unit is not None:
            assert member.arrivals is not None
            member.arrivals.drop()
            job.queue.back(member.unit)
            self._lost[member.unit.name] += 1
            if self._lost[member.unit.name] == _LOSSES:
                raise OptionError(
                    f"{member.unit.name} has ended {_LOSSES} workers ({first_line(error)}): give each more memory, "
                    "by a smaller actors= (--actors) or a smaller batch, and do the same again."
                ) from error
        elif member.doing == "begin":
            member.losses += 1
        if member.losses == _LOSSES:
            problem = f"it ended {_LOSSES} times while it opened data and model ({type(error).__name__})"
            self._leave_out(
                member, OptionError(f"{problem}: give each worker more memory, by a smaller actors= (--actors).")
            )
            return
        member.doing, member.hardware, member.begun, member.unit = "", None, False, None
        member.has.clear()
        member.again = time.monotonic() + _TICK

    def _leave_out(self, member: Member, error: BaseException) -> None:
        _log.warning("%s is left out: %s", member, first_line(error))
        self._cause = error
        self._members.remove(member)
        with suppress(Exception):
            self.ray.kill(member.actor, no_restart=True)

    def _free(self) -> str:
        free = self.ray.available_resources()
        return f"{free.get('GPU', 0.0):g} GPUs and {free.get('CPU', 0.0):g} cores"
