"""What every command has besides its own options: a config file, and how much it says."""

from __future__ import annotations

import json
import logging
import os
import re
import tomllib
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from datadiet.errors import DataError, OptionError, unknown_name

__all__ = ["ConfiguredCommand"]

_LARGEST = 1 << 20  # bytes
# Where a context keeps the options that the command line gives, and those that the file gives.
_TYPED, _FILE = "datadiet.typed", "datadiet.file"

# Only one of each pair counts: one on the command line replaces the other in a file.
_EXCLUSIVE = (
    ("keep", "prune"),
    ("epochs", "steps"),
    ("steps", "match"),
    ("selection", "sampler"),
    ("checkpoints", "epochs"),
    ("checkpoints", "seeds"),
    ("method", "scorers"),
)

_log = logging.getLogger("datadiet")


class ConfiguredCommand(click.Command):
    """A command whose options can also stand in a TOML file; the command line wins."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.params += [
            click.Option(
                ["--config"], metavar="FILE", is_eager=True, expose_value=False, callback=self._read_config,
                help="Read options from a TOML file; the command line wins.",
            ),
            click.Option(["--print-config"], is_flag=True, expose_value=False, help="Print all options in that form."),
            click.Option(["-q", "--quiet"], is_flag=True, expose_value=False, callback=_quiet, help="Say only errors."),
            click.Option(["-v", "--verbose"], is_flag=True, expose_value=False, callback=_verbose, help="Say more."),
        ]  # fmt: skip

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the arguments; with --print-config, print what they mean instead."""
        if "--print-config" not in args:
            return super().make_context(info_name, args, parent, **extra)
        required = [param for param in self.params if param.required]
        try:
            for param in required:
                param.required = False
            context = super().make_context(info_name, args, parent, **extra)
        finally:
            for param in required:
                param.required = True
        click.echo(self._as_toml(context))
        raise click.exceptions.Exit(0)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, once to know which options the command line gives."""
        with _naming_the_file(ctx):
            ctx.meta[_TYPED] = self.make_parser(ctx).parse_args(list(args))[0]
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what it refuses names the file that gave it."""
        with _naming_the_file(ctx):
            return super().invoke(ctx)

    def _own(self) -> list[click.Parameter]:
        """The parameters that a config file may hold."""
        return [param for param in self.params if param.name not in ("config", "print_config")]

    def _read_config(self, context: click.Context, param: click.Parameter, path: str | None) -> None:
        if path is None:
            return
        known = {name: param for param in self._own() for name in _names(param)}
        given: dict[str, Any] = {}
        commands = getattr(context.parent and context.parent.command, "commands", {})
        for key, value in _options_in(Path(path), str(self.name), commands).items():
            if key.replace("_", "-") not in known:
                raise unknown_name(f"option of datadiet {self.name}", key, known)
            option = known[key.replace("_", "-")]
            multiple = getattr(option, "multiple", False)
            if isinstance(value, Mapping) or (isinstance(value, list) and not multiple):
                raise OptionError(f"{path}: {key} takes one value: write {key} = …, as --print-config does.")
            values = value if isinstance(value, list) else [value]
            for one in values:
                _check_type(option, one, f"{path}: {key}")
            given[str(option.name)] = values if multiple else value
        self._drop_excluded(context, path, given)
        names = {str(param.name): _names(param)[0] for param in self.params}
        counts = {names[name]: value for name, value in given.items() if name not in context.meta[_TYPED]}
        context.meta[_FILE] = path, counts
        context.default_map = {**(context.default_map or {}), **given}

    def _drop_excluded(self, context: click.Context, path: str, given: dict[str, Any]) -> None:
        """Drop what a file gives and an option of the command line excludes; a note says so."""
        names = {str(param.name): _names(param)[0] for param in self.params}
        for pair in _EXCLUSIVE:
            for typed, other in (pair, pair[::-1]):
                if typed in context.meta[_TYPED] and other in given and other not in context.meta[_TYPED]:
                    del given[other]
                    _log.warning("%s: %s does not count, since --%s is given", path, names[other], names[typed])

    def _as_toml(self, context: click.Context) -> str:
        lines = [f"# datadiet {self.name} --config FILE"]
        for param in self._own():
            if not param.expose_value:  # how much it says
                continue
            value = context.params.get(str(param.name))
            value = context.lookup_default(str(param.name)) if value in (None, ()) else value
            value = param.get_default(context) if value in (None, ()) else value
            name = _names(param)[0]
            unset = value is None or (isinstance(value, Sequence) and not isinstance(value, str) and not value)
            unset = unset or type(value).__name__ == "Sentinel"
            later = re.search(r"\[default: (\w+)\]$", getattr(param, "help", None) or "")
            hint = f"# {name} =" if later is None else f"# {name} = {later[1]} (default)"
            lines.append(hint if unset else f"{name} = {_toml(value)}")
        return "\n".join(lines)


