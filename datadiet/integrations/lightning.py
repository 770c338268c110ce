"""A Lightning callback: record while your own module trains, and let a schedule learn from it.

Lightning makes the iterator of the first epoch before any hook of that epoch, makes later ones after
`on_train_epoch_start`, and sets the epoch of samplers but not of batch samplers (Lightning #13316). So a schedule is
begun as soon as its epoch is known: when the one before ends, and when a checkpoint is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from datadiet.data.columns import LABEL_NAMES
from datadiet.errors import OptionError, require, some_of
from datadiet.integrations.dynamics import Dynamics
from datadiet.sampling import EpochSampler
from datadiet.sampling.epoch_sampler import Schedule
from datadiet.signals import Recorder
from datadiet.table import Signals

library = require("lightning.pytorch", "lightning")

__all__ = ["DynamicsCallback"]

Presented = Mapping[str, Any]  # index, logits, targets and, if the module has them, losses


class DynamicsCallback(library.Callback):  # type: ignore[misc, name-defined]
    """Records the presentations of a LightningModule, and tells a schedule what it reads of them.

    The module returns its logits from `training_step`, beside the loss: `return {"loss": loss, "logits": logits}`. The
    index and the targets come from the batch of a loader over `dd.Indexed(dataset)`, or are returned too, as "index"
    and "targets"; "losses" (B,) are what a schedule that reads the loss is told.

    Args:
        n: number of examples of the data set.
        schedule: the sampler of the loader, if it should resume within an epoch, or learns from the training. With
            several processes it is `dd.shard(sampler, rank, world)`, in a Trainer with use_distributed_sampler=False.
        record: whether to record the signals.
        seed: which run this is, when several are scored together.
        presented: (outputs, batch) -> a dict with "index", "logits" and "targets", where they are elsewhere.

    Raises:
        MissingExtra: lightning is not installed.
    """

    def __init__(
        self,
        n: int,
        *,
        schedule: Schedule | None = None,
        record: bool = True,
        seed: int = 0,
        presented: Callable[[Any, Any], Presented] | None = None,
    ) -> None:
        super().__init__()
        self.dynamics = Dynamics(n, schedule, record=record, seed=seed)
        self.schedule, self._find = schedule, presented or _presented
        self._epoch, self._consumed, self._complete = 0, 0, False

    @property
    def recorder(self) -> Recorder | None:
        """The recorder, or None."""
        return self.dynamics.recorder

    def finish(self, labels: Any = None, ids: Sequence[str] | None = None) -> Signals:
        """The recorded epochs, for `dd.score(callback.finish(), scorers=[…])`; arguments as of `Recorder.finish`."""
        return self.dynamics.finish(labels, ids)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Refuse a sampler that Lightning has wrapped, since its order would not be the schedule's.

        Raises:
            OptionError: it has.
        """
        if self.schedule is not None and trainer.world_size > 1 and not self._drawn_from(trainer.train_dataloader):
            raise OptionError(
                "the loader does not draw from the schedule of this callback, in several processes: give the Trainer "
                "use_distributed_sampler=False, and both the loader and the callback dd.shard(sampler, rank, world)."
            )
        self._place()  # again: a loader with workers has drawn from it, and Lightning may make its iterator anew

    def _drawn_from(self, loader: Any) -> bool:
        return self.schedule in (getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None))

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin the epoch."""
        if self.dynamics.under_way and self._epoch < trainer.current_epoch:
            self._close()
        self._epoch, self._consumed, self._complete = trainer.current_epoch, 0, False
        if self.schedule is not None:
            self.schedule.begin(self._epoch)
        set_epoch = getattr(getattr(trainer.train_dataloader, "batch_sampler", None), "set_epoch", None)
        if set_epoch is not None:
            set_epoch(self._epoch)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Collect the batch; one for which `training_step` returned None was not trained on.

        Raises:
            OptionError: logits, targets or index are not there.
        """
        if outputs is not None:
            found = self._find(outputs, batch)
            self.dynamics.update(found["index"], found["logits"].detach(), found["targets"], found.get("losses"))
            self._consumed += len(found["index"])
        self._complete = bool(trainer.is_last_batch)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Close the epoch, and begin the next one, before Lightning asks its loader for the length."""
        self._close()
        last = trainer.max_epochs not in (None, -1) and self._epoch >= trainer.max_epochs
        if self.schedule is not None and not last:
            self.schedule.begin(self._epoch)

    def _close(self) -> None:
        if self.dynamics.under_way:
            self.dynamics.end_epoch()
        self._epoch, self._consumed, self._complete = self._epoch + 1, 0, False

    def state_dict(self) -> dict[str, Any]:
        """What the checkpoint of the Trainer holds of the recording and of the schedule; all processes call it."""
        place = {"epoch": self._epoch, "consumed": self._consumed, "complete": self._complete}
        return {**place, "dynamics": self.dynamics.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where the checkpoint was saved, also within an epoch."""
        self._epoch, self._consumed = state_dict["epoch"], state_dict["consumed"]
        self._complete = state_dict["complete"]
        self.dynamics.load_state_dict(state_dict["dynamics"])
        if self._complete:  # saved after the last batch, before the epoch was closed
            self._close()
        self._place()

    def _place(self) -> None:
        """Put the schedule where the training stands."""
        if self.schedule is not None:
            self.schedule.begin(self._epoch)  # a new epoch first learns from the one before
        if isinstance(self.schedule, EpochSampler):
            self.schedule.load_state_dict({**self.schedule.state_dict(), "pos": self._consumed})


def _presented(outputs: Any, batch: Any) -> Presented:
    """What a batch presented, from what `training_step` returned and from the batch of a `dd.Indexed`."""
    returned = dict(outputs) if isinstance(outputs, Mapping) else {}
    if not isinstance(returned.get("logits"), Tensor):
        raise OptionError(
            f"training_step returned {some_of(returned) or 'no dict'}: return "
            '{"loss": loss, "logits": logits}, or give the callback presented=.'
        )
    if isinstance(batch, Mapping):
        found = {
            "index": batch.get("index"),
            "targets": next((batch[key] for key in LABEL_NAMES if key in batch), None),
        }
    elif isinstance(batch, (tuple, list)) and len(batch) > 2:
        found = {"index": batch[-1], "targets": batch[-2]}
    else:
        found = {"index": None, "targets": None}
    found |= {key: value for key, value in returned.items() if key in ("index", "logits", "targets", "losses")}
    for key in ("index", "targets"):
        if found[key] is None:
            raise OptionError(
                f"the batch has no {key}: make the loader of dd.Indexed(dataset), or return {key!r} from training_step."
            )
    return found
