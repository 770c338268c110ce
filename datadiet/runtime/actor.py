"""A worker in a process of its own, as Ray starts them: it does units and sends back what they make."""

from __future__ import annotations

import logging
import os
import pickle  # between processes of one run; nothing is stored as a pickle
import platform
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import numpy as np

from datadiet.errors import named
from datadiet.files.writing import remove_siblings, temporary_name
from datadiet.runtime.folder import RunFolder, Sink
from datadiet.runtime.hardware import Hardware, versions
from datadiet.runtime.plan import Plan
from datadiet.runtime.transfer import Arrivals, Piece, pieces_of
from datadiet.runtime.units import Cost, Product, Unit, Worker

__all__ = ["Actor", "Failure", "Message", "Note", "ProcessFailed", "Restarted", "Started", "Written"]

_AHEAD = 4  # messages that wait to be fetched


@dataclass(frozen=True)
class Failure:
    """An error in a unit.

    Attributes:
        error: as it was raised, or as much of it as can be sent.
        trace: where, as text.
    """

    error: BaseException
    trace: str


@dataclass(frozen=True)
class ProcessFailed:
    """This process cannot go on, but another may: its GPU failed, or the disk of its machine.

    Attributes:
        reason: in words.
    """

    reason: str


@dataclass(frozen=True)
class Restarted:
    """This process is new and has opened nothing: the one before it died while it was idle."""


@dataclass(frozen=True)
class Started:
    """The unit has been taken up."""


@dataclass(frozen=True)
class Note:
    """Something to tell the user.

    Attributes:
        text: of it.
    """

    text: str


@dataclass(frozen=True)
class Written:
    """A file is complete.

    Attributes:
        path: relative to the run.
        examples: of the unit that it finishes.
    """

    path: str
    examples: int


Message = Product | Piece | Started | Written | Note | Failure | ProcessFailed | Restarted


