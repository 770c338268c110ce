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
from datadiet.runtime.folder import RunFolder, Sink
from datadiet.runtime.hardware import Hardware
from datadiet.runtime.plan import Plan
from datadiet.runtime.transfer import Arrivals, Piece, pieces_of
from datadiet.runtime.units import Cost, Product, Unit, Worker

__all__ = ["Actor", "Failure", "Message"]

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


Message = Product | Piece | Failure


class Actor:
    """Does units for a driver in another process.

    Files go to the folder of the run if this machine sees it, and the driver is only sent the entries of JSON files,
    which several workers may not write. Otherwise they go to a temporary folder, and in pieces to the driver.
    """

    def __init__(self) -> None:
        logging.getLogger("datadiet").setLevel(logging.WARNING)  # the driver said what there is to say
        self._worker: Worker | None = None
        self._temporary: Path | None = None
        self._problem: Failure | None = None

    def hardware(self, device: Any) -> tuple[Hardware, str]:
        """What this process works on, and the name of its machine."""
        return Hardware.here(device), platform.node()

    def begin(
        self,
        packed: np.ndarray,
        place: tuple[str, tuple[str, ...]],
        plan: Plan,
        folder: Path,
        probe: tuple[Path, str],
    ) -> tuple[bool, str]:
        """Open data and model.

        Args:
            packed: (bytes,) uint8, the pickled function that makes the worker for a folder.
            place: the working folder of the driver, and where it finds modules; used as far as they exist here.
            plan: of the run.
            folder: of the run, on the driver's disk.
            probe: a file in it, and what it holds.

        Returns:
            Whether this machine sees that folder, and how the worker's plan differs from that of the run.
        """
        here, paths = place
        if os.path.isdir(here):
            os.chdir(here)
        sys.path += [entry for entry in paths if entry not in sys.path]
        path, token = probe
        shared = path.exists() and path.read_text(encoding="utf-8") == token
        if not shared:
            self._temporary = folder = Path(tempfile.mkdtemp(prefix="datadiet-"))
        self._worker, self._shared = pickle.loads(packed.data)(folder), shared
        self._sink, self._arrivals = Sink(RunFolder(folder, plan)), Arrivals(folder)
        return shared, "" if self._worker.plan.hash == plan.hash else plan.difference(self._worker.plan.what)

    def receive(self, piece: Piece) -> None:
        """Keep a piece of a file that the next unit reads."""
        try:
            self._arrivals.add(piece)
        except Exception as error:
            self._problem = _failure(error)

    def run(self, unit: Unit) -> Iterator[Message]:
        """Do a unit, and yield what the driver has to write, as soon as it is there."""
        assert self._worker is not None, "begun first"
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
            inbox.put(_failure(error))
        inbox.put(None)

    def _emit(self, product: Product, inbox: Queue[Message | None]) -> None:
        if isinstance(product.content, (dict, Cost)):
            inbox.put(product)
            return
        self._sink.write(product)
        if self._shared:
            return
        if product.content is None:
            inbox.put(product)
            return
        for piece in pieces_of(self._sink.folder.path, product.path):
            inbox.put(piece)


def _failure(error: BaseException) -> Failure:
    trace = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(named(error))
    return Failure(error, trace)
