"""What every command has besides its own options: a config file, and how much it says."""

from __future__ import annotations

import json
import logging
import os
import re
import tomllib
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from datadiet.errors import DataError, OptionError, unknown_name

__all__ = ["ConfiguredCommand"]

_LARGEST = 1 << 20  # bytes


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
        context.default_map = {**(context.default_map or {}), **given}

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


def _names(param: click.Parameter) -> list[str]:
    """What a config file may call a parameter: its longest option first."""
    options = sorted((option.lstrip("-") for option in param.opts), key=len, reverse=True)
    return [option.replace("_", "-") for option in options]


def _options_in(path: Path, command: str, commands: Collection[str]) -> Mapping[str, Any]:
    """The options of a command in a file: those of no table, and those under [command]; other commands have theirs."""
    from datadiet.opening import open_file  # numpy and pyarrow, which take long to import

    if not os.path.lexists(path):
        raise DataError(f"there is no config file {path}: check the path.")
    with open_file(path, "a TOML file", "write lines such as epochs = 10") as file:
        if file.stat().st_size > _LARGEST:
            raise DataError(f"{path} is larger than 1 MiB, so not a file of options: check the path.")
        found = tomllib.loads(file.read_text(encoding="utf-8"))
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
