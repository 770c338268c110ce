"""Passes: what can be measured by running a network over the data, each described by one record, a `Pass`.

`PASSES` maps the names in `Need.pass_name` to these records; to add a pass, import its record and list it there.
"""

from __future__ import annotations

from datadiet.signals.passes.gradients import DOTS, EKFAC, GRAD, PROJECTED, PROJECTED_MARGIN, VOG
from datadiet.signals.passes.outputs import DIVERGENCE, FEATURES, LOGITS, OUTPUTS, PRESENTATIONS, forward
from datadiet.signals.passes.spec import Examples, Measure, Pass, Reader, Setup

__all__ = ["PASSES", "Examples", "Measure", "Pass", "Reader", "Setup", "forward"]

PASSES = {
    one.name: one
    for one in (
        PRESENTATIONS,
        OUTPUTS,
        DIVERGENCE,
        FEATURES,
        LOGITS,
        GRAD,
        DOTS,
        EKFAC,
        PROJECTED,
        PROJECTED_MARGIN,
        VOG,
    )
}
