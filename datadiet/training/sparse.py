"""Hooks that make a network sparse while it trains: at once, gradually, or in rounds that rewind.

The masks are applied right after each step of the optimizer, before anything else sees the weights. When they change,
what the optimizer remembers of pruned weights is zeroed, and so is an average of the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from datadiet.errors import OptionError, counted
from datadiet.sparsity.masks import Masks
from datadiet.sparsity.pace import Pace
from datadiet.training.hooks import Hook

if TYPE_CHECKING:
    from datadiet.training.loop import Trainer

__all__ = ["Rewinding", "Sparse"]

Choose = Callable[[float], Masks]  # sparsity -> masks, from the network as it is


class Sparse(Hook):
    """Follow a pace: the share of pruned weights grows while the network trains.

    Args:
        trainer: of the network.
        choose: sparsity -> masks; what is pruned already has weight 0.
        sparsity: the final one, in (0, 1).
        pace: "start" or "cubic".

    Attributes:
        masks: those in use, or None.
    """

    def __init__(self, trainer: Trainer, choose: Choose, sparsity: float, pace: Pace) -> None:
        self.choose, self.sparsity, self.pace = choose, sparsity, pace
        self.masks: Masks | None = None
        self._trainer, self._updates = trainer, 0
        self._apply: Callable[[], None] = lambda: None
        trainer.optimizer.register_step_post_hook(lambda *_: self._apply())
        if not pace.rewinds:
            self._update()

    def after_step(self, trainer: Trainer) -> None:
        """Choose new masks if it is time."""
        self._update()

    def after_epoch(self, trainer: Trainer) -> None:
        """Note the sparsity in the history."""
        trainer.history[-1]["sparsity"] = 0.0 if self.masks is None else 1 - self.masks.density()

    def _update(self) -> None:
        progress = self._trainer.clock.progress
        due = self.pace.update(progress)
        if due > self._updates:
            self._updates = due
            self._put_on(self._masks_at(progress))
            self._apply()

    def _masks_at(self, progress: float) -> Masks:
        """New masks, at some progress of the training."""
        return self.choose(self.pace.sparsity(self.sparsity, progress))

    def _put_on(self, masks: Masks) -> None:
        """Prune by these masks from the next step on, and in all that is remembered of earlier ones."""
        self.masks, self._apply = masks, masks.bound(self._trainer.model)
        masks.zero_(self._trainer.optimizer, self._trainer.model)
        self._trainer.average.prune(masks)

    def state_dict(self) -> dict[str, Any]:
        """The masks, and how many there were."""
        return {"updates": self._updates, "masks": {} if self.masks is None else self.masks.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with the masks of a saved state; the weights are those of that state too."""
        self._updates = state["updates"]
        if state["masks"]:
            device = next(self._trainer.model.parameters()).device
            self.masks = Masks(state["masks"]).to(device)
            self._apply = self.masks.bound(self._trainer.model)


class Rewinding(Sparse):
    """Train to the end, prune, go back to an early step, and train again, until the network is sparse enough.

    With "rewind" the weights that are left become those of that step, with "rewind_lr" they stay what they are. The
    optimizer starts afresh, and the examples come in the order in which they came first.

    Args:
        trainer, choose, sparsity: as above.
        pace: "rewind" or "rewind_lr".
    """

    def __init__(self, trainer: Trainer, choose: Choose, sparsity: float, pace: Pace) -> None:
        super().__init__(trainer, choose, sparsity, pace)
        self._rounds, self._repeated = pace.rounds(sparsity), 0
        self._clock: dict[str, Any] = {}  # of the step to return to
        self._weights: dict[str, Tensor] = {}
        self._remember(trainer)

    def after_step(self, trainer: Trainer) -> None:
        """Remember the step to return to."""
        if trainer.clock.batch < trainer.clock.batches:  # else the epoch is closed first
            self._remember(trainer)

    def after_epoch(self, trainer: Trainer) -> None:
        """At the end of a round, prune and go back."""
        super().after_epoch(trainer)
        trainer.history[-1]["repeated"] = self._repeated
        self._remember(trainer)
        if trainer.clock.finished and self._clock["step"] >= trainer.clock.step:
            raise OptionError(
                f"sparsify_when={self.pace.kind}:{self.pace.begin:g} (--sparsify-when) returns to an earlier step, and "
                f"this training of {counted(trainer.clock.step, 'step')} has none: train for longer, or return to 0."
            )
        if trainer.clock.finished and self._updates < len(self._rounds):
            self._go_back(trainer)

    def _remember(self, trainer: Trainer) -> None:
        if not self._clock and trainer.clock.progress >= self.pace.begin:
            self._clock = trainer.clock.state_dict()
            if self.pace.kind == "rewind":
                self._weights = {name: value.clone() for name, value in trainer.model.state_dict().items()}

    def _go_back(self, trainer: Trainer) -> None:
        masks = self.choose(self._rounds[self._updates])
        self._updates += 1
        self._repeated += trainer.clock.step - self._clock["step"]
        if self._weights:
            trainer.model.load_state_dict(self._weights)
        trainer.optimizer.state.clear()
        trainer.clock.load_state_dict(self._clock)
        self._put_on(masks)
        self._apply()
        trainer.average.restart()

    def state_dict(self) -> dict[str, Any]:
        """The masks, and the step to return to."""
        return {**super().state_dict(), "repeated": self._repeated, "clock": self._clock, "weights": self._weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        super().load_state_dict(state)
        self._repeated, self._clock, self._weights = state["repeated"], state["clock"], state["weights"]
