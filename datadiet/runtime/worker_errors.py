"""What to say when workers die, do not match the run, or are all gone."""

from __future__ import annotations

from datadiet.errors import DataError, MissingExtra, OptionError, named
from datadiet.runtime.hardware import Hardware, versions

__all__ = ["DEATHS", "died_on_unit", "died_while_opening", "mismatch", "nobody_left"]

DEATHS = 5  # of workers by one unit that does not advance, or in a row by a worker that has not done any
_MEMORY = "if memory ran out, use fewer workers (actors=, --actors) or a smaller batch"


def died_on_unit(unit: str, error: BaseException) -> OptionError:
    """The error for a unit on which one worker after the other dies."""
    return OptionError(
        f"{DEATHS} workers died on the unit {unit!r} ({named(error)}): {_MEMORY}, and run the same command again."
    )


def died_while_opening(error: BaseException) -> OptionError:
    """The error for a worker that dies whenever it opens the data and the model."""
    return OptionError(
        f"the worker died {DEATHS} times while opening the data and the model ({named(error)}): {_MEMORY}."
    )


def mismatch(wanted: Hardware, there: Hardware, versions_there: dict[str, str]) -> OptionError | None:
    """Why a worker cannot take part, if it cannot.

    Args:
        wanted: what the run is done on.
        there: what the worker works on.
        versions_there: of what it writes files with.
    """
    other = there.for_plan()
    for name, value in wanted.for_plan().items():
        if other.get(name) != value:
            differs = f"{name} is {other.get(name)} there and {value} in the run"
            return OptionError(f"{differs}: use machines of one kind, or choose another run folder.")
    for name, version in versions().items():
        if versions_there[name] != version:
            return OptionError(
                f"{name} is {versions_there[name]} there and {version} here: install the same versions on all machines."
            )
    return None


def nobody_left(cause: BaseException) -> BaseException:
    """The error when the last worker was left out, or the cause itself if that says what to do."""
    if isinstance(cause, (DataError, OptionError, MissingExtra)) or type(cause).__name__ == "OutOfMemoryError":
        return cause
    lacks = isinstance(cause, (ImportError, AttributeError)) or "import" in str(cause)
    advice = (
        "install the same versions of datadiet, and of what the data and the model need, on all machines."
        if lacks
        else "see Ray's logs on that machine."
    )
    problem = OptionError(f"no worker can work ({named(cause)}): {advice}")
    problem.__cause__ = cause
    return problem
