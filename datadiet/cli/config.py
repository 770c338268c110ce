"""What every command has besides its own options: a config file, and how much it says."""

from __future__ import annotations

import json
import logging
import os
import tomllib
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from datadiet.errors import DataError, OptionError, unknown_name

__all__ = ["ConfiguredCommand"]


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
        context = super().make_context(info_name, args, parent, **extra, resilient_parsing=True)
        click.echo(self._as_toml(context))
        raise click.exceptions.Exit(0)

    def _own(self) -> list[click.Parameter]:
        """The parameters that a config file may hold."""
        return [param for param in self.params if param.name not in ("config", "print_config", "quiet", "verbose")]

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
            if isinstance(value, Mapping) or (isinstance(value, list) and not getattr(option, "multiple", False)):
                raise OptionError(f"{path}: {key} takes one value: write {key} = …, as --print-config does.")
            multiple = getattr(option, "multiple", False)
            given[str(option.name)] = value if not multiple or isinstance(value, list) else [value]
        context.default_map = {**(context.default_map or {}), **given}

    def _as_toml(self, context: click.Context) -> str:
        lines = [f"# datadiet {self.name} --config FILE"]
        for param in self._own():
            value = context.params.get(str(param.name))
            value = context.lookup_default(str(param.name)) if value in (None, ()) else value
            value = param.get_default(context) if value in (None, ()) else value
            name = _names(param)[0]
            unset = value is None or (isinstance(value, Sequence) and not isinstance(value, str) and not value)
            unset = unset or type(value).__name__ == "Sentinel"
            lines.append(f"# {name} =" if unset else f"{name} = {_toml(value)}")
        return "\n".join(lines)


def _names(param: click.Parameter) -> list[str]:
    """What a config file may call a parameter: its longest option first."""
    options = sorted((option.lstrip("-") for option in param.opts), key=len, reverse=True)
    return [option.replace("_", "-") for option in options]


def _options_in(path: Path, command: str, commands: Collection[str]) -> Mapping[str, Any]:
    """The options of a command in a file: those of no table, and those under [command]; other commands have theirs."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"there is no config file {path}: check the path.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not a TOML file ({error}): write lines such as epochs = 10.") from None
    tables = {name: value for name, value in found.items() if isinstance(value, Mapping) and name in commands}
    return {name: value for name, value in found.items() if name not in tables} | dict(tables.get(command, {}))


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
        logging.getLogger("datadiet").setLevel(logging.INFO)
