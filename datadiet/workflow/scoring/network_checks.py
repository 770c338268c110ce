"""Checks of a network before it is measured: whether it treats each example independently."""

from __future__ import annotations

import torch

from datadiet.data.batch import Batch
from datadiet.models import evaluating
from datadiet.signals import measured
from datadiet.signals.gradients import PerExample
from datadiet.signals.gradients.checks import refuse_mixing
from datadiet.workflow.scoring.needs import Work
from datadiet.workflow.session import Session

__all__ = ["try_passes"]


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
