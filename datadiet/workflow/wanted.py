"""What several scorers need together: presentations during training, and passes over the data at checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from datadiet.errors import OptionError
from datadiet.table.passes import PASSES, PassKind, filed_as
from datadiet.workflow.requests import Request, epochs_at

__all__ = ["Pass", "Wanted", "what_is_needed"]


@dataclass(frozen=True)
class Pass:
    """One pass over the data at checkpoints.

    Attributes:
        mode: what it measures: see `datadiet.table.passes`.
        of: "data" or "reference".
        epochs: the epochs whose checkpoints it needs; each is a pass of its own unless it sees them together.
        options: of the pass.
    """

    mode: str
    of: Literal["data", "reference"]
    epochs: tuple[int, ...]
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def kind(self) -> PassKind:
        """What is known of the pass."""
        return PASSES[self.mode]

    @property
    def needs_reference(self) -> bool:
        """Whether reference data is needed for it."""
        return self.kind.against or self.of == "reference"

    def filed_as(self, reference: str) -> str:
        """The name under which its parts are filed; `reference` is a hash of the reference data."""
        return filed_as(self.mode, self.epochs, reference if self.needs_reference else "", dict(self.options))


@dataclass(frozen=True)
class Wanted:
    """The union of what several scorers need.

    Attributes:
        train: whether presentations during training are recorded.
        passes: over the data at checkpoints.
        shift: whether TDDS's shift is recorded.
        head: whether the input of the last layer is needed.
    """

    train: bool
    passes: tuple[Pass, ...]
    shift: bool
    head: bool

    @property
    def checkpoints(self) -> set[int]:
        """The epochs whose weights are needed."""
        return {epoch for wanted in self.passes for epoch in wanted.epochs}


def what_is_needed(requests: Iterable[Request], facts: Mapping[str, Any]) -> Wanted:
    """The union of the needs of several requests in a run of which these facts are known."""
    needs = [(request, need) for request in requests for need in request.spec.needs]
    passes: dict[Pass, None] = {}
    for request, need in needs:
        if need.pass_name == "train" or need.signal == "labels":
            continue
        if need.of == "reference" and not PASSES[need.pass_name].wide:
            raise OptionError(
                f"{request.scorer} reads {need.signal} of the reference: only passes that give vectors run over it."
            )
        at, _ = epochs_at(need.at, facts, request.scorer)
        if PASSES[need.pass_name].together and len(at) < 2:
            raise OptionError(
                f"{request.scorer} compares checkpoints: give several, such as -p {request.scorer}.at=every."
            )
        groups = [tuple(at)] if PASSES[need.pass_name].together else [(epoch,) for epoch in at]
        passes |= {Pass(need.pass_name, need.of, group, tuple(sorted(need.options.items()))): None for group in groups}
    return Wanted(
        train=any(need.pass_name == "train" for _, need in needs),
        passes=tuple(passes),
        shift=any(need.signal == "shift" for _, need in needs),
        head=any(need.signal in ("feature_norm", "features") for _, need in needs),
    )
