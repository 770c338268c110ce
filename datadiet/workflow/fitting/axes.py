"""The axes of a grid of trainings: what may vary, and the values that are given for it. No torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from datadiet.errors import OptionError, unknown_name
from datadiet.files import digest
from datadiet.parameters import check_whole, in_a_line
from datadiet.selectors.budget import parse_keep
from datadiet.sparsity import read_sparsify
from datadiet.sparsity.allocation import check_sparsity, sparsity_of

__all__ = ["AXES", "Axes", "Values", "read_axes", "teacher_name"]

AXES = ("keep", "sparsity", "teacher", "seed")
_INSTEAD = {"keep": ("selection", "sampler"), "sparsity": (), "teacher": ("teacher",), "seed": ("seed",)}
_LARGE = 1 << 53  # examples: any count is possible before the data is open


@dataclass(frozen=True)
class Values:
    """What one cell has of each axis; None where the options of all cells say it.

    Attributes:
        keep: the share or number of examples.
        sparsity: of the weights, in [0, 1).
        teacher: a run, a checkpoint or a network; None = none.
        seed: of the training and of the choice of examples.
    """

    keep: Any
    sparsity: float | None
    teacher: Any
    seed: int


@dataclass(frozen=True)
class Axes:
    """The values along each axis, checked as far as that is possible without data.

    Attributes:
        given: axis -> its values, of those that are given.
        options: of `train`, the same for all cells.

    Raises:
        OptionError: an unknown axis, one without values, a value twice or one that cannot be, or an option that is
            given both alone and as an axis.
    """

    given: Mapping[str, Sequence[Any]]
    options: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not self.given:
            raise OptionError(f"a grid needs an axis: give values of {', '.join(AXES)} (--grid keep=10%,100%).")
        for name, values in self.given.items():
            if name not in AXES:
                raise unknown_name("axis of a grid", name, AXES)
            if isinstance(values, str) or not isinstance(values, Sequence) or not len(values):
                raise OptionError(f"the axis {name} has no values: give a list of them (--grid {name}=A,B).")
            alone = next((other for other in _INSTEAD[name] if self.options.get(other) is not None), None)
            if alone is not None:
                raise OptionError(f"{alone} (--{alone}) and the axis {name} both decide the same: give one of them.")
        checked = {name: [_checked(name, value) for value in values] for name, values in self.given.items()}
        for name, values in checked.items():
            again = next((v for place, v in enumerate(values) if any(v is w or v == w for w in values[:place])), _LARGE)
            if again != _LARGE:
                raise OptionError(f"the axis {name} holds {in_a_line(again)} twice: give each value once.")
        object.__setattr__(self, "given", checked)
        for sparsity in filter(None, checked.get("sparsity", [])):
            read_sparsify(self.sparsify(sparsity))

    def values(self) -> list[Values]:
        """Of each cell, the seeds of one setting in a row."""
        seed, sparsity = self.options.get("seed") or 0, None if self.options.get("sparsify") else 0.0
        along: dict[str, Sequence[Any]] = {
            "keep": [None],
            "sparsity": [sparsity],
            "teacher": [None],
            "seed": [seed],
            **self.given,
        }
        places = product(*(range(len(along[name])) for name in AXES))
        return [Values(*(along[name][at] for name, at in zip(AXES, place, strict=True))) for place in places]

    def sparsify(self, sparsity: float) -> str:
        """The spec of the pruning method at a sparsity.

        Raises:
            OptionError: the method has a sparsity of its own.
        """
        name, _, rest = (self.options.get("sparsify") or "global_magnitude").partition(":")
        if rest and ("=" not in rest.split(",")[0] or "sparsity=" in rest):
            raise OptionError(
                f"sparsify='{name}:{rest}' (--sparsify) says how sparse, and so does the axis sparsity: write {name}."
            )
        return f"{name}:sparsity={sparsity!r}{',' * bool(rest)}{rest}"

    def options_of(self, values: Values) -> dict[str, Any]:
        """The options of the training of one cell, apart from its examples."""
        found = {**self.options, "seed": values.seed}
        if "sparsity" in self.given:
            found["sparsify"] = self.sparsify(values.sparsity) if values.sparsity else None
            if not values.sparsity:
                found |= {"sparsify_when": None, "sparsify_on": None, "keep_dense": ()}
        if "teacher" in self.given:
            found["teacher"] = values.teacher
            if values.teacher is None:
                found |= {"teacher_model": None, "kd_weight": "auto", "temperature": 4.0}
        return found


def read_axes(texts: Sequence[str]) -> dict[str, list[str]]:
    """AXIS=VALUE,VALUE options as a dict.

    Raises:
        OptionError: one without values, or an axis given twice.

    >>> read_axes(["keep=10%,n=500", "teacher=none,runs/dense"])
    {'keep': ['10%', 'n=500'], 'teacher': ['none', 'runs/dense']}
    """
    found: dict[str, list[str]] = {}
    for text in texts:
        name, _, rest = text.partition("=")
        if name in found:
            raise OptionError(f"--grid {name}=… is given twice: give all its values at once, with commas.")
        found[name] = [value.strip() for value in rest.split(",") if value.strip()]
    return found


def teacher_name(teacher: Any, weights: str = "") -> str:
    """A name for folders and tables that tells teachers apart; `weights` is the hash of a network.

    >>> teacher_name(None), teacher_name("runs/large net")[:-6]  # and a part of the hash of the whole path
    ('none', 'large-net-')
    """
    if teacher is None:
        return "none"
    if weights:
        return f"{type(teacher).__name__}-{weights[:6]}"
    last = re.sub(r"[^A-Za-z0-9_.]+", "-", str(teacher).rstrip("/").rpartition("/")[2])
    return f"{last[:40].strip('.-') or 'teacher'}-{digest(str(teacher))[:6]}"


def _checked(name: str, value: Any) -> Any:
    """A value of an axis; text as the command line gives it is read."""
    if name == "keep":
        parse_keep(value, _LARGE)
        return value
    if name == "teacher":
        return None if value is None or value == "none" else value
    if name == "seed":
        whole = isinstance(value, str) and value.isdigit()
        return check_whole("seed", int(value) if whole else value, 0)
    return 0.0 if sparsity_of(value) == 0 else check_sparsity(value)
