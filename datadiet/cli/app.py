"""The command group, and what errors look like: one sentence on stderr and an exit code, a traceback with --debug.

Exit codes: 0 ok, 2 usage, 3 data or score mismatch or a bad file, 4 a missing extra, 5 interrupted and resumable.
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from datadiet.cli.compare import compare
from datadiet.cli.demo import demo
from datadiet.cli.doctor import doctor
from datadiet.cli.embed import embed
from datadiet.cli.export import export
from datadiet.cli.inspect import inspect
from datadiet.cli.ls import ls
from datadiet.cli.plan import plan
from datadiet.cli.recover import recover
from datadiet.cli.report import report
from datadiet.cli.rescore import rescore
from datadiet.cli.score import score
from datadiet.cli.select import select
from datadiet.cli.suspects import suspects
from datadiet.cli.train import train
from datadiet.errors import DISK_FULL, DataError, MissingExtra, OptionError, first_line
from datadiet.version import __version__

__all__ = ["main"]


_IN_A_ROW = 1.0  # seconds
_SMALLER = "--set batch_size=64 (in embed: --batch-size 64)"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="datadiet")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def app(debug: bool) -> None:
    """Score every training example, keep the part worth training on, and train on it.

    Start with `datadiet demo`, then `datadiet score` and `datadiet select` on your own data.
    """


_COMMANDS = (
    demo, plan, score, rescore, embed, select, train, recover, compare, report, suspects, export, inspect, ls, doctor,
)  # fmt: skip
for command in _COMMANDS:
    app.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code.

    Args:
        arguments: of a call within a program; None = those of this process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    warnings.showwarning = _show_warning
    _show_log()
    if hasattr(sys.stdout, "reconfigure"):  # a path or an id may hold what the terminal's encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    came: list[float] = []
    try:
        with _interrupts(came, ends=arguments is None):
            code = app.main([a for a in given if a != "--debug"], prog_name="datadiet", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(_explained(KeyboardInterrupt(), given))
    except Exception as error:
        known = isinstance(error, (DataError, OptionError, MissingExtra, OSError)) or _out_of_memory(error)
        if not came and not isinstance(error, click.ClickException) and ("--debug" in given or not known):
            raise
        sys.exit(_explained(KeyboardInterrupt() if came else error, given))  # libraries turn interrupts into errors
    sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def _interrupts(came: list[float], ends: bool) -> Iterator[None]:
    """SIGTERM, which Slurm and Kubernetes send before they kill, interrupts as Ctrl-C does; `came` notes when.

    Several in a row are one, which leaves what is interrupted time to put things in order. Afterwards they are ignored
    if the process ends, so that it ends with its own exit code.
    """

    def interrupt(number: int, frame: Any) -> None:
        now = time.monotonic()
        in_a_row = bool(came) and now - came[-1] < _IN_A_ROW
        came.append(now)
        if not in_a_row:
            raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: handler for number, handler in before.items() if handler not in (None, signal.SIG_IGN)}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if ends else handler)


def _explained(error: BaseException, arguments: list[str]) -> int:
    """Say in a line what ended the command; returns the exit code."""
    continues = f"the same command continues: datadiet {shlex.join(arguments)}"
    if isinstance(error, KeyboardInterrupt):
        message, code = f"interrupted; {continues}", 5
    elif isinstance(error, click.ClickException):
        error.show()
        return 2
    elif isinstance(error, BrokenPipeError):  # the reader of the output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    elif _out_of_memory(error):
        message, code = f"the GPU ran out of memory ({first_line(error)}): use smaller batches, such as {_SMALLER}.", 3
    elif not isinstance(error, OSError):
        message, code = str(error), getattr(error, "exit_code", 3)
    elif error.errno in DISK_FULL:
        message, code = f"the disk is full ({error.filename or error}); free some space, then {continues}", 5
    else:
        what = f"{error.filename or 'a file'} cannot be used ({error.strerror or error})"
        message, code = f"{what}: check the path and its permissions.", 3
    _say(message)
    return code


def _out_of_memory(error: BaseException) -> bool:
    """Whether it is torch's, which is not imported for this."""
    return type(error).__name__ == "OutOfMemoryError"


class _Notes(logging.Handler):
    """Notes, and with -v steps, on stderr as it is when they are shown."""

    def emit(self, record: logging.LogRecord) -> None:
        _say(record.getMessage() if record.levelno == logging.DEBUG else f"note: {record.getMessage()}")


def _show_log() -> None:
    """Show datadiet's own notes; commands that start a run also show those of level INFO, and all do with -v."""
    log = logging.getLogger("datadiet")
    log.handlers, log.propagate = [_Notes()], False
    log.setLevel(logging.NOTSET)


def _say(message: str) -> None:
    """A line on stderr; what the encoding lacks, as names of files may, is escaped."""
    click.echo(f"datadiet: {message}".encode("utf-8", "backslashreplace").decode(), err=True)


def _show_warning(message: Warning | str, *rest: Any, **options: Any) -> None:
    _say(f"note: {message}")
