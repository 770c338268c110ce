"""What requests need from a run: each need is resolved once, into epochs and the name of its parts.

The union of the needs is recorded; code that loads signals later reads the resolved inputs and decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from datadiet.errors import MissingSignal, OptionError, unknown_name
from datadiet.scorers import Need
from datadiet.signals.passes import PASSES, Pass
from datadiet.workflow.scoring.requests import Request, reads_reference, sees_two_networks

__all__ = ["Input", "Work", "epochs_there", "logits_input", "reference_of", "resolve", "work_for"]


@dataclass(frozen=True)
class Input:
    """One argument of a scorer, as a run stores it; also what one run of its pass measures.

    Attributes:
        need: what was requested.
        epochs: those it is read at; empty for labels. A pass sees their checkpoints and is stored under the last.
        single: whether it means one epoch, so that the argument has no axis of epochs.
        part: the name under which the parts of its pass are stored; empty for labels.
    """

    need: Need
    epochs: tuple[int, ...] = ()
    single: bool = True
    part: str = ""

    @property
    def kind(self) -> Pass:
        """The pass that measures it."""
        return PASSES[self.need.pass_name]

    @property
    def is_labels(self) -> bool:
        """Whether it is the labels, which no pass measures."""
        return self.need.signal == "labels"

    @property
    def of_reference(self) -> bool:
        """Whether it is measured on the reference data."""
        return self.need.of == "reference"

    def width(self, last_layer: int) -> int:
        """Numbers of a recorded vector, if the last layer reads that many."""
        return int(self.need.options.get("dim", last_layer))

    def described(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """What the score file says about it, in a run with these facts."""
        about = {"signal": self.need.signal, "mode": self.need.pass_name, "epochs": [self.epochs[0], self.epochs[-1]]}
        if reads_reference(self.need):
            about |= {"of": self.need.of, "reference": reference_of(facts)}
        if sees_two_networks(self.need):
            about |= {"against": _against_of(facts)}
        return about | dict(self.need.options)


@dataclass(frozen=True)
class Work:
    """What is recorded for some requests.

    Attributes:
        passes: over the data at checkpoints; one input stands for all that the same pass measures.
        shift: whether TDDS's shift is recorded.
        head: whether the input of the last layer is needed.
    """

    passes: tuple[Input, ...] = ()
    shift: bool = False
    head: bool = False

    @property
    def checkpoints(self) -> set[int]:
        """The epochs whose weights are needed."""
        return {epoch for one in self.passes for epoch in one.epochs}


def resolve(requests: Iterable[Request], facts: Mapping[str, Any]) -> list[Request]:
    """The requests with the inputs that they read in a run.

    Args:
        requests: the scorers, with their parameters.
        facts: of the run: `epochs`, or `checkpoints` that were given, and the hashes of what it compares with:
            `reference` data, and the network `against`.

    Raises:
        OptionError: epochs outside the run, or too few of them.
        MissingSignal: a scorer compares with reference data or a second network, but the run has none.
    """
    return [
        replace(request, inputs=tuple(_input(request, need, facts) for need in request.spec.needs))
        for request in requests
    ]


def _input(request: Request, need: Need, facts: Mapping[str, Any]) -> Input:
    if need.signal == "labels":
        return Input(need)
    kind = PASSES[need.pass_name]
    if need.of == "reference" and not kind.vectors:
        raise OptionError(
            f"{request.scorer} reads {need.signal} of the reference: only passes that record vectors run over it."
        )
    epochs, single = _epochs_at(need.at, facts, request.scorer)
    first = max(PASSES[one.pass_name].begins.get(one.signal, 1) for one in request.spec.needs)
    epochs = [epoch for epoch in epochs if epoch >= first]  # the arguments of one function have the same epochs
    if not epochs:
        raise OptionError(f"{request.column} compares an epoch with the previous one: record at least two epochs.")
    if kind.together and len(epochs) < 2:
        raise OptionError(f"{request.scorer} compares checkpoints: give several, {_chosen(request.scorer, 'every')}.")
    reference = reference_of(facts) if reads_reference(need) else ""
    against = _against_of(facts) if sees_two_networks(need) else ""
    return Input(need, tuple(epochs), single, kind.filed_as(epochs, reference, need.options, against))


def _chosen(scorer: str, at: Any) -> str:
    """How to choose epochs, in Python and on the command line."""
    return f"for example params={{{scorer!r}: {{'at': {at!r}}}}} (-p {scorer}.at={at})"


def reference_of(facts: Mapping[str, Any]) -> str:
    """The hash of the reference data of a run.

    Raises:
        MissingSignal: it has none.
    """
    if facts.get("reference") is None:
        raise MissingSignal(
            "this run has no reference data: score the data with this scorer and reference=DATA (--reference DATA)."
        )
    return str(facts["reference"])


def _against_of(facts: Mapping[str, Any]) -> str:
    """The hash of the network that a run compares with; MissingSignal if there is none."""
    if facts.get("against") is None:
        raise MissingSignal(
            "this run was not compared with another network: score the data with this scorer and against=RUN "
            "(--against RUN)."
        )
    return str(facts["against"])


def logits_input(given: Mapping[str, Any], facts: Mapping[str, Any]) -> Input:
    """The logits of the last checkpoints, which no scorer reads: students do.

    Args:
        given: options of the pass.
        facts: see `resolve`.

    Raises:
        OptionError: an unknown option, or a value out of range.
    """
    kind = PASSES["logits"]
    for name in given:
        if name not in kind.options:
            raise unknown_name("option of logits", name, kind.options)
    try:
        options = {**kind.options, **{name: kind.option(name, value) for name, value in given.items()}}
    except OptionError as error:
        raise OptionError(f"logits: {error}") from None
    if options["top"] >= facts["num_classes"]:
        raise OptionError(
            f"logits: top={options['top']} of {facts['num_classes']} classes: give fewer, or leave it out to store all."
        )
    need = Need("logits", "logits", options=options)
    return Input(need, (epochs_there(facts)[-1],), part=kind.filed_as(options=options))


def work_for(requests: Sequence[Request], further: Sequence[Input] = ()) -> Work:
    """The union of what resolved requests read, and further inputs."""
    inputs = [*(one for request in requests for one in request.inputs if not one.is_labels), *further]
    passes: dict[tuple[str, tuple[int, ...]], Input] = {}
    for one in inputs:
        if one.kind.measure is not None:
            for epochs in [one.epochs] if one.kind.together else [(epoch,) for epoch in one.epochs]:
                passes.setdefault((one.part, epochs), replace(one, epochs=epochs))
    return Work(
        passes=tuple(passes.values()),
        shift=any(one.need.signal == "shift" for one in inputs),
        head=any(one.need.signal in ("feature_norm", "features") for one in inputs),
    )


def epochs_there(facts: Mapping[str, Any]) -> list[int]:
    """The epochs of the run with these facts, or the numbers of the checkpoints that it evaluated."""
    given = facts.get("checkpoints")
    return list(given) if isinstance(given, list) else list(range(1, int(facts.get("epochs", 0)) + 1))


def _epochs_at(at: str, facts: Mapping[str, Any], what: str) -> tuple[list[int], bool]:
    """The epochs that `at` means in a run, and whether it means a single one.

    "early" is a tenth of the training, rounded up, and at least the second epoch: after one epoch of a short run the
    errors still say more about the initialisation than about the example. If several checkpoints were given, none is
    "early", and a range means those within it.

    Args:
        at: early, last, every, a number, or a range.
        facts: see `resolve`.
        what: the scorer, for messages.

    Raises:
        OptionError: not one of these forms, or outside the run.
    """
    there, given = epochs_there(facts), "checkpoints" in facts
    if given and at == "early" and len(there) > 1:
        raise OptionError(
            f"{what} reads one checkpoint, but {len(there)} were given: say which, {_chosen(what, there[0])}."
        )
    if at == "every":
        return there, False
    if at in ("early", "last") and there:
        early = 1 if given else max(2, ceil(len(there) / 10))
        return [there[-1] if at == "last" else there[min(len(there), early) - 1]], True
    low, dash, high = at.partition("-")
    if not low.isdecimal() or (dash and not high.isdecimal()):
        raise OptionError(f"{what}.at={at!r}: give early, last, every, an epoch number, or a range such as 1-30.")
    first, last = int(low), int(high) if dash else int(low)
    if first > last or not {first, last} <= set(there):
        raise OptionError(
            f"{what}.at={at!r}: there are checkpoints {', '.join(map(str, there))} (of a run they are numbered by "
            "epoch, other files from 1): give one of them, or a range between two of them."
            if given
            else f"{what}.at={at!r} is outside the {len(there)} recorded epochs: give some from 1 to {len(there)}."
        )
    return [epoch for epoch in there if first <= epoch <= last], not dash
