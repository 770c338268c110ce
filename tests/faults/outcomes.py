"""Run something in a forked child with limits, and say how it ended.

The parent has everything imported and has computed nothing with threads, so a child costs a few milliseconds.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from datadiet.errors import DataError, MissingExtra, OptionError

__all__ = ["KINDS", "Ended", "forked", "said", "tally"]

KINDS = ("right", "sentence", "traceback", "wrong", "hang")
_LONGEST = 1500  # characters of a sentence: it may list names


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        kind: one of KINDS, or "killed".
        text: what it said.
    """

    kind: str
    text: str = ""


def forked(run: Callable[[], str | None], seconds: float = 60.0, memory: int | None = None) -> Ended:
    """Run a function in a child.

    Args:
        run: returns None if all is right, or what is wrong.
        seconds: more is a hang.
        memory: bytes of address space that it may add; more is a MemoryError, which is a traceback unless it is caught.
    """
    with tempfile.TemporaryFile() as said_here:
        child = os.fork()
        if not child:
            _child(run, said_here.fileno(), memory)
        status = _wait(child, seconds)
        said_here.seek(0)
        text = said_here.read().decode("utf-8", "replace")
    if status is None:
        return Ended("hang", text)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return Ended("killed" if number == signal.SIGKILL else "traceback", f"signal {number} {text}")
    return Ended(KINDS[os.WEXITSTATUS(status)] if os.WEXITSTATUS(status) < len(KINDS) else "traceback", text)


def said(error: BaseException) -> Ended:
    """What an exception counts as: a clear sentence, or a traceback."""
    text = str(error)
    clear = isinstance(error, (DataError, OptionError, MissingExtra)) and "\n" not in text and len(text) < _LONGEST
    full = isinstance(error, OSError) and error.errno == errno.ENOSPC
    return Ended("sentence" if clear or full else "traceback", f"{type(error).__name__}: {text}")


def tally(results: list[tuple[Any, Ended]]) -> dict[str, int]:
    """How many ended in each way."""
    return {kind: sum(ended.kind == kind for _, ended in results) for kind in KINDS}


def _child(run: Callable[[], str | None], output: int, memory: int | None) -> None:
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    if memory is not None:
        with open("/proc/self/statm", encoding="ascii") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + memory, resource.RLIM_INFINITY))
    try:
        wrong = run()
        ended = Ended("right") if wrong is None else Ended("wrong", wrong)
    except BaseException as error:
        ended = said(error)
        if ended.kind == "traceback":
            traceback.print_exc()
    sys.stdout.write(ended.text)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(KINDS.index(ended.kind))


def _wait(child: int, seconds: float) -> int | None:
    """The exit status of a child; None if it had to be ended."""
    deadline, pause = time.monotonic() + seconds, 0.0005
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None
