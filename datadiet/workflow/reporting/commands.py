"""The commands that make an artefact again, from its description; paths are written as DATA, RUN and so on."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from datadiet.scorers import SCORERS
from datadiet.selectors import SELECTORS
from datadiet.selectors.spec import FurtherVectors
from datadiet.training import Recipe

__all__ = ["compare_command", "known_commands", "score_command", "select_command", "train_command"]

_EVAL = "# EVAL is the held-out data: leave out --eval EVAL where the data brings its own, as digits do."
_NOT_SAID = {"threads", "workers"}  # they change how fast, not what
_PLAIN = {
    "architecture", "class_names", "classes", "data", "device", "device_model", "epochs", "eval", "format", "head",
    "inputs", "model", "recipe", "rows", "rows_kept", "sampler", "seed", "shards", "start", "steps", "torch", "verb",
    "weights",
}  # fmt: skip


def known_commands(commands: Iterable[str | None]) -> list[str]:
    """Those that there are, and after them what EVAL means."""
    known = [command for command in commands if command is not None]
    return [*known, _EVAL] if any("--eval EVAL" in command for command in known) else known


def score_command(meta: Mapping[str, Any]) -> str | None:
    """`datadiet score`, from the identity block of a score table; None if it does not say how it was made."""
    plan, columns = meta.get("plan", {}), meta.get("columns", {})
    scored = {name: about for name, about in columns.items() if about.get("scorer") in SCORERS}
    if plan.get("verb") != "score" or not scored:
        return None
    scorers = dict.fromkeys(about["scorer"] for about in scored.values())
    seeds = sorted({seed for about in scored.values() for seed in about.get("seeds", [])}) or [0]
    words = ["datadiet score DATA", _option("model", plan["model"]), _option("scorer", ",".join(scorers))]
    for scorer in scorers:
        params = next(about.get("params", {}) for about in scored.values() if about["scorer"] == scorer)
        words += _parameters(params, SCORERS[scorer].parameters, f"{scorer}.")
    if plan.get("epochs"):
        words += [_option("epochs", plan["epochs"]), _option("seeds", len(seeds))]
    words += ["--checkpoints RUN"] if plan.get("checkpoints") else []
    return _joined([*words, _option("seed", seeds[0]), *_recipe(plan), *_held_out(plan), "--out RUN"])


def select_command(meta: Mapping[str, Any]) -> str | None:
    """`datadiet select`, from the identity block of a selection; None if only Python can choose like this."""
    method, params = meta.get("method"), meta.get("params", {})
    if method not in SELECTORS or "keep" not in meta:
        return None
    further = SELECTORS[method].reading(FurtherVectors)
    params = {key: key.upper() if key in further and value is not None else value for key, value in params.items()}
    if any(isinstance(value, (dict, list)) for value in params.values()):
        return None
    words = [f"datadiet select {_selected_from(meta)}", _option("method", method)]
    given = meta["keep"].get("given")
    if given is not None:
        words.append(_option("keep", f"n={given}" if isinstance(given, int) else given))
    columns = dict(meta.get("columns", {}))
    score = columns.pop("score", None)
    words += [_option("score", score)] if score else []
    words += [_option("column", f"{key}={column}") for key, column in columns.items() if column != score]
    words += _parameters(params, SELECTORS[method].parameters)
    words += ["--by-class"] if meta.get("by_class") else []
    return _joined([*words, _option("seed", meta.get("seed", 0)), "--out SELECTION.parquet"])


def _selected_from(meta: Mapping[str, Any]) -> str:
    """What a selection was made from, with the options that say how to read it."""
    parents, data = meta.get("parents", {}), meta.get("data", {})
    if "texts" in parents:
        return "RUN --texts DATA --text COLUMN" if meta.get("columns") else "DATA --text COLUMN"
    if "content" in data:
        return "RUN"
    if "embeddings" in parents and not meta.get("columns"):
        return "VECTORS"
    low = [column for column, sign in meta.get("hardness", {}).items() if sign < 0]
    told = [f"--higher-is {shlex.quote(f'{column}=easier')}" for column in low]
    return " ".join(["SCORES", *(["--id COLUMN"] if data.get("by_id") else []), *told])


def train_command(plan: Mapping[str, Any]) -> str | None:
    """`datadiet train`, from the plan of a plain training; None for one with a start, a teacher, masks or the like."""
    if plan.get("verb") != "train" or plan.get("start") or set(plan) - _PLAIN:
        return None
    words = ["datadiet train DATA", _option("model", plan["model"])]
    words += ["--selection SELECTION.parquet"] if plan.get("rows_kept") else []
    words += [_option(key, plan[key]) for key in ("sampler", "epochs", "steps") if plan.get(key)]
    return _joined([*words, _option("seed", plan.get("seed", 0)), *_recipe(plan), *_held_out(plan), "--out TRAINED"])


def compare_command(found: Mapping[str, Any], plan: Mapping[str, Any], *, reused: bool) -> str | None:
    """`datadiet compare`, from the JSON values of a comparison and the plan of its trainings.

    Args:
        found: `comparison.json`.
        plan: of all its trainings.
        reused: whether it took the scores of another run.
    """
    if "model" not in found or "epochs" not in found:
        return None
    rows = found["rows"][1:]
    screening = found.get("screening")
    tested = [row["name"] for row in rows if row["verdict"] is not None]
    methods = dict.fromkeys(tested if screening is None else screening["rungs"][0]["losses"])
    budgets = {row["budget"] for row in rows}
    kept = dict.fromkeys(f"n={row['kept']}" for row in rows)
    words = [
        "datadiet compare DATA", _option("model", found["model"]), _option("methods", ",".join(methods)),
        _option("keep", ",".join(kept)), _option("epochs", found["epochs"]), _option("margin", f"{found['margin']:g}"),
        _option("metric", found["metric"]), _option("budget", "both" if len(budgets) == 2 else min(budgets)),
        _option("seeds", len(found["seeds"])), _option("seed", found["seeds"][0]),
    ]  # fmt: skip
    words += [] if screening is None else [_option("screen", len(screening["rungs"][-1]["kept"]))]
    words += ["--scores RUN"] if reused else []
    return _joined([*words, *_recipe(plan), *_held_out(plan), "--out COMPARED"])


def _option(name: str, value: Any) -> str:
    return f"--{name} {shlex.quote(str(value))}"


def _parameters(given: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str = "") -> list[str]:
    """`-p` for each parameter that differs from its default."""
    changed = {key: value for key, value in given.items() if value is not None and defaults.get(key) != value}
    return [f"-p {shlex.quote(f'{prefix}{key}={_word(value)}')}" for key, value in changed.items()]


def _recipe(plan: Mapping[str, Any]) -> list[str]:
    given = plan.get("recipe") or {}
    defaults = {field.name: field.default for field in fields(Recipe)}
    changed = {
        key: value
        for key, value in given.items()
        if key in defaults and key not in _NOT_SAID and defaults[key] != value
    }
    if (plan.get("inputs") or {}).get("augment") == changed.get("augment"):
        changed.pop("augment", None)  # "auto" came to the same
    return [f"--set {shlex.quote(f'{key}={_word(value)}')}" for key, value in changed.items()]


def _held_out(plan: Mapping[str, Any]) -> list[str]:
    """The plan knows the content of held-out data, not its name."""
    return ["--eval EVAL"] if plan.get("eval") else []


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _joined(words: Iterable[str]) -> str:
    """One command, broken between options after about 80 characters."""
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) > 84:
            lines[-1] += " \\"
            lines.append("    " + word)
        else:
            lines[-1] += f" {word}" if lines[-1] else word
    return "\n".join(lines)
