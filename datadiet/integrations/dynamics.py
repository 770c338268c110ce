"""What a training loop that is not ours shows of its presentations: for a recorder, and for a schedule that learns.

Every integration passes its batches here, and so can a loop of your own under DistributedDataParallel or Accelerate.
Nothing waits for the device before the epoch ends, and what an unfinished epoch presented is in the saved state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

from datadiet.errors import OptionError
from datadiet.parameters import check_whole
from datadiet.runtime.gather import RowBuffer
from datadiet.sampling.epoch_sampler import Schedule
from datadiet.signals import Recorder
from datadiet.signals.targets import as_classes, as_rows
from datadiet.table import Signals
from datadiet.tasks import output_signals
from datadiet.training.state import joined_state, split_state

__all__ = ["Dynamics"]

_UNFINISHED = ("batches", "pending")  # what the state of a Recorder holds of this process's part of an epoch


class Dynamics:
    """Collects what an epoch presented, and passes it on when the epoch ends.

    Under DistributedDataParallel every process calls `update` with its own examples, and all call `end_epoch`, which
    gathers them. `state_dict` gathers too: all processes call it, and any of them may write what it returns.

    >>> dynamics = Dynamics(3)
    >>> for epoch in range(2):
    ...     dynamics.update([2, 0], torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]))
    ...     dynamics.update([1], torch.tensor([[0.0, 3.0]]), torch.tensor([1]))
    ...     dynamics.end_epoch()
    >>> dynamics.finish().epochs("train")
    [1, 2]

    Args:
        n: number of examples of the data set.
        schedule: what chooses the examples; it is given what it `reads` of them.
        record: whether to record the signals, for scores.
        seed: which run this is, when several are scored together.

    Attributes:
        recorder: a `Recorder`, or None.
    """

    def __init__(self, n: int, schedule: Schedule | None = None, *, record: bool = True, seed: int = 0) -> None:
        self.n = check_whole("n", n)
        self.schedule = schedule
        self.recorder = Recorder(n, seed=seed) if record else None
        self._presented = RowBuffer()
        self._under_way = False

    def __repr__(self) -> str:
        return f"Dynamics({self.n} examples, schedule {self.schedule!r}, recorder {self.recorder!r})"

    @property
    def reads(self) -> str | None:
        """What the schedule learns from: "loss", "error_norm", "correct", or None."""
        return None if self.schedule is None else self.schedule.reads

    @property
    def under_way(self) -> bool:
        """Whether anything was presented since the last `end_epoch`."""
        return self._under_way

    def update(
        self,
        index: Tensor | Sequence[int] | np.ndarray,
        logits: Tensor,
        targets: Tensor,
        losses: Tensor | None = None,
    ) -> None:
        """Collect one batch, after its forward pass.

        Args:
            index: (B,) integers in 0..n-1, which examples these are.
            logits: (B, C).
            targets: (B,) or (B, 1) integers in 0..C-1, or one-hot (B, C).
            losses: (B,) without weights, for a schedule that reads the loss; None = the cross-entropy.

        Raises:
            OptionError: other shapes or types; it says what to pass instead.
        """
        if self.recorder is not None:
            self.recorder.update(index, logits, targets)
        if self.reads is not None:
            self._presented.add(as_rows(index), {self.reads: self._read(logits, targets, losses)})
        self._under_way = True

    @torch.no_grad()
    def _read(self, logits: Tensor, targets: Tensor, losses: Tensor | None) -> Tensor:
        """(B,) what the schedule reads."""
        z, y = as_classes(logits, targets)
        if self.reads != "loss":
            return output_signals(z, y)[str(self.reads)]
        return functional.cross_entropy(z.float(), y, reduction="none") if losses is None else losses.detach()

    def end_epoch(self) -> None:
        """Close the epoch: gather over processes, close it in the recorder, and give the schedule what it reads.

        Raises:
            DataError: a signal is NaN (training diverged); it names the example.
            OptionError: an index is outside 0..n-1, or the recorder was given no batch.
        """
        if self.recorder is not None:
            self.recorder.end_epoch()
        if self._presented and self.schedule is not None:
            rows, columns = self._presented.gather()
            for values in columns.values():
                self.schedule.update(rows, values.cpu())
        self._under_way = False

    def finish(self, labels: Any = None, ids: Sequence[str] | None = None) -> Signals:
        """The recorded epochs, for `dd.score(dynamics.finish(), scorers=[…])`; arguments as of `Recorder.finish`.

        Raises:
            OptionError: nothing was recorded, or the last epoch was not closed.
        """
        if self.recorder is None:
            raise OptionError("nothing was recorded: make this with record=True.")
        return self.recorder.finish(labels, ids)

    def state_dict(self) -> dict[str, Any]:
        """The state of recorder and schedule, also within an epoch: "tensors" by name and JSON "values", so that any
        trainer can save it with the weights, and `torch.load(weights_only=True)` reads it.

        The position of a sampler is left out: the loop knows which batches it has trained on.
        """
        recorder = {} if self.recorder is None else self.recorder.state_dict()
        mine = {key: recorder.pop(key) for key in _UNFINISHED if key in recorder}
        ranks = _from_all({"recorder": mine, "presented": self._presented.state_dict(), "under_way": self._under_way})
        learned = {} if self.schedule is None else dict(self.schedule.state_dict())
        if "pos" in learned:
            learned["pos"] = 0
        state = {"recorder": _on_cpu(recorder), "schedule": learned, "ranks": ranks}
        return dict(zip(("tensors", "values"), split_state(state), strict=True))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state.

        Raises:
            OptionError: it is the state of something else, or was saved within an epoch by another number of processes.
        """
        if not isinstance(state, Mapping) or not {"tensors", "values"} <= set(state):
            raise OptionError("this is not the state of a Dynamics: give what state_dict() returned.")
        state = joined_state(state["tensors"], state["values"])
        if bool(state["recorder"]) != (self.recorder is not None):
            saved = bool(state["recorder"])
            raise OptionError(f"this state was saved with record={saved}: make this with record={saved} too.")
        ranks, (world, rank) = state["ranks"], _place()
        if len(ranks) != world and any(one["under_way"] for one in ranks):
            raise OptionError(
                f"this state was saved within an epoch by {len(ranks)} processes, and now there are {world}: resume "
                f"with {len(ranks)}, or from the end of an epoch."
            )
        mine = ranks[rank] if len(ranks) == world else {"recorder": {"batches": {}}, "presented": {}}
        if self.recorder is not None:
            self.recorder.load_state_dict({**state["recorder"], **mine["recorder"]})
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        self._presented.load_state_dict(mine["presented"])
        self._under_way = bool(mine.get("under_way", False))


def _place() -> tuple[int, int]:
    """The number of processes, and which of them this is."""
    grouped = dist.is_available() and dist.is_initialized()
    return (dist.get_world_size(), dist.get_rank()) if grouped else (1, 0)


def _from_all(value: dict[str, Any]) -> list[dict[str, Any]]:
    """What every process has, in the order of their ranks."""
    world, _ = _place()
    if world == 1:
        return [_on_cpu(value)]
    found: list[Any] = [None] * world
    dist.all_gather_object(found, _on_cpu(value))
    return found


def _on_cpu(value: Any) -> Any:
    """A nested state with its tensors on the CPU."""
    if isinstance(value, Mapping):
        return {key: _on_cpu(one) for key, one in value.items()}
    return value.cpu() if isinstance(value, Tensor) else value
