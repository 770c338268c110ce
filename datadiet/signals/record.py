"""Recording, in any training loop.

A Recorder holds only the current epoch, on the model's device, so that no step waits for it; it writes the same narrow
tables as an evaluation pass. On an accelerator it computes the signals, and finds errors, for many batches at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch
import torch.distributed as dist
from torch import Tensor

from datadiet.data.batch import sent
from datadiet.data.ids import RowNumbers, distinct_ids
from datadiet.data.labels import class_codes
from datadiet.errors import OptionError
from datadiet.parameters import check_whole
from datadiet.runtime.gather import RowBuffer
from datadiet.signals.parts import signal_table, table_from, tensors_of
from datadiet.signals.pending import Pending
from datadiet.signals.targets import as_classes, as_features, as_rows, check_columns, check_lengths, check_state
from datadiet.table import Signals
from datadiet.table.frames import by_own_index
from datadiet.tasks import output_signals

__all__ = ["Recorder"]

SignalsOf = Callable[[Tensor, Tensor, Tensor | None], dict[str, Tensor]]


class Recorder:
    """Records the output signals of every presentation in a training loop.

    >>> rec = Recorder(n=3)
    >>> for epoch in range(2):
    ...     rec.update([2, 0], torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]))
    ...     rec.update([1], torch.tensor([[0.0, 3.0]]), torch.tensor([1]))
    ...     rec.end_epoch()
    >>> rec.finish().array("correct", "train", [1, 2])[0].astype(int).tolist()
    [[[0, 1, 1], [0, 1, 1]]]

    Under DistributedDataParallel every rank calls `update` on its own examples and all call `end_epoch`, which gathers:
    an example that padding presented twice keeps its first presentation, and `repeats` counts the others.

    Args:
        n: number of examples of the data set.
        seed: which run this is, when several are scored together.
        shift: also record TDDS's shift, which keeps the (n, C) probabilities of the previous presentation in memory.
        sink: called with (epoch, table) at the end of each epoch; None keeps the tables in memory for `finish`.
        signals: (logits, targets, features) -> columns (B,): what to record; a classifier's signals by default.
        soft_targets: whether `update` takes targets that are probabilities, by their largest.
    """

    def __init__(
        self,
        n: int,
        *,
        seed: int = 0,
        shift: bool = False,
        sink: Callable[[int, pa.Table], Any] | None = None,
        signals: SignalsOf | None = None,
        soft_targets: bool = False,
    ) -> None:
        self.n, self.seed = check_whole("n", n), check_whole("seed", seed, 0)
        self.shift, self.epoch, self.repeats = shift, 0, 0
        self.previous: Tensor | None = None
        self._sink, self._signals, self._soft = sink, signals, soft_targets
        self._batches, self._pending = RowBuffer(), Pending()
        self._tables: dict[tuple[str, int, int], list[pa.Table]] = {}

    def __repr__(self) -> str:
        return f"Recorder({self.n} examples, seed {self.seed}, after epoch {self.epoch})"

    def update(
        self,
        index: Tensor | Sequence[int] | np.ndarray,
        logits: Tensor | np.ndarray,
        targets: Tensor | np.ndarray,
        features: Tensor | np.ndarray | None = None,
    ) -> None:
        """Record one batch, after its forward pass.

        Args:
            index: (B,) integers in 0..n-1, which examples these are.
            logits: (B, C).
            targets: (B,) or (B, 1) integers in 0..C-1, or one-hot (B, C).
            features: (B, d), the input of the last linear layer, needed for last-layer GraNd.

        Raises:
            OptionError: other shapes or types; it says what to pass instead.
        """
        rows = as_rows(index)
        z, y, h = (cast(Any, part) for part in (logits, targets, features))
        if self._signals is None:
            z, y = as_classes(z, y, self._soft)
            h = as_features(h, len(z))
        if not len(rows) == len(z) == len(y):
            raise OptionError(f"{len(rows)} indices, {len(z)} logits and {len(y)} targets: give one of each.")
        waits = not self.shift and self._pending.takes(self._signals, z, y, h)
        if not (waits and self._pending.fits(z, y, h)):
            self._measure_pending()
        if waits:
            self._pending.add(rows, z, y, h)
            if self._pending.full:
                self._measure_pending()
        else:
            self._keep(rows, self._measured(z, y, h), z)

    def _measured(self, z: Tensor, y: Tensor, h: Tensor | None) -> dict[str, Tensor]:
        signals = (self._signals or output_signals)(z, y, h)
        check_columns(signals, len(z))
        return signals

    def _measure_pending(self) -> None:
        for rows, signals in self._pending.measured(self._measured):
            self._keep(rows, signals)

    def _keep(self, rows: Tensor, signals: dict[str, Tensor], z: Tensor | None = None) -> None:
        if self._batches and {*signals, *(["shift"] if self.shift else [])} != self._batches.names:
            raise OptionError(
                f"this update gives the signals {', '.join(signals)}, and earlier ones of the epoch "
                f"{', '.join(sorted(self._batches.names))}: give the same, and features always or never."
            )
        if self.shift and z is not None:
            signals = {**signals, "shift": self._shift(rows, z)}
        self._batches.add(rows, signals)

    @torch.no_grad()
    def _shift(self, rows: Tensor, logits: Tensor) -> Tensor:
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            raise OptionError(
                "shift compares an example with its presentation one epoch earlier, which another process may have "
                "seen: record it in a single process."
            )
        if len(rows):
            self._refuse_outside(int(rows.min()), int(rows.max()))
        p = logits.detach().float().softmax(dim=1)
        if self.previous is None:
            self.previous = torch.full((self.n, p.shape[1]), torch.nan)
        if self.previous.shape[1] != p.shape[1]:
            raise OptionError(
                f"logits of {p.shape[1]} classes after logits of {self.previous.shape[1]}: shift compares them, so "
                "give the same classes in every update."
            )
        self.previous = self.previous.to(p.device)
        at = sent(rows, p.device)
        before = self.previous[at]
        self.previous[at] = p
        # 1e-8 inside the logarithm as in the authors' code: probabilities that underflow must not dominate.
        return (p * ((p + 1e-8).log() - (before + 1e-8).log())).abs().sum(dim=1)

    def _refuse_outside(self, low: int, high: int) -> None:
        if low < 0 or high >= self.n:
            raise OptionError(
                f"index {low if low < 0 else high} is outside 0..{self.n - 1}: pass positions in the data set."
            )

    def end_epoch(self) -> None:
        """Close the epoch: gather over ranks, keep first presentations, pass the table on.

        Raises:
            DataError: a signal is NaN (training diverged); it names the example.
            OptionError: no batch was recorded, or an index is outside 0..n-1.
        """
        self._measure_pending()
        if not self._batches:
            raise OptionError(
                "end_epoch() without an update() since the last one: call update(index, logits, targets) in each step."
            )
        self.epoch += 1
        rows, columns = self._batches.gather()
        index, first = np.unique(rows.numpy(), return_index=True)
        if self.previous is not None:  # an example absent from this epoch has nothing to compare with in the next
            absent = torch.ones(self.n, dtype=torch.bool)
            absent[rows] = False
            self.previous[absent.to(self.previous.device)] = torch.nan
        self.repeats += len(rows) - len(index)
        if len(index):
            self._refuse_outside(index[0], index[-1])
        values = {name: column.cpu().numpy()[first] for name, column in columns.items()}
        table = signal_table(index, values, f"training diverged in epoch {self.epoch}, lower the learning rate")
        if self._sink is None:
            self._tables["train", self.seed, self.epoch] = [table]
        else:
            self._sink(self.epoch, table)

    def state_dict(self) -> dict[str, Any]:
        """The state of the recording, also within an epoch: JSON values and tensors.

        It includes closed epochs only without a sink, to which they went.
        """
        previous = {} if self.previous is None else {"previous": self.previous}
        pending = {"pending": self._pending.state_dict()} if self._pending else {}
        closed = {str(epoch): tensors_of(tables[0]) for (_, _, epoch), tables in self._tables.items()}
        counts = {"n": self.n, "seed": self.seed, "epoch": self.epoch, "repeats": self.repeats}
        state = {**counts, "shift": self.shift, "batches": self._batches.state_dict(), **previous, **pending}
        return {**state, "closed": closed} if closed else state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state, with the shift if it was recorded there.

        Raises:
            OptionError: this is not the state of a Recorder of as many examples and this seed, or closed epochs are
                lost: it was saved with a sink, and this Recorder has none.
        """
        check_state(state, self.n, self.seed)
        kept = {key: tables for key, tables in self._tables.items() if key[2] <= state["epoch"]}
        if self._sink is None:
            kept |= {("train", self.seed, int(e)): [table_from(t)] for e, t in state.get("closed", {}).items()}
        if self._sink is None and len(kept) < state["epoch"]:
            raise OptionError(
                f"this state was saved after epoch {state['epoch']}, and epochs that are over are not in it, since "
                "they went to a sink: record with Recorder(n, sink=…) after resuming too."
            )
        self._tables = kept
        self.epoch, self.repeats, self.shift = state["epoch"], state["repeats"], state["shift"]
        self.previous = state.get("previous")
        self._batches.load_state_dict(state["batches"])
        self._pending.load_state_dict(state.get("pending", {}))

    def finish(self, labels: Any = None, ids: Sequence[str] | None = None) -> Signals:
        """The recorded epochs, for `dd.score(rec.finish(), scorers=[…])`.

        Args:
            labels: (n,) class numbers or names, needed to select by class.
            ids: n distinct strings that name the examples, if they have names. Of both, a pandas series whose index is
                a permutation of 0..n-1 is read in the order of that index.

        Raises:
            OptionError: no epoch was closed, or the last one was not.
            DataError: labels that are not classes, or ids that occur twice.
        """
        if self._batches or self._pending or not self.epoch:
            raise OptionError("call end_epoch() at the end of every epoch, including the last, before finish().")
        labels, ids = by_own_index(labels), by_own_index(ids)
        check_lengths(self.n, labels=labels, ids=ids)
        names = None if ids is None else distinct_ids(ids, "ids")
        classes = None if labels is None else class_codes(labels, RowNumbers(self.n) if names is None else names)
        named = {} if classes is None or not classes.names else {"class_names": list(classes.names)}
        return Signals(
            self.n,
            dict(self._tables),
            names,
            None if classes is None else classes.values,
            meta={"data": {"n": self.n}, "facts": {"epochs": self.epoch}, **named},
        )
