"""datadiet: score every training example, keep the part worth training on, and train on it.

Names are loaded when they are first used; importing the package loads neither torch nor pandas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datadiet.lazy import lazy
from datadiet.version import __version__ as __version__

if TYPE_CHECKING:
    from datadiet import data as data
    from datadiet import evaluate as evaluate
    from datadiet import geometry as geometry
    from datadiet import integrations as integrations
    from datadiet import models as models
    from datadiet import sampling as sampling
    from datadiet import scorers as scorers
    from datadiet import selectors as selectors
    from datadiet import signals as signals
    from datadiet import sparsity as sparsity
    from datadiet import table as table
    from datadiet import tasks as tasks
    from datadiet import testing as testing
    from datadiet import training as training
    from datadiet.data import Indexed, Source, open_data
    from datadiet.errors import DataError, FingerprintMismatch, MissingExtra, MissingSignal, OptionError
    from datadiet.geometry import kmeans
    from datadiet.runtime.ray import RayExecutor
    from datadiet.runtime.vectors import open_vectors
    from datadiet.sampling import InfoBatchSampler, RS2Sampler, SubsetSampler, shard
    from datadiet.signals import Recorder, grad_norms
    from datadiet.sparsity import Masks, sparsify
    from datadiet.table import Scores, Selection, Signals
    from datadiet.training import Recipe
    from datadiet.workflow.comparing.compare import compare
    from datadiet.workflow.comparing.compared import Compared
    from datadiet.workflow.fitting.embed import embed
    from datadiet.workflow.fitting.export import export
    from datadiet.workflow.fitting.grid import train_grid
    from datadiet.workflow.fitting.recover import recover
    from datadiet.workflow.fitting.recovery import Recovery
    from datadiet.workflow.fitting.train import TrainResult, train
    from datadiet.workflow.planning.costs import plan
    from datadiet.workflow.reporting.panel import Report
    from datadiet.workflow.reporting.report import make_report
    from datadiet.workflow.scoring.rescore import rescore
    from datadiet.workflow.scoring.score import score
    from datadiet.workflow.selecting.select import select
    from datadiet.workflow.selecting.suspected import Suspects
    from datadiet.workflow.selecting.suspects import suspects

_HOMES = {
    "data": ("Indexed", "Source", "open_data"),
    "errors": ("DataError", "FingerprintMismatch", "MissingExtra", "MissingSignal", "OptionError"),
    "geometry": ("kmeans",),
    "sampling": ("InfoBatchSampler", "RS2Sampler", "SubsetSampler", "shard"),
    "signals": ("Recorder", "grad_norms"),
    "table": ("Scores", "Selection", "Signals"),
    "runtime.ray": ("RayExecutor",),
    "runtime.vectors": ("open_vectors",),
    "sparsity": ("Masks", "sparsify"),
    "training": ("Recipe",),
    "workflow.fitting.embed": ("embed",),
    "workflow.fitting.export": ("export",),
    "workflow.comparing.compare": ("compare",),
    "workflow.comparing.compared": ("Compared",),
    "workflow.fitting.recover": ("recover",),
    "workflow.fitting.recovery": ("Recovery",),
    "workflow.fitting.grid": ("train_grid",),
    "workflow.fitting.train": ("TrainResult", "train"),
    "workflow.planning.costs": ("plan",),
    "workflow.reporting.panel": ("Report",),
    "workflow.reporting.report": ("make_report",),
    "workflow.scoring.rescore": ("rescore",),
    "workflow.scoring.score": ("score",),
    "workflow.selecting.select": ("select",),
    "workflow.selecting.suspected": ("Suspects",),
    "workflow.selecting.suspects": ("suspects",),
}

_PACKAGES = (
    "data",
    "evaluate",
    "geometry",
    "integrations",
    "models",
    "sampling",
    "scorers",
    "selectors",
    "signals",
    "sparsity",
    "table",
    "tasks",
    "testing",
    "training",
)

__getattr__ = lazy(__name__, _HOMES, _PACKAGES)

__all__ = [
    "Compared",
    "DataError",
    "FingerprintMismatch",
    "Indexed",
    "InfoBatchSampler",
    "Masks",
    "MissingExtra",
    "MissingSignal",
    "OptionError",
    "RS2Sampler",
    "RayExecutor",
    "Recipe",
    "Recorder",
    "Recovery",
    "Report",
    "Scores",
    "Selection",
    "Signals",
    "Source",
    "SubsetSampler",
    "Suspects",
    "TrainResult",
    "compare",
    "embed",
    "export",
    "grad_norms",
    "kmeans",
    "make_report",
    "open_data",
    "open_vectors",
    "plan",
    "recover",
    "rescore",
    "score",
    "select",
    "shard",
    "sparsify",
    "suspects",
    "train",
    "train_grid",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PACKAGES})
