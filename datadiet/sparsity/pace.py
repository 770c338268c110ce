"""When a network becomes sparse: at once, gradually, or in rounds that rewind.

Zhu and Gupta: To Prune, or Not to Prune, 2017 (arXiv 1710.01878), equation 1: with u = (progress - a) / (b - a) of the
window from a to b, the sparsity is s (1 - (1 - u)^3). It rises fast while many weights are superfluous, and slowly at
the end; after the window, the network trains on with its last mask.

Frankle et al.: Linear Mode Connectivity and the Lottery Ticket Hypothesis, ICML 2020 (arXiv 1912.05671): train to the
end, prune a fifth of the weights that are left, go back to the weights (or, in Renda et al., ICLR 2020, arXiv
2003.02389, only to the learning rate) of an early step, and train again, until the network is as sparse as it should
be.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from datadiet.errors import OptionError
from datadiet.parameters import in_words

__all__ = ["PACES", "Pace", "PaceSpec"]

_UPDATES = 100  # masks chosen within a window, at most: choosing one costs about as much as a few steps
_PART = 0.2  # of the weights that are left goes in each round


@dataclass(frozen=True)
class PaceSpec:
    """What users need to know to name a pace.

    Attributes:
        name: what they call it.
        about: what happens.
        reference: where it comes from.
        parameters: what they may write after the name, with its defaults; the first one is written without its key.
        fn: what says more.
    """

    name: str
    about: str
    reference: str
    parameters: Mapping[str, Any]
    fn: Callable[..., Any]

    @property
    def written(self) -> str:
        """The pace as users write it, with its defaults."""
        first, *others = [*self.parameters] or [""]
        further = "".join(f",{key}={self.parameters[key]:g}" for key in others)
        return f"{self.name}:{self.parameters[first]}{further}" if first else self.name


@dataclass(frozen=True)
class Pace:
    """When the sparsity of a network changes.

    Attributes:
        kind: "start", "cubic", "rewind" (weights and learning rate) or "rewind_lr" (learning rate only); the others are
            those of `datadiet.sparsity.prune_and_grow` and `datadiet.sparsity.bip`.
        begin: of the window, as a share of the training; of a rewinding pace, the point to return to.
        end: of the window.

    >>> [round(Pace("cubic", 0.0, 1.0).sparsity(0.8, progress), 3) for progress in (0.0, 0.5, 1.0)]
    [0.0, 0.7, 0.8]
    """

    kind: Literal["start", "cubic", "rewind", "rewind_lr", "rigl", "set", "granet", "bip"] = "start"
    begin: float = 0.0
    end: float = 0.0

    @classmethod
    def read(cls, text: str) -> Pace:
        """The pace that a user writes.

        Raises:
            OptionError: another form, or a window that is not inside the training.

        >>> Pace.read("cubic"), Pace.read("rewind:0.1")
        (Pace(kind='cubic', begin=0.25, end=0.75), Pace(kind='rewind', begin=0.1, end=0.0))
        """
        known = PACES.get(str(text).partition(":")[0])
        whole = known.written if known is not None and text == known.name else str(text)
        found = re.fullmatch(r"(start)|(cubic):([\d.]+)-([\d.]+)|(rewind|rewind_lr):([\d.]+)", whole)
        try:
            if found is None:
                raise ValueError(text)
            if found[1]:
                return cls()
            if found[2]:
                pace = cls("cubic", float(found[3]), float(found[4]))
            else:
                pace = cls("rewind" if found[5] == "rewind" else "rewind_lr", float(found[6]))
        except ValueError:
            forms = in_words([spec.written for spec in ([known] if known else PACES.values())])
            raise OptionError(f"sparsify_when={text!r} (--sparsify-when): write {forms}.") from None
        if not (0 <= pace.begin < 1 and (pace.rewinds or pace.begin < pace.end <= 1)):
            raise OptionError(
                f"sparsify_when={text!r} (--sparsify-when): the shares of the training must be between 0 and 1, and "
                "ascending."
            )
        return pace

    def __str__(self) -> str:
        """The pace as users write it.

        >>> str(Pace.read("cubic")), str(Pace.read("rewind:0.1")), str(Pace())
        ('cubic:0.25-0.75', 'rewind:0.1', 'start')
        """
        if self.kind == "start":
            return self.kind
        return f"{self.kind}:{self.begin:g}" + (f"-{self.end:g}" if not self.rewinds else "")

    @property
    def at_once(self) -> bool:
        """Whether a method chooses masks before the first step."""
        return not self.rewinds and self.update(0.0) > 0

    @property
    def rewinds(self) -> bool:
        """Whether training is repeated in rounds."""
        return self.kind in ("rewind", "rewind_lr")

    def sparsity(self, final: float, progress: float) -> float:
        """The sparsity at some progress of the training, 0 to 1, of a pace that does not rewind."""
        if self.kind == "start":
            return final
        u = min(1.0, max(0.0, (progress - self.begin) / (self.end - self.begin)))
        return final * (1 - (1 - u) ** 3)

    def update(self, progress: float) -> int:
        """Which mask is in use, counted from 0 (none): at most a hundred within the window, the last one at its end."""
        if self.kind == "start":
            return 1
        u = (progress - self.begin) / (self.end - self.begin)
        return max(0, min(_UPDATES, math.floor(u * _UPDATES + 1e-9)))

    def rounds(self, final: float) -> list[float]:
        """The sparsity of each round of a rewinding pace after the first, dense one, up to the final one.

        As many rounds as taking a fifth of what is left each time would need; each takes the same share.

        >>> [round(s, 3) for s in Pace("rewind").rounds(0.5)]
        [0.206, 0.37, 0.5]
        """
        number = max(1, math.floor(math.log(1 - final) / math.log(1 - _PART) + 0.5))
        return [*(1 - (1 - final) ** (done / number) for done in range(1, number)), final]


PACES = {
    spec.name: spec
    for spec in (
        PaceSpec("start", "all weights at once, before the first step", "", {}, Pace.sparsity),
        PaceSpec(
            "cubic", "more and more weights within a window of the training, fast at first", "Zhu and Gupta 2017",
            {"window": "0.25-0.75"}, Pace.sparsity,
        ),
        PaceSpec(
            "rewind", "rounds: train to the end, prune, go back to the weights of an early step", "Frankle et al. 2020",
            {"step": 0.05}, Pace.rounds,
        ),
        PaceSpec(
            "rewind_lr", "rounds that go back to the learning rate of an early step only", "Renda et al. 2020",
            {"step": 0.05}, Pace.rounds,
        ),
    )
}  # fmt: skip
