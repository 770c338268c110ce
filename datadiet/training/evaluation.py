"""Accuracy and class recall of a model on a data set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from datadiet.data import Feed
from datadiet.models import Task, evaluating

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True)
class Evaluation:
    """What a model gets right on a data set.

    Attributes:
        accuracy: share of correct examples.
        loss: mean loss.
        class_recall: share of correct examples of each class 0..C-1; None for a class without examples.
    """

    accuracy: float
    loss: float
    class_recall: tuple[float | None, ...]


@torch.no_grad()
def evaluate(model: nn.Module, task: Task, feed: Feed, classes: int, batch_size: int = 512) -> Evaluation:
    """Evaluate a model in evaluation mode; its mode is restored afterwards."""
    losses, right, labels = [], [], []
    with evaluating(model):
        for inputs, targets, _ in feed.batches(np.arange(len(feed)), batch_size):
            outputs = model(inputs)
            losses.append(task.losses(outputs, targets))
            right.append(task.correct(outputs, targets))
            labels.append(targets)
    correct = torch.cat(right).cpu().numpy()
    of_class = torch.cat(labels).cpu().numpy()
    counts = np.bincount(of_class, minlength=classes)
    hits = np.bincount(of_class, weights=correct, minlength=classes)
    recall = tuple(float(hit / count) if count else None for hit, count in zip(hits, counts, strict=True))
    return Evaluation(float(correct.mean()), float(torch.cat(losses).double().mean()), recall)
