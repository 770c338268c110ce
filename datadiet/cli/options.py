"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from datadiet.errors import OptionError

__all__ = [
    "as_json",
    "check_examples",
    "check_further",
    "check_named",
    "check_network",
    "check_run",
    "columns_of",
    "command_text",
    "data_options",
    "executor_of",
    "executor_options",
    "keep_options",
    "logits_of",
    "nested",
    "opened",
    "opened_further",
    "overwriting",
    "pairs",
    "run_options",
    "session_options",
    "strip_prefix",
    "the_budget",
    "together",
]

_log = logging.getLogger("datadiet")

F = TypeVar("F", bound=Callable[..., Any])


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """One decorator that adds several options, in this order."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


as_json = click.option("--json", "json_", is_flag=True, help="Print the result as JSON.")

strip_prefix = click.option(
    "--strip-prefix",
    default="",
    metavar="PREFIX",
    help="Remove this from the names of weights in files, such as backbone.",
)

overwriting = click.option("--overwrite", is_flag=True, help="Replace what is there.")

data_options = together(
    click.option("--split", help="Which split, if the data has several."),
    click.option("--image", help="Column or array of the inputs."),
    click.option("--text", help="Column of the inputs, if they are texts."),
    click.option("--label", help="Column or array of the labels."),
    click.option("--id", "id_", help="Column of unique ids, or row for row numbers."),
    click.option("--allow-paths", metavar="DIR", help="The only folder that a table may name files in."),
    click.option(
        "--on-error",
        type=click.Choice(["raise", "skip"]),
        default="raise",
        show_default=True,
        help="What to do with examples that cannot be read.",
    ),
)

session_options = together(
    click.option("--eval", "eval_", metavar="DATA", help="Held-out data, or a share to split off such as 10%."),
    click.option("--eval-split", help="Which split of the held-out data."),
    click.option(
        "--set",
        "recipe",
        multiple=True,
        metavar="KEY=VALUE",
        help="A field of the recipe, such as lr=0.05, batch_size=64 or precision=bf16.",
    ),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 …"),
    click.option("--seed", type=int, default=0, show_default=True),
)

run_options = together(
    click.option("--model", required=True, help="datadiet:cnn, timm:NAME, torchvision:NAME, py:MODULE:ATTR …"),
    session_options,
)

executor_options = together(
    click.option(
        "--executor",
        type=click.Choice(["auto", "local", "ray"]),
        default="auto",
        show_default=True,
        help="Where to work: in this process, or on the workers of Ray.",
    ),
    click.option(
        "--actors",
        type=click.IntRange(min=1),
        help="Number of Ray workers.  [default: one per GPU; without GPUs, as many as fit]",
    ),
    click.option(
        "--gpus-per-actor",
        type=float,
        metavar="SHARE",
        help="GPUs per worker; 0.25 lets four workers share one.  [default: 1 if there are GPUs]",
    ),
    click.option(
        "--address", help="Address of a Ray cluster, such as auto.  [default: RAY_ADDRESS; without it, start Ray here]"
    ),
)

keep_options = together(
    click.option("--keep", metavar="SHARE", help="How much to keep: 30%, 0.3 or n=500."),
    click.option("--prune", metavar="SHARE", help="How much to remove instead: 70%."),
)


def columns_of(options: dict[str, Any]) -> dict[str, Any]:
    """Take the values of `data_options` out of the options of a command."""
    return {name: options.pop(name) for name in ("split", "image", "text", "label", "id_", "allow_paths", "on_error")}


def command_text(*words: str, **columns: Any) -> str:
    """A datadiet command to copy into a shell: its words, then the values of `data_options` that were given."""
    options = [(name, str(value)) for name, value in columns.items() if value not in (None, "raise")]
    given = [word for name, value in options for word in (f"--{name.strip('_').replace('_', '-')}", value)]
    return shlex.join(["datadiet", *words, *given])


def executor_of(options: dict[str, Any]) -> Any:
    """Take the values of `executor_options` out of the options of a command, and make the executor that they mean."""
    executor = options.pop("executor")
    given = {name: options.pop(name) for name in ("actors", "gpus_per_actor", "address")}
    if all(value is None for value in given.values()):
        return executor
    if executor == "local":
        option = next(f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None)
        raise click.UsageError(f"{option} is for Ray, but --executor is local: leave out one of the two.")
    from datadiet.runtime.ray import RayExecutor

    return RayExecutor(**given)


def logits_of(text: str | None) -> bool | dict[str, Any]:
    """The value of --logits: not given, alone, or with options of the pass."""
    if text is None:
        return False
    return pairs([part for part in text.split(",") if part], "--logits") or True


def the_budget(keep: str | None, prune: str | None) -> str | None:
    """The value of `keep` that --keep or --prune gives; None without either."""
    from datadiet.selectors.budget import parse_prune

    if keep is not None and prune is not None:
        raise click.UsageError("say how much to keep: give exactly one of --keep 30% (or n=500) and --prune 70%.")
    return keep if prune is None else parse_prune(prune)


def pairs(values: Sequence[str], option: str) -> dict[str, Any]:
    """KEY=VALUE options as a dict; values that are JSON (numbers, true, [..]) are read as such, others are strings."""
    out: dict[str, Any] = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise OptionError(f"{option} {text!r} has no value: write {option} {key or 'name'}=value.")
        try:
            out[key] = json.loads(value)
        except json.JSONDecodeError:
            out[key] = value
    return out


def nested(values: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`-p scorer.param=value` options as {scorer: {param: value}}."""
    out: dict[str, dict[str, Any]] = {}
    for key, value in pairs(values, "-p").items():
        scorer, dot, name = key.partition(".")
        if not dot or not name:
            raise OptionError(f"-p {key}=…: name the scorer too, as in -p el2n.at=3.")
        out.setdefault(scorer, {})[name] = value
    return out