@contextmanager
def _naming_the_file(context: click.Context) -> Iterator[None]:
    """Errors about options that a file gives also name the file and its key."""
    try:
        yield
    except (click.UsageError, OptionError, DataError) as error:
        path, values = context.meta.get(_FILE, ("", {}))
        text = error.format_message() if isinstance(error, click.UsageError) else str(error)
        about = [key for key, value in values.items() if _is_about(text, key, value)]
        if not about:
            raise
        text = f"{text.rstrip('.')} ({path} gives {', '.join(about)})."
        if isinstance(error, click.UsageError):
            raise click.UsageError(text, error.ctx) from error
        error.args = (text,)
        raise


def _is_about(text: str, key: str, value: Any) -> bool:
    """Whether a message names an option, or quotes its value."""
    values = [str(one) for one in (value if isinstance(value, list) else [value])]
    parts = {repr(part) for one in values for part in (one, *re.split("[=:,.]", one)) if part}
    words = [rf"--{re.escape(key)}\b", rf"{re.escape(key)}(?==)", *(re.escape(one) for one in values if len(one) > 2)]
    return any(part in text for part in parts) or any(re.search(rf"(?<![\w-]){one}(?!\w)", text) for one in words)


def _names(param: click.Parameter) -> list[str]:
    """What a config file may call a parameter: its longest option first."""
    options = sorted((option.lstrip("-") for option in param.opts), key=len, reverse=True)
    return [option.replace("_", "-") for option in options]


def _options_in(path: Path, command: str, commands: Collection[str]) -> Mapping[str, Any]:
    """The options of a command in a file: those of no table, and those under [command]; other commands have theirs."""
    from datadiet.files.opening import open_file  # numpy and pyarrow, which take long to import

    if not os.path.lexists(path):
        raise DataError(f"there is no config file {path}: check the path.")
    with open_file(path, "a TOML file", "write lines such as epochs = 10") as file:
        if file.stat().st_size > _LARGEST:
            raise DataError(f"{path} is larger than 1 MiB, so not a file of options: check the path.")
        found = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    tables = {name: value for name, value in found.items() if isinstance(value, Mapping) and name in commands}
    return {name: value for name, value in found.items() if name not in tables} | dict(tables.get(command, {}))


def _check_type(option: click.Parameter, value: Any, what: str) -> None:
    """Refuse a value that click would cut to the type of an option without a word."""
    if getattr(option, "is_flag", False):
        wanted, fits = "true or false", isinstance(value, bool)
    elif isinstance(option.type, click.types.IntParamType):
        wanted, fits = "a whole number", isinstance(value, (int, str)) and not isinstance(value, bool)
    else:
        wanted, fits = "a text or a number", isinstance(value, (int, float, str)) and not isinstance(value, bool)
    if not fits:
        raise OptionError(f"{what} takes {wanted}, and {_toml(value)} was given: change it, as --print-config shows.")


def _toml(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (bool, int, float)) else json.dumps(str(value))


def _quiet(context: click.Context, param: click.Parameter, given: bool) -> None:
    if given:
        os.environ["TQDM_DISABLE"] = "1"  # read when tqdm is imported, which commands do later
        warnings.simplefilter("ignore")
        for handler in logging.getLogger("datadiet").handlers:
            handler.setLevel(logging.ERROR)


def _verbose(context: click.Context, param: click.Parameter, given: bool) -> None:
    if given:
        logging.getLogger("datadiet").setLevel(logging.DEBUG)
