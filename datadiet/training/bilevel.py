"""A hook that trains weights and masks in turns, each on other examples: see `datadiet.sparsity.bip`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from datadiet.data.augment import view_of_epoch
from datadiet.data.batch import Batch
from datadiet.errors import OptionError
from datadiet.float32_precision import float32_products
from datadiet.models.running import call_in_run
from datadiet.sampling.permutation import Permutation
from datadiet.sparsity.allocation import largest_everywhere
from datadiet.sparsity.bip import BiP, first_scores, moved_scores
from datadiet.sparsity.gradients import as_training_begins, mean_gradient
from datadiet.sparsity.masks import Masks
from datadiet.training.clock import even_batches
from datadiet.training.objective import autocast
from datadiet.training.sparse import Choose, Sparse

if TYPE_CHECKING:
    from datadiet.training.loop import Trainer

__all__ = ["Bilevel"]


class Bilevel(Sparse):
    """Move the masks after each step in a window, by the gradient of another batch than that of the step.

    The batches of the masks are as large as those of the steps, and presented as they are: with the view of the epoch,
    in the precision of the recipe, and each process on its part. There is no dropout, and the running statistics of
    BatchNorm do not change.

    Args:
        trainer, choose, sparsity: as in `Sparse`.
        pace: of BiP.
        rows: (n,) of the examples that decide on masks.
        least: name -> how many weights its layer keeps at least; None = there are no such numbers.

    Raises:
        OptionError: so few rows that a step may show them all.
    """

    pace: BiP

    def __init__(
        self,
        trainer: Trainer,
        choose: Choose,
        sparsity: float,
        pace: BiP,
        rows: np.ndarray,
        least: Mapping[str, int] | None = None,
    ) -> None:
        self._least = least
        self._rows, largest_batch = np.unique(rows), trainer.recipe.batch_size
        if len(self._rows) <= largest_batch:
            raise OptionError(
                f"sparsify_when=bip decides on masks by other examples than those of each step, and {len(self._rows)} "
                f"are not more than a batch of {largest_batch}: name more in sparsify_on= (--sparsify-on), or set a "
                "smaller batch_size (--set batch_size=N)."
            )
        self._ahead: Iterator[Batch] = iter(())
        self._named: dict[str, Tensor] = {}
        super().__init__(trainer, choose, sparsity, pace)

    def after_step(self, trainer: Trainer) -> None:
        """Move the masks if it is time."""
        if not self.pace.moves(trainer.clock.progress):
            return
        batch = next(self._ahead, None)
        if batch is None:
            self._ahead = self._batches()
            batch = next(self._ahead)
        self._move(self._gradient(batch))

    def after_epoch(self, trainer: Trainer) -> None:
        """Note the sparsity in the history."""
        super().after_epoch(trainer)
        self._ahead = iter(())

    def _put_on(self, masks: Masks) -> None:
        if not self._named:  # the masks of the start; nothing is pruned yet
            named = dict(self._trainer.model.named_parameters())
            self._named = {name: named[name] for name in masks}
            self._kept, self._weights = _row(masks), _row(self._named)
            self._scores, self._count = first_scores(self._weights, self._kept), int(self._kept.sum())
        super()._put_on(masks)

    def _move(self, gradient: Tensor) -> None:
        """A step of the upper level: other scores, other masks, and the weights that they let through."""
        self._weights = _row(self._named).where(self._kept, self._weights)
        steps = {"lr": self.pace.lr, "implicit": self.pace.implicit}
        self._scores = moved_scores(self._scores, self._weights, self._kept, gradient, **steps)
        least = self._least or dict.fromkeys(self._named, 0)
        kept = _row(largest_everywhere(self._split(self._scores), self._count, least))
        # What comes back does so without momentum: the optimizer remembers gradients of pruned weights.
        self._layers(kept & self._kept).zero_(self._trainer.optimizer, self._trainer.model)
        self._kept = kept
        through = self._split(self._weights * kept)
        with torch.no_grad():
            torch._foreach_copy_([*self._named.values()], [*through.values()])
        self._put_on(self._layers(kept))

    def _gradient(self, batch: Batch) -> Tensor:
        """(N,) float32, of the mean loss of a batch over all processes, by the weights as they are."""
        trainer, n = self._trainer, len(batch)
        precision, device = trainer.recipe.precision, trainer.feed.device
        scale = trainer.scaler.scale(torch.ones((), device=device))

        def total(part: Batch) -> Tensor:
            with autocast(precision, device):
                outputs = call_in_run(trainer.model, part)
            return trainer.task.losses(outputs, part.targets).sum() * (scale / n)

        parts = batch.parts(trainer.recipe.accumulate)
        with as_training_begins(trainer.model, self._named), float32_products(tf32=precision == "tf32"):
            found = _row(mean_gradient(self._named, parts, total)).mul_(n / scale)
        if trainer.world > 1:
            dist.all_reduce(found)
            found /= trainer.world
        return found

    def _batches(self) -> Iterator[Batch]:
        """Those of the masks, from the step that was just taken to the end of the epoch."""
        trainer, clock = self._trainer, self._trainer.clock
        sizes = even_batches(-(-clock.shown // trainer.world), trainer.recipe.batch_size // trainer.world)
        first, order = clock.batch - 1, Permutation(len(self._rows), trainer.seed, "upper level", clock.epoch)
        rows = (row for step in range(first, len(sizes)) for row in self._chosen(order, sizes, step).tolist())
        return trainer.feed.batches(rows, sizes[first:], view_of_epoch(clock.epoch + 1, trainer.recipe.views))

    def _chosen(self, order: Permutation, sizes: list[int], step: int) -> np.ndarray:
        """The rows of this process for the masks, after a step of this epoch: none that the step showed anywhere."""
        trainer = self._trainer
        first, number = sum(sizes[:step]) * trainer.world, sizes[step] * trainer.world
        shown = trainer.schedule.order(trainer.clock.epoch)(np.arange(first, first + number) % trainer.clock.shown)
        places = (first + np.arange(min(2 * number, len(self._rows)))) % len(self._rows)
        others = self._rows[order(places)]
        others = others[np.isin(others, shown, invert=True)]
        return np.resize(others, number)[trainer.rank :: trainer.world]

    def _split(self, row: Tensor) -> dict[str, Tensor]:
        """Numbers of all weights in a row -> those of each layer."""
        sizes = [weight.numel() for weight in self._named.values()]
        parts = zip(self._named.items(), torch.split(row, sizes), strict=True)
        return {name: part.view(weight.shape) for (name, weight), part in parts}

    def _layers(self, kept: Tensor) -> Masks:
        return Masks(self._split(kept))

    def state_dict(self) -> dict[str, Any]:
        """The masks, scores, and the values of pruned weights."""
        return {**super().state_dict(), "scores": self._scores, "weights": self._weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        super().load_state_dict(state)
        assert self.masks is not None, "chosen at the start"
        self._kept = _row(self.masks)
        self._scores, self._weights = (state[key].to(self._kept.device) for key in ("scores", "weights"))


def _row(layers: Any) -> Tensor:
    """The numbers of all layers in a row, (N,)."""
    return torch.cat([value.detach().reshape(-1) for value in layers.values()])
