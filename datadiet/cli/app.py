"""The command group, and what errors look like: one sentence on stderr and an exit code, a traceback with --debug.

Exit codes: 0 ok, 2 usage, 3 data or score mismatch or a bad file, 4 a missing extra, 5 interrupted and resumable.
"""

from __future__ import annotations

import errno
import logging
import os
import shlex
import signal
import sys
import threading
import warnings
from typing import Any

import click

from datadiet.cli.demo import demo
from datadiet.cli.embed import embed
from datadiet.cli.export import export
from datadiet.cli.inspect import inspect
from datadiet.cli.ls import ls
from datadiet.cli.plan import plan
from datadiet.cli.rescore import rescore
from datadiet.cli.score import score
from datadiet.cli.select import select
from datadiet.cli.train import train
from datadiet.errors import DataError, MissingExtra, OptionError
from datadiet.version import __version__

__all__ = ["main"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="datadiet")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def app(debug: bool) -> None:
    """Score every training example, keep the part worth training on, and train on it.

    Start with `datadiet demo`, then `datadiet score` and `datadiet select` on your own data.
    """


for command in (demo, plan, score, rescore, embed, select, train, export, inspect, ls):
    app.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    warnings.showwarning = _show_warning
    _show_log()
    if hasattr(sys.stdout, "reconfigure"):  # a path or an id may hold what the terminal's encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = app.main([a for a in arguments if a != "--debug"], prog_name="datadiet", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except (KeyboardInterrupt, click.Abort):
        _fail(f"interrupted; the same command continues: datadiet {shlex.join(arguments)}", 5)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (DataError, OptionError, MissingExtra) as error:
        if debug:
            raise
        _fail(str(error), error.exit_code)
    except BrokenPipeError:  # the reader of the output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if debug:
            raise
        if error.errno in _FULL:
            _fail(
                f"the disk is full ({error.filename or error}); free some space, then the same command continues: "
                f"datadiet {shlex.join(arguments)}",
                5,
            )
        _fail(
            f"{error.filename or 'a file'} cannot be used ({error.strerror or error}): check the path and its "
            "permissions.",
            3,
        )


class _Notes(logging.Handler):
    """Notes on stderr, as it is when they are shown."""

    def emit(self, record: logging.LogRecord) -> None:
        _say(f"note: {record.getMessage()}")


def _show_log() -> None:
    """Show datadiet's own notes; commands that start a run also show those of level INFO."""
    log = logging.getLogger("datadiet")
    log.handlers, log.propagate = [_Notes()], False
    log.setLevel(logging.NOTSET)


def _interrupt(number: int, frame: Any) -> None:
    """End as Ctrl-C does: Slurm and Kubernetes send SIGTERM before they kill."""
    raise KeyboardInterrupt


def _fail(message: str, code: int) -> None:
    _say(message)
    sys.exit(code)


def _say(message: str) -> None:
    """A line on stderr; what the encoding lacks, as names of files may, is escaped."""
    click.echo(f"datadiet: {message}".encode("utf-8", "backslashreplace").decode(), err=True)


def _show_warning(message: Warning | str, *rest: Any, **options: Any) -> None:
    _say(f"note: {message}")
