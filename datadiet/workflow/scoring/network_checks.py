"""Checks of a network before it is measured: its last layer, and whether it treats each example independently."""

from __future__ import annotations

from contextlib import closing

import torch
from torch import nn

from datadiet.data.batch import Batch
from datadiet.models import HeadTap, evaluating
from datadiet.signals import measured
from datadiet.signals.gradients import PerExample
from datadiet.signals.gradients.checks import refuse_mixing
from datadiet.workflow.scoring.needs import Work
from datadiet.workflow.session import Session

__all__ = ["find_head", "tap_head", "try_passes"]


def tap_head(session: Session, model: nn.Module, head: str | None) -> HeadTap:
    """A tap on the last layer of a model, found on two examples of the data."""
    return HeadTap(model, session.feed.first(2), head)


def find_head(session: Session, head: str | None) -> nn.Linear | None:
    """The last layer of one of the networks; None if the model's output does not come from a linear layer."""
    with closing(tap_head(session, session.any_network(), head)) as tap:
        return tap.head


def try_passes(session: Session, work: Work) -> None:
    """Refuse a network that some pass cannot measure example by example, before anything is written.

    Raises:
        OptionError: a layer that mixes examples or draws at random, or, where gradients are needed, one whose
            per-example gradients are not known, by name.
        DataError: an example whose gradient is not finite, by its id.
    """
    if all(step.kind.name == "eval" for step in work.passes):
        return
    model = session.any_network()
    if session.model.trained is None:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():  # a head that starts at 0 would hide what is below it
            for p in model.parameters():
                p.add_(0.02 * torch.randn(p.shape, generator=generator).to(p))
    batch = session.feed.first(3)
    with evaluating(model):
        refuse_mixing(model, batch)
        if any(step.kind.gradients for step in work.passes):
            engine = PerExample(model, fallback=session.fallback)

            def losses(batch: Batch) -> dict[str, torch.Tensor]:
                return {"losses": engine(batch.inputs, batch.targets, lambda name, terms: None)}

            measured(losses, [batch], session.name_of(session.feed))
