"""The Trainer of transformers: train it on a selection or a schedule, and record while it trains.

The Trainer has no place for another sampler or loss: its callbacks cannot exchange the loader (transformers#25925). So
`attach` gives the trainer a class of its own, made from its class, with five of its methods overridden. Unlike methods
set on the instance, these can call those of the user's own subclass, and unlike a subclass of ours to inherit from, it
works on a trainer that exists. What happens between the batches is a callback, which is public.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datadiet.data.objects import has_positions
from datadiet.errors import OptionError, require
from datadiet.integrations.attached import Attached
from datadiet.integrations.epoch_order import EpochOrder, schedule_of
from datadiet.integrations.numbered import INDEX, Collate, Numbered
from datadiet.integrations.teaching import Teaching
from datadiet.sampling.epoch_sampler import Schedule
from datadiet.table import Selection

library = require("transformers", "transformers")
trainer_utils = require("transformers.trainer_utils", "transformers")

__all__ = ["attach"]


def attach(
    trainer: Any,
    chosen: Selection | Schedule | None = None,
    *,
    record: bool = False,
    teacher: Any = None,
    clean: Any = None,
    seed: int | None = None,
) -> Attached:
    """Let a Hugging Face Trainer train on a selection or a schedule, and record while it trains.

    From here on, `trainer.train()` presents what is chosen, in an order that is a function of the seed and the epoch,
    with any number of processes and loader workers, also after `train(resume_from_checkpoint=…)`. Where the selection
    or the schedule has weights, they multiply the cross-entropy of each example. Evaluation does not change.

    Args:
        trainer: a `transformers.Trainer` or a subclass, with a `train_dataset` that is read by position.
        chosen: a `Selection` from this data set, or a sampler or schedule of `datadiet.sampling`; None = all.
        record: whether to record the signals of each presentation, for scores. Needs a classifier.
        teacher: what the model learns from besides the labels: a network that takes what it takes, logits (n, C), or a
            `Teaching`, which also sets the weight and the temperature. Needs a classifier.
        clean: the data that was selected from, if that of the trainer is a transformed copy of it (a tokenised one,
            for example): the same examples in the same order.
        seed: of the order of a selection, and of the recording; None = that of the trainer.

    Returns:
        What was attached: `.recorder`, `.finish(labels)`, `.schedule`.

    Raises:
        OptionError: not a Trainer, one that something is attached to or that orders its examples, or data without
            positions.
        FingerprintMismatch: the selection belongs to another data set.
        MissingExtra: transformers is not installed.
    """
    if not isinstance(trainer, library.Trainer):
        raise OptionError(f"attach takes a transformers.Trainer, and this is of type {type(trainer).__name__}.")
    if isinstance(trainer, _Overrides):
        raise OptionError("something is attached to this trainer already: make a new one.")
    dataset = trainer.train_dataset
    if not has_positions(dataset):
        raise OptionError(
            f"the train_dataset is of type {type(dataset).__name__}, which is not read by position: give the trainer "
            "one with len() and [i]."
        )
    ordered = getattr(trainer.args, "train_sampling_strategy", "random")
    if ordered != "random" or getattr(trainer.args, "group_by_length", False):
        raise OptionError(
            f"the trainer orders its examples itself (train_sampling_strategy={ordered!r}), and so does attach: leave "
            "it at random."
        )
    seed = trainer.args.seed if seed is None else seed
    schedule = schedule_of(chosen, dataset, clean, seed)
    teaching = teacher if teacher is None or isinstance(teacher, Teaching) else Teaching(teacher)
    trainer.datadiet = Attached(trainer, schedule, record, seed, teaching)
    trainer.__class__ = type(
        type(trainer).__name__, (_Overrides, type(trainer)), {"__module__": type(trainer).__module__}
    )
    trainer.add_callback(_BetweenBatches(trainer.datadiet))
    return trainer.datadiet


class _Overrides:
    """Comes before the class of the trainer, and calls its methods."""

    datadiet: Attached
    args: Any
    train_dataset: Any
    data_collator: Any

    def train(self, resume_from_checkpoint: Any = None, *rest: Any, **options: Any) -> Any:
        """Note where training continues from."""
        last = trainer_utils.get_last_checkpoint(self.args.output_dir) if resume_from_checkpoint is True else None
        found = last if resume_from_checkpoint is True else resume_from_checkpoint
        self.datadiet.resume = Path(found) if found else None
        return super().train(resume_from_checkpoint, *rest, **options)  # type: ignore[misc]

    def get_train_dataloader(self) -> Any:
        """The loader that the class makes, of examples with their positions."""
        dataset, collate = self.train_dataset, self.data_collator
        try:
            self.train_dataset, self.data_collator = self._numbered(dataset, collate)
            loader = super().get_train_dataloader()  # type: ignore[misc]
        finally:
            self.train_dataset, self.data_collator = dataset, collate
        if not (isinstance(loader.dataset, Numbered) and _draws(loader, self.datadiet.order)):
            raise OptionError(
                "this trainer makes its loader in a way of its own, which attach cannot use: let get_train_dataloader "
                "read train_dataset and data_collator, and draw with _get_train_sampler()."
            )
        return loader

    def _numbered(self, dataset: Any, collate: Any) -> tuple[Numbered, Collate]:
        """Data and collator with positions. Columns that the model does not take are removed first, as they would be:
        the Trainer does not see the columns of the pairs."""
        if hasattr(dataset, "remove_columns"):
            dataset = self._remove_unused_columns(dataset, description="training")  # type: ignore[attr-defined]
        else:
            collate = self._get_collator_with_removed_columns(collate, description="training")  # type: ignore[attr-defined]
        return Numbered(dataset), Collate(collate)

    def _get_train_sampler(self, *dataset: Any) -> EpochOrder:
        return self.datadiet.order

    def num_examples(self, dataloader: Any) -> int:
        """Of the training data: how many the first epoch presents."""
        numbered = isinstance(getattr(dataloader, "dataset", None), Numbered)
        return len(self.datadiet.order) if numbered else super().num_examples(dataloader)  # type: ignore[misc]

    def get_batch_samples(self, *given: Any, **options: Any) -> Any:
        """Note how many examples the step has."""
        batches, items = super().get_batch_samples(*given, **options)  # type: ignore[misc]
        self.datadiet.examples = sum(len(batch[INDEX]) for batch in batches)
        return batches, items

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of the class, or with weights; batches of evaluation have no positions."""
        index = inputs.pop(INDEX, None)
        options = {"num_items_in_batch": num_items_in_batch}
        if index is None:
            return super().compute_loss(model, inputs, return_outputs, **options)  # type: ignore[misc]
        names = getattr(self, "label_names", None) or ["labels"]
        targets = inputs.get(names[0])  # before label smoothing takes it out
        loss, outputs = super().compute_loss(model, inputs, True, **options)  # type: ignore[misc]
        seen = {name: value for name, value in inputs.items() if name not in names}
        loss = self.datadiet.loss(index, seen, outputs, targets, loss, num_items_in_batch)
        return (loss, outputs) if return_outputs else loss


