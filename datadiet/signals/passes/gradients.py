"""Passes that take a gradient per example: norms, products with the reference, curvature, projections, and VoG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from datadiet.errors import DataError, OptionError
from datadiet.randomness import derive
from datadiet.signals.kronecker import sides
from datadiet.signals.passes.spec import Examples, Measure, Pass, Setup

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from datadiet.data.batch import Batch

__all__ = ["DOTS", "EKFAC", "GRAD", "PROJECTED", "PROJECTED_MARGIN", "VOG", "naming"]


def _norms(setup: Setup) -> Measure:
    """The norm of each example's loss gradient over all parameters, and of each layer on request."""
    from datadiet.signals.gradients.norms import norms_of

    engine = setup.engine()

    def measure(batch: Batch) -> dict[str, Tensor]:
        whole, layers = norms_of(engine, batch.inputs, batch.targets)
        named = {layer or "network": norm for layer, norm in layers.items()}  # which may hold some itself
        of_layers = {f"grad_norm/{layer}": norm for layer, norm in named.items()}
        return {"grad_norm": whole, **(of_layers if setup.options.get("per_layer") else {})}

    return measure


@contextmanager
def naming(setup: Setup, examples: Examples) -> Iterator[None]:
    """Make an error about a value that is not finite name its example."""
    from datadiet.signals.parts import measured

    try:
        yield
    except DataError:
        measured(_norms(setup), examples.batches(), examples.name_of)
        raise  # no gradient is to blame


def _mean_reference_gradient(setup: Setup) -> dict[str, Tensor]:
    from datadiet.signals.gradients.dots import reference_gradient

    assert setup.reference is not None, "checked earlier"
    with naming(setup, setup.reference):
        return reference_gradient(setup.engine(), setup.reference.pairs())


def _dots(setup: Setup) -> Measure:
    """Products of each example's gradient with the gradient of the mean reference loss."""
    from datadiet.signals.gradients.dots import gradient_dots

    engine = setup.engine()
    return lambda batch: gradient_dots(engine, setup.prepared, batch.inputs, batch.targets)


def _curvature(setup: Setup) -> dict[str, Tensor]:
    """The factors and eigenvalues of EK-FAC, from two passes over all the data."""
    from datadiet.signals.gradients.kfac import KroneckerFactors

    with naming(setup, setup.data):
        factors = KroneckerFactors.collect(setup.engine(), setup.data.pairs(), _generator(setup, "factors"))
        factors.collect_lambda(setup.data.pairs(), _generator(setup, "eigenvalues"))
    return factors.state_dict()


def _generator(setup: Setup, stream: str) -> torch.Generator:
    import torch

    return torch.Generator().manual_seed(derive(setup.seed, "ekfac", stream))


def _ekfac(setup: Setup) -> Measure:
    """Self-influence under that curvature."""
    from datadiet.signals.gradients.kfac import KroneckerFactors

    factors = KroneckerFactors.from_state(setup.engine(), setup.prepared)
    return lambda batch: {"ekfac": factors.self_influence(batch.inputs, batch.targets).float()}


def _projected(name: str, loss: str) -> Pass:
    """Randomly projected gradients of a loss, a vector per example."""

    def begin(setup: Setup) -> Measure:
        from datadiet.signals.gradients.projection import Projector, projected

        engine, projector = setup.engine(loss), Projector(int(setup.options["dim"]))
        return lambda batch: {name: projected(engine, projector, batch.inputs, batch.targets)}

    def check(options: Mapping[str, Any]) -> object:
        return sides(options["dim"], "dim")

    return Pass(name, begin, vectors=True, gradients=True, options={"dim": 512}, check=check, forwards=3)


def _vog(setup: Setup) -> Measure:
    """How much the gradient with respect to an example varies between checkpoints."""
    from datadiet.signals.input_gradients import input_gradient_spread

    def measure(batch: Batch) -> dict[str, Tensor]:
        if isinstance(batch.inputs, Mapping):
            raise OptionError("vog takes the gradient of one input tensor, but this model takes several: leave it out.")
        return {"input_grad_spread": input_gradient_spread(setup.models, batch.inputs, batch.targets)}

    return measure


GRAD = Pass("grad", _norms, gradients=True, options={"per_layer": False}, forwards=3)
DOTS = Pass("dots", _dots, _mean_reference_gradient, compares=True, gradients=True, forwards=4)
EKFAC = Pass("ekfac", _ekfac, _curvature, gradients=True, forwards=10)
PROJECTED = _projected("projected", "cross_entropy")
PROJECTED_MARGIN = _projected("projected_margin", "margin")
VOG = Pass("vog", _vog, together=True, forwards=2)