def check_run(data: str, model: str | None, eval_: str | None, recipe: dict[str, Any]) -> None:
    """Refuse wrong names in options before torch is imported, which takes seconds.

    From here on, notes say what the names stand for.
    """
    _log.setLevel(_log.level or logging.INFO)
    from datadiet.data.scheme import resolve_spec
    from datadiet.training.recipe import Recipe

    resolve_spec(data)
    check_network(model)
    check_further(eval_)
    Recipe().with_options(recipe)


def check_further(data: str | None, option: str = "eval") -> None:
    """The same for further data, such as held-out data: a spec, or a share of the training data."""
    from datadiet.data.scheme import held_out_share, resolve_spec

    if data is not None and held_out_share(data, option) is None:
        resolve_spec(data)


def check_examples(data: str | None, columns: dict[str, Any], model: str | None) -> None:
    """The same for data that a command needs only to show examples, and for the network that predicts them."""
    from datadiet.data.scheme import resolve_spec

    if data is not None:
        resolve_spec(data)
    elif any(value not in (None, "raise") for value in columns.values()):
        raise click.UsageError("the options for columns and rows are for data: name it with --data DATA.")
    check_network(model)


def check_network(spec: str | None) -> None:
    """The same for the spec of a further network."""
    from datadiet.models.catalog import check_spec

    if spec is not None:
        check_spec(spec)


def check_named(sampler: str | None, objective: str | None, sparsify: str | None) -> None:
    """Refuse a --sampler, --objective or --sparsify whose name or parameters are wrong."""
    from datadiet.registry import read_spec
    from datadiet.sampling import SCHEDULES
    from datadiet.sparsity import MASKS, read_sparsify
    from datadiet.training import OBJECTIVES

    if sampler is not None:
        read_spec(sampler, SCHEDULES, "sampler")
    if objective is not None:
        read_spec(objective, OBJECTIVES, "objective")
    if sparsify is not None and not sparsify.startswith(MASKS):
        read_sparsify(sparsify)


def opened(data: str, options: dict[str, Any]) -> Any:
    """The data of a command line, opened with its options; notes report a guessed spec and skipped examples.

    Args:
        data: a data spec.
        options: `data_options` by name; None where not given.
    """
    given = {"id" if name == "id_" else name: value for name, value in options.items() if value is not None}
    given = given if data != "digits" else {name: value for name, value in given.items() if name != "on_error"}
    from datadiet.data import open_data

    source = open_data(data, **given)
    if source.spec != data:
        _log.warning("%s is read as %s", data, source.spec)
    for index, name, reason in source.skipped:
        _log.warning("skipped %r (row %d): %s", name, index, reason)
    return source


def opened_further(data: str, further: str | None, split: str | None, options: dict[str, Any], name: str) -> Any:
    """Held-out or reference data of a command line; the column options also apply to it if it has the same scheme.

    Args:
        data: the training data.
        further: a data spec, a share of the training data, or None; the latter two are returned unchanged.
        split: which split of it.
        options: `data_options` by name.
        name: of the option.
    """
    from datadiet.data.scheme import held_out_share, resolve_spec

    if further is None or held_out_share(further, name) is not None:
        if split is not None:
            raise click.UsageError(f"--{name}-split says which split of --{name} DATA to take: name the data too.")
        return further
    alike = resolve_spec(further)[0] == resolve_spec(data)[0]
    return opened(further, {**(options if alike else {}), "split": split})