class _BetweenBatches(library.TrainerCallback):  # type: ignore[misc, name-defined]
    """Begins and closes epochs, and saves with the checkpoints."""

    def __init__(self, attached: Attached) -> None:
        self.attached = attached

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Start afresh, or load."""
        self.attached.begin()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Close an epoch whose last step was the last thing saved, and begin this one."""
        epoch = int(state.epoch)
        if self.attached.order.epoch < epoch:
            self._close()
        self.attached.order.begin(epoch)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Close the epoch."""
        self._close()
        if not (control.should_training_stop or control.should_epoch_stop):
            self.attached.skip_to_epoch_end(state, rest["train_dataloader"], rest["lr_scheduler"])

    def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Close an epoch that was resumed at its end."""
        self._close()

    def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Save beside the checkpoint, from which nothing can be resumed if it is the model only."""
        if not args.save_only_model:
            folder = Path(args.output_dir) / f"{trainer_utils.PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            self.attached.save(folder, state.is_world_process_zero)

    def _close(self) -> None:
        if self.attached.dynamics.under_way:
            self.attached.dynamics.end_epoch()


def _draws(loader: Any, order: EpochOrder) -> bool:
    """Whether a loader draws from the order, also through the batch samplers of Accelerate."""
    place = loader.batch_sampler
    while place is not None and place is not order:
        place = getattr(place, "batch_sampler", None) or getattr(place, "sampler", None)
    return place is order
