"""`datadiet ls`."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import click

from datadiet.cli.config import ConfiguredCommand
from datadiet.cli.options import as_json

__all__ = ["ls"]

KINDS = ("scorers", "selectors", "schedules", "objectives", "pruning", "paces", "models", "data", "exports")


@click.command(cls=ConfiguredCommand, short_help="List methods, models and forms of data.")
@click.argument("what", required=False)
@as_json
def ls(what: str | None, json_: bool) -> None:
    """List methods, models, data and exports. WHAT is one of these kinds, or a method.

    \b
    datadiet ls selectors
    datadiet ls semdedup
    """
    if what is not None and what not in KINDS:
        _method(what, json_)
        return
    wanted = {None: KINDS, "pruning": ("pruning", "paces")}.get(what, (what,))
    found = {name: _rows(name) for name in KINDS if name in wanted}
    if json_:
        click.echo(json.dumps(found))
        return
    for name, rows in found.items():
        width = max(len(row["name"]) for row in rows) + 2
        click.echo(f"{name}:")
        for row in rows:
            click.echo(f"  {row['name']:<{width}}{row['about']}")
            if details := _details(row):
                click.echo(f"  {'':<{width}}{details}")


def _method(name: str, json_: bool) -> None:
    """Print what a method does, and its parameters with their defaults."""
    from datadiet.errors import unknown_name

    methods = _methods()
    kind = next((kind for kind, (specs, _) in methods.items() if name in specs), "")
    if not kind:
        raise unknown_name("kind or method", name, [*KINDS, *(name for specs, _ in methods.values() for name in specs)])
    specs, describe = methods[kind]
    spec = specs[name]
    default = inspect.Parameter.empty
    known = {key: None if value is default else value for key, value in spec.parameters.items()}
    row = describe(name, spec)
    if json_:
        click.echo(json.dumps({**row, "parameters": known, "about": inspect.getdoc(spec.fn)}, default=str))
        return
    click.echo(f"{name}: {row['about']}\n  {_details(row)}")
    options = [f"{key}={_shown(value)}" for key, value in known.items()]
    option = {"schedules": "--sampler", "objectives": "--objective", "pruning": "--sparsify"}.get(kind)
    written = f"{option} {name}:{','.join(options)}" if option else f"-p {' -p '.join(options)}"
    if known and "form" not in row:
        click.echo(f"  {written}")
    click.echo(f"\n{inspect.getdoc(spec.fn)}")


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _methods() -> dict[str, tuple[Mapping[str, Any], Callable[[str, Any], dict[str, Any]]]]:
    """Kind -> its registry, and what describes one of its methods."""
    from datadiet.sampling import SCHEDULES
    from datadiet.scorers import SCORERS
    from datadiet.selectors import SELECTORS
    from datadiet.sparsity import CHANNELS, PACES, PRUNING
    from datadiet.training import OBJECTIVES

    return {
        "selectors": (SELECTORS, _selector),
        "scorers": (SCORERS, _scorer),
        "schedules": (SCHEDULES, _schedule),
        "objectives": (OBJECTIVES, _objective),
        "pruning": (dict(sorted({**PRUNING, **CHANNELS}.items())), _pruning),
        "paces": (PACES, _pace),
    }


def _rows(kind: str) -> list[dict[str, Any]]:
    from datadiet.data.export import EXPORT_FORMS
    from datadiet.data.scheme import DATA_SCHEMES
    from datadiet.models import catalog

    if kind in (methods := _methods()):
        specs, describe = methods[kind]
        return [describe(name, spec) for name, spec in specs.items()]
    tables = {
        "models": {
            **{f"datadiet:{k}": v for k, v in catalog.NETWORKS.items()},
            **{f"{k}:": v for k, v in catalog.MODEL_SCHEMES.items()},
            **{f"{k}:": f"{v}; for datadiet embed" for k, v in catalog.ENCODERS.items()},
        },
        "data": DATA_SCHEMES,
        "exports": EXPORT_FORMS,
    }
    return [{"name": name, "about": about} for name, about in tables[kind].items()]


def _scorer(name: str, spec: Any) -> dict[str, Any]:
    """What the spec of a scorer says: the meaning of a high value, the signals it reads, the source."""
    from datadiet.workflow.scoring.requests import compares_with_reference

    reads = list(dict.fromkeys(map(_signal, spec.needs)))
    word = {1: "helps the reference" if compares_with_reference(spec) else "harder", -1: "easier"}
    single = isinstance(spec.hardness, int)
    high = word[spec.hardness] if single else {suffix: word[sign] for suffix, sign in spec.hardness.items() if sign}
    return {"name": name, "about": _what(spec.fn), "high_means": high, "reads": reads, "source": spec.reference}


def _selector(name: str, spec: Any) -> dict[str, Any]:
    """What the spec of a selector says: what it reads and needs, whether sizes are nested, the source."""
    from datadiet.selectors import Column, Fact, FurtherVectors

    first = {
        "hardness": f"the score {spec.score}" if spec.score else "a score",
        "embeddings": "vectors",
        "n": "nothing",
    }.get(spec.first, spec.first)
    vectors, facts = spec.reading(FurtherVectors), spec.reading(Fact)
    further = [f"{p} ({c.name or 'a score'})" for p, c in spec.reading(Column).items() if not c.optional]
    further += [f"{p} (vectors)" for p in vectors] + [f"{p} (from the run)" for p in facts]
    known = {*vectors, *facts}
    required = [p for p, v in spec.parameters.items() if v is inspect.Parameter.empty and p not in known]
    size = "a size" if spec.needs_size else f"a size or {spec.threshold}" if spec.threshold else "a size (optional)"
    return {
        "name": name,
        "about": _what(spec.fn),
        "reads": [first, *further],
        "needs": [size, *required],
        "nested": "with some parameters" if callable(spec.nested) else spec.nested,
        "source": spec.reference,
    }


def _schedule(name: str, spec: Any) -> dict[str, Any]:
    """What the spec of a schedule says: what it learns from, what it needs, the source."""
    needs = ["a budget in epochs"] * ("epochs" in spec.filled) + spec.required
    needs_any = {"needs": needs} if needs else {}
    return {"name": name, "about": _what(spec.fn), "reads": [spec.reads or "nothing"], **needs_any,
            "source": spec.reference}  # fmt: skip


def _objective(name: str, spec: Any) -> dict[str, Any]:
    return {"name": name, "about": _what(spec.fn), "source": spec.reference}


def _pruning(name: str, spec: Any) -> dict[str, Any]:
    """What the spec of a pruning method says: what it reads, and when it is used."""
    reads = ["examples"] if spec.reads_examples({}) else ["the weights"] if spec.when == "trained" else ["nothing"]
    return {"name": name, "about": _what(spec.fn), "reads": reads, "source": spec.reference}


def _pace(name: str, spec: Any) -> dict[str, Any]:
    """What the spec of a pace says: what happens, and how it is written."""
    return {
        "name": name,
        "about": spec.about,
        "form": spec.written,
        **({"source": spec.reference} if spec.reference else {}),
    }


def _signal(need: Any) -> str:
    """What a scorer reads, and at which epochs."""
    epochs = {"early": "early epoch", "last": "last epoch", "every": "every epoch"}.get(need.at, need.at)
    mode = "" if need.signal in ("labels", need.pass_name) else f"{need.pass_name}, "
    where = "" if need.signal == "labels" else f" ({mode}{epochs})"
    return f"{need.signal}{' of the reference' * (need.of == 'reference')}{where}"


def _details(row: dict[str, Any]) -> str:
    """The other facts about a method, in one line."""
    words = []
    if high := row.get("high_means"):
        pairs = high.items() if isinstance(high, dict) else [("", high)]
        words += [f"high{f' {suffix}' * bool(suffix)} = {word}" for suffix, word in pairs]
    if "reads" in row:
        words.append(f"reads {', '.join(row['reads'])}")
    if "needs" in row:
        words.append(f"needs {', '.join(row['needs'])}")
    if "form" in row:
        words.append(f"--sparsify-when {row['form']}")
    if row.get("nested"):
        words.append("nested" if row["nested"] is True else f"nested {row['nested']}")
    return "; ".join(words) + (f" [{row['source']}]" if "source" in row else "").removeprefix("" if words else " ")


def _what(function: Any) -> str:
    """The first line of the method's file, without the name of the method."""
    text = (sys.modules[function.__module__].__doc__ or "").strip().splitlines()[0].rstrip(".")
    sentence = text.partition(": ")[2] or text
    return sentence[:1].lower() + sentence[1:]
