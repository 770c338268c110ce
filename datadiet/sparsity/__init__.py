"""Sparse networks: which weights to prune, how many of each layer, and when during training.

`PRUNING` holds the record of each method under its name, `CHANNELS` of those that remove whole channels, `PACES` of
each pace, `GROWTH` of those that prune and grow. Modules that need torch are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datadiet.errors import OptionError
from datadiet.lazy import lazy
from datadiet.parameters import in_words
from datadiet.registry import read_spec, specs_in
from datadiet.sparsity import pace
from datadiet.sparsity.allocation import check_sparsity
from datadiet.sparsity.bip import BIP, BiP
from datadiet.sparsity.channels import channels as channels
from datadiet.sparsity.global_magnitude import global_magnitude as global_magnitude
from datadiet.sparsity.grasp import grasp as grasp
from datadiet.sparsity.layer_magnitude import layer_magnitude as layer_magnitude
from datadiet.sparsity.n_m import n_m as n_m
from datadiet.sparsity.pace import Pace as Pace
from datadiet.sparsity.prune_and_grow import GROWTH as GROWTH
from datadiet.sparsity.prune_and_grow import Growth
from datadiet.sparsity.random_weights import random_weights as random_weights
from datadiet.sparsity.snip import snip as snip
from datadiet.sparsity.spec import ChannelSpec as ChannelSpec
from datadiet.sparsity.spec import PruningSpec as PruningSpec
from datadiet.sparsity.synflow import synflow as synflow
from datadiet.sparsity.wanda import wanda as wanda

if TYPE_CHECKING:
    from datadiet.models.narrow import rebuilt
    from datadiet.sparsity.batch_norm import reestimate_batch_norm
    from datadiet.sparsity.cost import ModelCost, cost_of, costs_of
    from datadiet.sparsity.masks import Masks
    from datadiet.sparsity.one_shot import sparsify
    from datadiet.sparsity.structured import shrink

__all__ = [
    "CHANNELS",
    "GROWTH",
    "MASKS",
    "PACES",
    "PRUNING",
    "ChannelSpec",
    "Masks",
    "ModelCost",
    "Pace",
    "PruningSpec",
    "cost_of",
    "costs_of",
    "read_pace",
    "read_sparsify",
    "rebuilt",
    "reestimate_batch_norm",
    "shrink",
    "sparsify",
]

__getattr__ = lazy(
    __name__,
    {
        "batch_norm": ("reestimate_batch_norm",),
        "cost": ("ModelCost", "cost_of", "costs_of"),
        "masks": ("Masks",),
        "one_shot": ("sparsify",),
        "structured": ("rebuilt", "shrink"),
    },
)

MASKS = "masks:"  # before the run whose zeros are the masks, in place of a method
PACES: dict[str, pace.PaceSpec] = {**pace.PACES, **GROWTH, BIP.name: BIP}
PRUNING = specs_in(__name__, PruningSpec, globals())
CHANNELS = specs_in(__name__, ChannelSpec, globals())


def read_sparsify(text: str) -> tuple[PruningSpec | ChannelSpec, dict[str, Any]]:
    """A pruning method and its parameters, from "NAME:SPARSITY" or "NAME:SPARSITY,key=value".

    Raises:
        OptionError: an unknown name or parameter, no sparsity, or one that the method cannot reach.

    >>> read_sparsify("global_magnitude:90%,min_per_layer=10")[1]
    {'sparsity': 0.9, 'min_per_layer': 10.0}
    """
    name, _, rest = text.partition(":")
    known: dict[str, PruningSpec | ChannelSpec] = {**PRUNING, **CHANNELS}
    if name in known and (not rest or "=" in rest.split(",")[0]) and "sparsity=" not in rest:
        raise OptionError(
            f"sparsify={text!r} (--sparsify) does not say how sparse: write {name}:0.9 to prune 90 % of the weights."
        )
    parts = (rest if "sparsity=" in rest else f"sparsity={rest}").split(",")
    if name in known:  # a percentage, too, is a number from here on
        parts = [_as_number(part) for part in parts]
    spec, given = read_spec(f"{name}:{','.join(parts)}", known, "pruning method")
    return spec, spec.checked(given)


def _as_number(part: str) -> str:
    key, _, value = part.partition("=")
    return f"{key}={check_sparsity(value)!r}" if key == "sparsity" and value else part


def read_pace(text: str) -> Pace:
    """When a network is pruned, from what a user writes, such as "cubic:0.25-0.75", "rigl" or "bip".

    Raises:
        OptionError: another form, or a number out of range.
    """
    name = str(text).partition(":")[0]
    if name not in PACES:
        forms = in_words([*(spec.written for spec in pace.PACES.values()), *GROWTH, BIP.name])
        raise OptionError(f"sparsify_when={text!r} (--sparsify-when): write {forms}.")
    return (Growth if name in GROWTH else BiP if name == BIP.name else Pace).read(text)
