"""How good is a score, or a subset? Attribution against retraining, wrong labels found, how far selections agree, and
certificates of non-inferiority.

Everything takes and returns plain arrays. Nothing here trains except `digits_ground_truth`, which retrains small models
on the bundled digits as a ground truth to compare with.
"""

from __future__ import annotations

from datadiet.evaluate.attribution import NoiseCeiling, OverQueries, lds, leave_one_out_correlation, noise_ceiling
from datadiet.evaluate.ground_truth import GroundTruth, digits_ground_truth
from datadiet.evaluate.mislabelled import flip_labels, mislabel_auc, recall_at, recall_curve
from datadiet.evaluate.noninferiority import (
    LossInterval,
    LossSpread,
    Verdict,
    loss_interval,
    loss_power,
    verdicts,
    worst_class_interval,
)
from datadiet.evaluate.overlap import Overlap, overlap_between_scores, selection_overlap

__all__ = [
    "GroundTruth",
    "LossInterval",
    "LossSpread",
    "NoiseCeiling",
    "Overlap",
    "OverQueries",
    "Verdict",
    "digits_ground_truth",
    "flip_labels",
    "lds",
    "leave_one_out_correlation",
    "loss_interval",
    "loss_power",
    "mislabel_auc",
    "noise_ceiling",
    "overlap_between_scores",
    "recall_at",
    "recall_curve",
    "selection_overlap",
    "verdicts",
    "worst_class_interval",
]
