"""Requests: from scorer names and parameters to the functions to call and the columns they give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from datadiet.errors import MissingSignal, OptionError
from datadiet.parameters import check_parameters
from datadiet.registry import find_spec
from datadiet.scorers import SCORERS, Need, ScorerSpec
from datadiet.signals.passes import PASSES
from datadiet.table.incoming import NOT_SCORES

if TYPE_CHECKING:
    from datadiet.workflow.scoring.needs import Input

__all__ = [
    "Request", "check_compared", "compares_with_reference", "make_requests", "reads_reference",
    "refuse_presentations", "sees_two_networks",
]  # fmt: skip


@dataclass(frozen=True)
class Request:
    """One score column (with its suffixes) to compute.

    Attributes:
        column: its name.
        scorer: the registered name, or where the function comes from.
        spec: what to call, with `needs` as requested.
        params: keyword arguments for the function.
        inputs: the needs, resolved for a run: see `datadiet.workflow.scoring.needs`.
    """

    column: str
    scorer: str
    spec: ScorerSpec
    params: Mapping[str, Any]
    inputs: tuple[Input, ...] = ()


def make_requests(
    scorers: str | Callable[..., Any] | ScorerSpec | Iterable[str | Callable[..., Any] | ScorerSpec],
    params: Mapping[str, Mapping[str, Any]] | None = None,
    save_as: str | None = None,
) -> list[Request]:
    """Resolve scorer names ("el2n,aum" or a list), "py:module:function", functions or specs.

    Some parameters belong to the recording, not to the function: `at` (early, last, every, an epoch number, or a range
    "1-30"), `mode` ("train" or "eval") if a scorer reads outputs, and the options of its pass, such as `dim`.

    Args:
        scorers: what to compute.
        params: scorer -> parameter -> value.
        save_as: another name for the column of the only scorer.

    Raises:
        OptionError: an unknown scorer or parameter, parameters for a scorer that is not requested, or `save_as` with
            several scorers.
    """
    given_params = {name: dict(values) for name, values in (params or {}).items()}
    if isinstance(scorers, str):
        scorers = [name.strip() for name in scorers.split(",") if name.strip()]
    chosen = list(scorers) if isinstance(scorers, Iterable) else [scorers]
    if not chosen or (save_as and len(chosen) > 1):
        raise OptionError(
            "save_as= (--as) names the column of one scorer: give exactly one." if chosen else "name a scorer."
        )
    requests = [_request(one, given_params, save_as) for one in chosen]
    if given_params:
        raise OptionError(
            f"parameters for {', '.join(given_params)}, which is not among the scorers: add it or leave them out."
        )
    return requests


def compares_with_reference(spec: ScorerSpec) -> bool:
    """Whether a scorer reads reference data."""
    return any(map(reads_reference, spec.needs))


def reads_reference(need: Need) -> bool:
    """Whether a signal depends on reference data, itself or through its pass."""
    return need.of == "reference" or PASSES[need.pass_name].compares


def sees_two_networks(need: Need) -> bool:
    """Whether a signal depends on a network beside that of the run."""
    return PASSES[need.pass_name].against


def check_compared(requests: Iterable[Request], reference: Any, against: Any, against_model: Any) -> None:
    """Refuse scorers that compare with what is not given, and a network that none of them compares with.

    Args:
        requests: the scorers.
        reference: reference data, None without any.
        against: the network to compare with, None without one.
        against_model: what its weights belong to, if the user says so.

    Raises:
        OptionError: one of these.
    """
    networks = None
    for request in requests:
        if reference is None and compares_with_reference(request.spec):
            raise OptionError(
                f"{request.scorer} compares with reference examples: name them with reference= (--reference DATA, or a "
                "share such as 10% to split off)."
            )
        networks = request.scorer if any(map(sees_two_networks, request.spec.needs)) else networks
    if against is None and networks is not None:
        raise OptionError(
            f"{networks} compares the model with another network, such as its pruned copy: name that with against= "
            "(--against RUN, or a checkpoint)."
        )
    if against is None and against_model is not None:
        raise OptionError("against_model= (--against-model) names the network of against= (--against RUN): give both.")
    if against is not None and networks is None:
        raise OptionError(
            "against= (--against) is for scorers that compare two networks: add divergence to the scorers, or leave it "
            "out."
        )


def refuse_presentations(requests: Iterable[Request]) -> None:
    """Refuse scorers that read presentations, where nothing is trained.

    Raises:
        MissingSignal: one of them does.
    """
    for request in requests:
        if any(PASSES[need.pass_name].measure is None for need in request.spec.needs):
            raise MissingSignal(
                f"{request.scorer} reads presentations during training, but a trained model has none: give a model to "
                "train, or use a Recorder in your own training loop."
            )


def _request(scorer: Any, given_params: dict[str, dict[str, Any]], save_as: str | None) -> Request:
    spec = scorer if isinstance(scorer, ScorerSpec) else find_spec(scorer, SCORERS, "scorer", ScorerSpec.of)
    name, given = spec.name, given_params.pop(spec.name, {})
    needs = tuple(_asked(name, need, given) for need in spec.needs)
    options = [key for need in needs for key in need.options]
    params = {key: value for key, value in given.items() if key not in ("at", "mode", *options)}
    check_parameters(spec, params, also=("at", "mode", *options))
    column = save_as or name
    if not column.replace(".", "_").isidentifier() or column in NOT_SCORES:
        raise OptionError(f"{column!r} cannot be the name of a score: give another one, save_as=NAME (--as NAME).")
    return Request(column, name, replace(spec, needs=needs), params)


def _asked(name: str, need: Need, given: Mapping[str, Any]) -> Need:
    """A need as requested, with its epochs, its pass and all options of the pass."""
    at, mode = given.get("at"), given.get("mode")
    outputs = need.pass_name in ("train", "eval")
    if mode is not None and (mode not in ("train", "eval") or not outputs):
        raise OptionError(
            f"{name}.mode={mode!r}: " + ("give train or eval." if outputs else "it reads no outputs, leave it out.")
        )
    kind = PASSES[need.pass_name]
    try:
        chosen = {key: kind.option(key, given[key]) for key in kind.options if key in given}
    except OptionError as error:
        raise OptionError(f"{name}: {error}") from None
    options = {**kind.options, **need.options, **chosen}
    return replace(need, at=need.at if at is None else str(at), pass_name=mode or need.pass_name, options=options)
