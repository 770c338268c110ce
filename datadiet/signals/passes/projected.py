"""Randomly projected gradients of the loss, or of the margin, a vector per example."""

from __future__ import annotations

from collections.abc import Callable

from datadiet.signals.kronecker import sides
from datadiet.signals.passes.spec import Measure, Pass, Setup

__all__ = ["PASS", "PASS_MARGIN"]


def _measure(name: str, loss: str) -> Callable[[Setup], Measure]:
    def begin(setup: Setup) -> Measure:
        from datadiet.signals.gradients.projection import Projector, projected

        engine, projector = setup.engine(loss), Projector(int(setup.options["dim"]))
        return lambda batch: {name: projected(engine, projector, batch.inputs, batch.targets)}

    return begin


def _pass(name: str, loss: str) -> Pass:
    return Pass(
        name,
        _measure(name, loss),
        vectors=True,
        gradients=True,
        options={"dim": 512},
        check=lambda options: sides(options["dim"], "dim"),
        forwards=3,
    )


PASS = _pass("projected", "cross_entropy")
PASS_MARGIN = _pass("projected_margin", "margin")
