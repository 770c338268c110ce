"""Passes: what can be measured by running a network over the data. Each has its own file, which holds its `PASS`.

`PASSES` maps the names in `Need.pass_name` to these records; an import line below adds a pass to it.
"""

from __future__ import annotations

from datadiet.signals.passes.dots import PASS as DOTS
from datadiet.signals.passes.ekfac import PASS as EKFAC
from datadiet.signals.passes.features import PASS as FEATURES
from datadiet.signals.passes.grad import PASS as GRAD
from datadiet.signals.passes.outputs import PASS as OUTPUTS
from datadiet.signals.passes.presentations import PASS as PRESENTATIONS
from datadiet.signals.passes.projected import PASS as PROJECTED
from datadiet.signals.passes.projected import PASS_MARGIN as PROJECTED_MARGIN
from datadiet.signals.passes.spec import Examples, Measure, Pass, Setup
from datadiet.signals.passes.vog import PASS as VOG

__all__ = ["PASSES", "Examples", "Measure", "Pass", "Setup"]

PASSES = {value.name: value for value in list(globals().values()) if isinstance(value, Pass)}
