"""What the schedules share that choose each epoch by what the training said of earlier ones.

The examples and weights of an epoch are a function of the seed, the epoch and what was learned before it. What is given
to `update` is kept apart until the next epoch begins (`set_epoch`, `begin`, or another `iter`), so an epoch under way
never changes, and a state that was saved within it is enough to go on exactly.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from datadiet.errors import OptionError
from datadiet.parameters import check_whole
from datadiet.randomness import mix64
from datadiet.sampling.epoch_sampler import EpochSampler, Order
from datadiet.sampling.permutation import Permutation

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Chosen", "ScoredSampler", "random_subset", "unknown_values"]


@dataclass(frozen=True)
class Chosen:
    """The choice for one epoch.

    Attributes:
        examples: (k,) int64, in any order; one that is drawn twice stands there twice. None = all.
        weights: (n,) float32 loss weights, 0 for examples that are not presented; None = all 1.
    """

    examples: np.ndarray | None = None
    weights: np.ndarray | None = None


class ScoredSampler(EpochSampler):
    """A sampler that learns from the presentations of one epoch which examples to present in the next.

    A method says how it chooses (`choose`), and how it learns (`learn`) if it does not simply keep the latest value of
    each example. Everything that it learns is in `learned`, arrays with one entry for each example.

    Args:
        n: examples of the data set, at least 1.
        seed: a whole number of at least 0.
        **learned: name -> (n,) what it knows before the first epoch.
    """

    reads: Literal["loss", "error_norm", "correct"] | None = "loss"

    def __init__(self, n: int, seed: int, **learned: np.ndarray) -> None:
        from datadiet.sampling.pending_values import PendingValues

        super().__init__(seed)
        self.n = check_whole("n", n)
        self.learned = learned
        self._pending = PendingValues(self.n)
        self._choice: Chosen | None = None  # for the epoch under way
        self._taught = False

    @abstractmethod
    def choose(self, epoch: int) -> Chosen:
        """The examples of an epoch and their weights, from what was learned."""

    def learn(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Learn from an epoch: distinct examples, (m,) int64 ascending, and the value of each, (m,) float32."""
        self.learned["latest"][rows] = values

    def enter(self, epoch: int) -> None:
        """Called when an epoch begins, before it is chosen."""

    def update(self, index: Tensor, values: Tensor) -> None:
        """Learn from presentations, after each batch or after the epoch; it matters from the next epoch on.

        Under bare DDP each process gives its own, and all of them call `gather` after the epoch.

        Args:
            index: (m,) integers, the examples; of one that occurs more often in an epoch, the first counts.
            values: (m,), what `reads` names, before weights; on any device, which is not waited for.

        Raises:
            OptionError: not one number for each index, or an index that is not a position in the data set.
        """
        self._pending.add(index, values)

    def gather(self) -> None:
        """Exchange between all processes what each was given; in a process group, all call it after an epoch."""
        self._pending.gather()

    def weights(self, index: Tensor) -> Tensor | None:
        """The loss weights of examples of the epoch under way, (m,) float32, on the device of the index; None = all 1.

        Examples that the epoch does not present have weight 0 if it has weights.
        """
        import torch

        weights = self._chosen(self.epoch).weights
        if weights is None:
            return None
        rows = torch.as_tensor(index)
        return torch.from_numpy(weights[rows.cpu().numpy()]).to(rows.device)

    def order(self, epoch: int) -> Order:
        """Positions in the epoch, (m,) int64 in [0, k), to examples, (m,) int64."""
        examples = self._chosen(epoch).examples
        shuffle = Permutation(self._epoch_length(epoch), self.seed, "order", epoch)
        return shuffle if examples is None else lambda positions: examples[shuffle(positions)]

    def __len__(self) -> int:
        return self._epoch_length(self.epoch)

    def _epoch_length(self, epoch: int) -> int:
        examples = self._chosen(epoch).examples
        return self.n if examples is None else len(examples)

    def _chosen(self, epoch: int) -> Chosen:
        if epoch != self.epoch:
            return self.choose(epoch)
        if self._choice is None:
            self._choice = self.choose(epoch)
        return self._choice

    def set_epoch(self, epoch: int) -> None:
        """Begin this epoch, unless it is under way; it is chosen by what the sampler was given until now."""
        if check_whole("epoch", epoch, 0) != self.epoch:
            rows, values = self._pending.take()
            if len(rows):
                self.learn(rows, values)
                self._taught = True
            elif self._cursor.moved and not self._taught:
                warnings.warn(
                    f"the {type(self).__name__} was given nothing in epoch {self.epoch}, so it cannot choose: call "
                    "update(index, values) after each batch.",
                    UserWarning,
                    stacklevel=2,
                )
            self.enter(epoch)
            self._choice = None
        super().set_epoch(epoch)

    def _learned_state(self) -> dict[str, Any]:
        learned = {name: values.copy() for name, values in self.learned.items()}
        return {"learned": learned, "pending": self._pending.state_dict()}

    def _load_learned(self, state: Mapping[str, Any]) -> None:
        given = {name: np.asarray(values) for name, values in state.get("learned", {}).items()}
        if {name: values.shape for name, values in given.items()} != dict.fromkeys(self.learned, (self.n,)):
            raise OptionError(
                f"The state is not that of a sampler like this {type(self).__name__} over {self.n} examples: load it "
                "into one built like the one that was saved."
            )
        self.learned = {name: values.astype(self.learned[name].dtype) for name, values in given.items()}
        self._pending.load_state_dict(state.get("pending", {}))
        self._choice = None


def unknown_values(n: int) -> np.ndarray:
    """(n,) float32 NaN: the value of examples of which nothing is known."""
    return np.full(n, np.nan, dtype=np.float32)


def random_subset(examples: np.ndarray, k: int, seed: int, stream: str) -> np.ndarray:
    """(m,) bool, which of some distinct examples, (m,) int64, are the k with the smallest draws."""
    if not k:
        return np.zeros(len(examples), dtype=bool)
    draws = mix64(seed, stream, examples)
    below: np.ndarray = draws <= np.partition(draws, k - 1)[k - 1]
    return below