class _Notes(logging.Handler):
    """Keeps warnings, for the driver to show."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._texts.append(record.getMessage())

    def taken(self) -> tuple[str, ...]:
        """Those since the last time."""
        found, self._texts = tuple(self._texts), []
        return found


class Actor:
    """Does units for a driver in another process.

    Files go to the folder of the run if this machine sees it, and the driver is only sent the entries of JSON files,
    which several workers may not write. Otherwise they go to a temporary folder, and in pieces to the driver.
    """

    def __init__(self) -> None:
        self._notes, log = _Notes(), logging.getLogger("datadiet")
        log.addHandler(self._notes)
        log.setLevel(logging.WARNING)  # the driver said the rest
        self._worker: Worker | None = None
        self._temporary: Path | None = None
        self._problem: ProcessFailed | None = None

    def hardware(self, device: Any) -> tuple[Hardware, str, dict[str, str]]:
        """What this process works on, the name of its machine, and the versions that determine bytes."""
        return Hardware.here(device), platform.node(), versions()

    def begin(
        self,
        packed: tuple[bytes, list[np.ndarray]],
        place: tuple[str, tuple[str, ...]],
        plan: Plan,
        folder: Path,
        probe: tuple[Path, str],
        reads: frozenset[str],
    ) -> tuple[bool, str] | ProcessFailed:
        """Open data and model.

        Args:
            packed: the function that makes the worker for a folder: a pickle, and its buffers, each (bytes,) uint8.
            place: the working folder of the driver, and where it finds modules; used as far as they exist here.
            plan: of the run.
            folder: of the run, on the driver's disk.
            probe: a file in it, and what it holds.
            reads: the files of the run that units read.

        Returns:
            Whether this machine sees that folder, and how the worker's plan differs from that of the run.
        """
        here, paths = place
        if os.path.isdir(here):
            os.chdir(here)
        sys.path += [entry for entry in paths if entry not in sys.path]
        self._reads, self._shared = reads, _sees(*probe)
        try:
            return self._shared, self._open(packed, plan, folder if self._shared else self._own_folder())
        except Exception as error:
            broken = _of_this_process(error)
            if broken is None:
                raise
            return ProcessFailed(named(broken))

    def _own_folder(self) -> Path:
        """A temporary folder, which the next worker here removes if this one is killed."""
        try:
            self._temporary = temporary_name(Path(tempfile.gettempdir()) / "datadiet")
            remove_siblings(self._temporary.with_name("datadiet"))
            self._temporary.mkdir(mode=0o700)
        except OSError as error:
            raise _OwnDisk(named(error)) from error
        return self._temporary

    def _open(self, packed: tuple[bytes, list[np.ndarray]], plan: Plan, folder: Path) -> str:
        """Make the worker; returns how its plan differs."""
        head, buffers = packed
        self._worker = pickle.loads(head, buffers=buffers)(folder)
        self._sink, self._arrivals = Sink(RunFolder(folder, plan)), Arrivals(folder)
        self._notes.taken()  # the driver opened the same and had the same to say
        return "" if self._worker.plan.hash == plan.hash else plan.difference(self._worker.plan.what)

    def receive(self, piece: Piece) -> None:
        """Keep a piece of a file that the next unit reads."""
        try:
            self._arrivals.add(piece)
        except Exception as error:
            self._problem = ProcessFailed(named(error))

    def run(self, unit: Unit) -> Iterator[Message]:
        """Do a unit, and yield what the driver has to write, as soon as it is there."""
        if self._worker is None:
            yield Restarted()
            return
        yield Started()
        if self._problem is not None:
            yield self._problem
            return
        inbox: Queue[Message | None] = Queue(maxsize=_AHEAD)
        thread = Thread(target=self._work, args=(self._worker, unit, inbox), daemon=True)
        thread.start()
        while (message := inbox.get()) is not None:
            yield message
        thread.join()

    def close(self) -> None:
        """Restore everything, and remove the temporary folder."""
        if self._worker is not None:
            self._worker.close()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _work(self, worker: Worker, unit: Unit, inbox: Queue[Message | None]) -> None:
        try:
            worker.run(unit, lambda product: self._emit(product, inbox))
        except BaseException as error:
            broken = _of_this_process(error)
            inbox.put(_failure(error) if broken is None else ProcessFailed(named(broken)))
        for text in self._notes.taken():
            inbox.put(Note(text))
        inbox.put(None)

    def _emit(self, product: Product, inbox: Queue[Message | None]) -> None:
        if isinstance(product.content, (dict, Cost)):
            inbox.put(product)
        elif self._shared:
            self._sink.write(product)
            if product.content is not None:
                inbox.put(Written(product.path, product.examples))
        else:
            try:
                self._keep_and_send(product, inbox)
            except OSError as error:
                raise _OwnDisk(named(error)) from error

    def _keep_and_send(self, product: Product, inbox: Queue[Message | None]) -> None:
        """Write a file here, send it, and remove it unless a unit reads it."""
        folder = self._sink.folder.path
        self._sink.write(product)
        if product.content is None:
            inbox.put(product)
            return
        for piece in pieces_of(folder, product.path):
            inbox.put(piece)
        inbox.put(Written(product.path, product.examples))
        if product.path not in self._reads:
            (folder / product.path).unlink()


class _OwnDisk(Exception):
    """The disk of this machine, which is not that of the run, fails."""


def _of_this_process(error: BaseException) -> BaseException | None:
    """The cause of an error that another process may not meet: a GPU that failed, or the own disk."""
    import torch

    kinds: tuple[type[BaseException], ...] = (_OwnDisk, getattr(torch, "AcceleratorError", _OwnDisk))
    found: BaseException | None = error
    while found is not None and not isinstance(found, kinds):
        found = found.__cause__
    return None if "device-side assert" in str(found) else found  # that is about the data: a label, or a token


def _sees(path: Path, token: str) -> bool:
    """Whether this machine sees the folder of the run, and can write there."""
    beside = temporary_name(path)
    try:
        if path.read_text(encoding="utf-8") != token:
            return False
        beside.write_text(token, encoding="utf-8")
        beside.unlink()
    except OSError:
        return False
    return True


def _failure(error: BaseException) -> Failure:
    trace = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(named(error))
    return Failure(error, trace)
