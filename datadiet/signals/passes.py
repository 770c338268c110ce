"""The passes over the data at checkpoints: from a network in evaluation mode to what it measures on a batch.

`start` makes everything that a pass needs to know beforehand (a plan of the network's layers, the gradient of the
reference data, curvature) and returns a function from a batch to columns (B,) or vectors (B, d). What is not finite
there is sought among the examples and named, as where it is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from datadiet.errors import DataError, OptionError
from datadiet.randomness import derive
from datadiet.signals.gradients import PerExample, layer_norms
from datadiet.signals.gradients.checks import finite_rows
from datadiet.signals.gradients.dots import gradient_dots, validation_gradient
from datadiet.signals.gradients.kfac import KroneckerFactors
from datadiet.signals.gradients.projection import Projector, projected
from datadiet.signals.input_gradients import input_gradient_spread
from datadiet.signals.outputs import output_signals
from datadiet.signals.record import NameOf, measured

__all__ = ["Examples", "Measure", "Setup", "start"]

Measure = Callable[[Tensor, Tensor], dict[str, Tensor]]


@dataclass(frozen=True)
class Examples:
    """A data set that a pass may go through as often as it must.

    Attributes:
        batches: from the first example on: inputs ready for the model, labels, rows.
        name_of: row -> what to call the example.
    """

    batches: Callable[[], Iterable[tuple[Tensor, Tensor, Tensor]]]
    name_of: NameOf

    def pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and labels."""
        return ((inputs, labels) for inputs, labels, _ in self.batches())


@dataclass(frozen=True)
class Setup:
    """What a pass works with.

    Attributes:
        models: networks in evaluation mode: one, or the checkpoints of a seed in order.
        features: returns the input of the last layer in the latest forward pass, or None.
        data: the un-augmented training data.
        reference: the reference data, if there is some.
        options: of the pass.
        fallback: what becomes of layers whose gradient per example is not known: see `PerExample`.
    """

    models: Sequence[nn.Module]
    features: Callable[[], Tensor | None]
    data: Examples
    reference: Examples | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    fallback: Literal["vmap"] | None = None

    def engine(self, loss: str = "cross_entropy") -> PerExample:
        """Gradients per example of the only network."""
        return PerExample(self.models[0], loss, fallback=self.fallback)

    @contextmanager
    def naming(self, examples: Examples) -> Iterator[None]:
        """Where all examples are gone through: what is not finite is told with the name of an example."""
        try:
            yield
        except DataError:
            measured(_norms(self), examples.batches(), examples.name_of)
            raise  # no gradient is to blame


def start(name: str, setup: Setup) -> Measure:
    """The function that measures a batch; `name` is one of `datadiet.table.passes.PASSES` but "train".

    Raises:
        DataError: the gradient of an example that the pass must see beforehand is not finite; the example is named.
    """
    return _PASSES[name](setup)


def _outputs(setup: Setup) -> Measure:
    @torch.no_grad()
    def measure(inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = setup.models[0](inputs)
        return output_signals(logits, labels, setup.features())

    return measure


def _features(setup: Setup) -> Measure:
    @torch.no_grad()
    def measure(inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        setup.models[0](inputs)
        features = setup.features()
        if features is None:
            raise OptionError("the model's output is not that of a linear layer: name the last one (--head NAME).")
        return {"features": features.float()}

    return measure


def _norms(setup: Setup) -> Measure:
    engine = setup.engine()

    def measure(inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        squares = layer_norms(engine, inputs, labels)
        total = torch.stack(list(squares.values())).sum(0)
        finite_rows(total)
        out = {"grad_norm": total.sqrt().float()}
        if setup.options.get("per_layer"):
            named = {layer or "network": square for layer, square in squares.items()}  # it may hold parameters itself
            out |= {f"grad_norm/{layer}": square.sqrt().float() for layer, square in named.items()}
        return out

    return measure


def _spread(setup: Setup) -> Measure:
    return lambda inputs, labels: {"input_grad_spread": input_gradient_spread(setup.models, inputs, labels)}


def _dots(setup: Setup) -> Measure:
    assert setup.reference is not None, "asked for before"
    engine = setup.engine()
    with setup.naming(setup.reference):
        vector = validation_gradient(engine, setup.reference.pairs())
    return lambda inputs, labels: gradient_dots(engine, vector, inputs, labels)


def _projected(name: str, loss: str) -> Callable[[Setup], Measure]:
    def begin(setup: Setup) -> Measure:
        engine, projector = setup.engine(loss), Projector(int(setup.options.get("dim", 512)))
        return lambda inputs, labels: {name: projected(engine, projector, inputs, labels)}

    return begin


def _ekfac(setup: Setup) -> Measure:
    with setup.naming(setup.data):
        factors = KroneckerFactors.collect(setup.engine(), setup.data.pairs(), _generator("factors"))
        factors.collect_lambda(setup.data.pairs(), _generator("eigenvalues"))
    return lambda inputs, labels: {"ekfac": factors.self_influence(inputs, labels).float()}


def _generator(stream: str) -> torch.Generator:
    return torch.Generator().manual_seed(derive(0, "ekfac", stream))


_PASSES: dict[str, Callable[[Setup], Measure]] = {
    "eval": _outputs,
    "grad": _norms,
    "vog": _spread,
    "dots": _dots,
    "ekfac": _ekfac,
    "features": _features,
    "projected": _projected("projected", "cross_entropy"),
    "projected_margin": _projected("projected_margin", "margin"),
}
