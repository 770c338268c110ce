"""Single-label classification: the loss, and the narrow columns computed from the logits, one number per example.

All signals are computed so that easy examples keep their order: a value close to 0 is a sum of small terms, never the
difference of two numbers close to 1. (As 1 - p_y in float32, the ranking of the easiest examples would be lost.)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import softplus

from datadiet.data import Feed, Source
from datadiet.data.batch import Batch
from datadiet.data.labels import refuse_unlabelled
from datadiet.errors import DataError, OptionError
from datadiet.models.running import call_in_run, evaluating
from datadiet.runtime.process import widest
from datadiet.tasks.task import Evaluation

__all__ = ["OUTPUT_SIGNALS", "Classification", "jensen_shannon", "output_signals"]

OUTPUT_SIGNALS = ("loss", "error_norm", "p_true", "doubt", "p_gap", "margin", "p_margin", "entropy", "correct")


@dataclass(frozen=True)
class Classification:
    """Single-label classification by softmax cross-entropy.

    Attributes:
        classes: their number.
        label_smoothing: in [0, 1); smoothing corrupts confidence-based scores, so the default is 0.
        class_names: if they are known.
    """

    classes: int
    label_smoothing: float = 0.0
    class_names: tuple[str, ...] = ()

    @classmethod
    def of(cls, source: Source, label_smoothing: float = 0.0) -> Classification:
        """The task for the labels of a data set.

        Raises:
            DataError: it has no labels, an example without one, or a single class.
        """
        if source.labels is None:
            raise source.no_labels()
        refuse_unlabelled(source.labels, source.ids, source.spec)
        if len(source.class_names) < 2:
            raise DataError(
                f"{source.spec} has the single class {source.class_names[0]!r}: there is nothing to classify."
            )
        return cls(len(source.class_names), label_smoothing, source.class_names)

    @property
    def outputs(self) -> int:
        """How many numbers a network returns for an example."""
        return self.classes

    def prepare(self, source: Source) -> Source:
        """Other data with its labels numbered the same way."""
        return source.with_classes(self.class_names)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(B, C) logits and (B,) labels -> (B,) cross-entropy in nats."""
        return functional.cross_entropy(
            outputs.float(), targets, reduction="none", label_smoothing=self.label_smoothing
        )

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(B, C) logits and (B,) labels -> (B,) bool."""
        return torch.eq(outputs.argmax(dim=1), targets)

    def signals(self, outputs: Tensor, targets: Tensor, features: Tensor | None) -> dict[str, Tensor]:
        """See `output_signals`."""
        return output_signals(outputs, targets, features)

    def divergence(self, outputs: Tensor, teacher: Tensor, targets: Tensor, temperature: float) -> Tensor:
        """(B,) KL(teacher || outputs) of the softmax at a temperature, in nats; the labels are not read."""
        log_p, log_q = ((z.float() / temperature).log_softmax(dim=1) for z in (teacher, outputs))
        return (log_p.exp() * (log_p - log_q)).sum(dim=1)

    def comparison(self, outputs: Tensor, others: Tensor) -> dict[str, Tensor]:
        """(B, C) logits of two networks -> `divergence`, see `jensen_shannon`, and `predicted`, the class by the first.

        Both (B,) float32; class numbers are whole in it up to 2^24.
        """
        return {"divergence": jensen_shannon(outputs, others).float(), "predicted": outputs.argmax(dim=1).float()}

    @torch.no_grad()
    def evaluate(self, model: nn.Module, feed: Feed) -> Evaluation:
        """Accuracy, loss and class recall in evaluation mode; the mode of the network is restored afterwards."""
        losses, right, said = [], [], []
        with evaluating(model):
            for batch in feed.batches(np.arange(len(feed)), feed.eval_batch):
                outputs = call_in_run(model, batch)
                losses.append(self.losses(outputs, batch.targets))
                right.append(self.correct(outputs, batch.targets))
                said.append(outputs.argmax(dim=1))
        correct, every_loss = torch.cat(right).cpu().numpy(), torch.cat(losses)
        labels = np.asarray(feed.source.labels)
        counts = np.bincount(labels, minlength=self.classes)
        hits = np.bincount(labels, weights=correct, minlength=self.classes)
        recall = tuple(float(hit / count) if count else None for hit, count in zip(hits, counts, strict=True))
        mean, predicted = float(every_loss.cpu().double().mean()), torch.cat(said).cpu().numpy()
        return Evaluation(float(correct.mean()), mean, recall, correct, every_loss.cpu().numpy(), predicted)

    def check(self, model: str, outputs: Tensor, batch: Batch) -> None:
        """Refuse outputs other than one logit per class.

        Raises:
            OptionError: they have the wrong shape.
        """
        needed = (len(batch), self.classes)
        if tuple(outputs.shape) != needed:
            raise OptionError(
                f"{model} gives outputs of shape {tuple(outputs.shape)} for {len(batch)} inputs, but {self.classes} "
                f"classes need {needed}: change its number of outputs."
            )


@torch.no_grad()
def output_signals(logits: Tensor, targets: Tensor, features: Tensor | None = None) -> dict[str, Tensor]:
    """All output signals of a batch, on its device, without waiting for it.

    With z the logits, p = softmax(z) and y the label:
    loss = -log p_y; error_norm = ||p - onehot(y)||_2; p_true = p_y; doubt = 1 - max_c p_c; p_gap = largest minus second
    largest p; margin = z_y - max_{c != y} z_c; p_margin = p_y - max_{c != y} p_c; entropy = -sum p log p (nats);
    correct = z_y is the largest (a tie with a class of lower number counts as an error, as with argmax);
    feature_norm = ||h||_2 of the last layer's input, when `features` is given.

    Args:
        logits: (B, C) with C >= 2; computed in float32.
        targets: (B,) int64 in 0..C-1.
        features: (B, d), the input of the last linear layer.

    Returns:
        name -> (B,) float32, `correct` bool.
    """
    z = logits.detach().float()
    y = targets.to(z.device, torch.int64)[:, None]
    log_p = z.log_softmax(dim=1)
    p = log_p.exp()
    others = p.scatter(1, y, 0.0)
    rest, tiny = others.sum(dim=1), torch.finfo(torch.float32).tiny
    z_true = z.gather(1, y).squeeze(1)
    z_other = z.scatter(1, y, -torch.inf).amax(dim=1)
    top = z.topk(2, dim=1)
    p_top = p.gather(1, top.indices)
    best = top.indices[:, :1]
    log_best = -softplus(z.scatter(1, best, -torch.inf).logsumexp(dim=1, keepdim=True) - top.values[:, :1])
    out = {
        # log(1 + sum_{c != y} exp(z_c - z_y)): softplus keeps the small losses that -log p_y rounds to 0.
        "loss": softplus(z.scatter(1, y, -torch.inf).logsumexp(dim=1) - z_true),
        # ||(p_c)_{c != y}, sum of them||, in units of that sum, since squares of small numbers vanish.
        "error_norm": rest * (1 + (others / rest.clamp_min(tiny)[:, None]).square().sum(dim=1)).sqrt(),
        "p_true": p.gather(1, y).squeeze(1),
        "doubt": p.scatter(1, best, 0.0).sum(dim=1),
        "p_gap": p_top[:, 0] - p_top[:, 1],
        "margin": z_true - z_other,
        "p_margin": p.gather(1, y).squeeze(1) - others.amax(dim=1),
        "entropy": -(p * log_p.scatter(1, best, log_best).clamp_min(-1e4)).sum(dim=1),
        "correct": z.argmax(dim=1) == y.squeeze(1),
    }
    if features is not None:
        out["feature_norm"] = features.detach().float().flatten(1).norm(dim=1)
    return out


@torch.no_grad()
def jensen_shannon(logits: Tensor, others: Tensor) -> Tensor:
    """The Jensen-Shannon divergence between the class probabilities of two networks, on their device.

    With p and q the two softmax outputs and m = (p + q) / 2: (KL(p || m) + KL(q || m)) / 2, in nats. The term of a
    class is m times a function of d = |log p - log q| alone, h tanh h - log cosh h with h = d / 2, which is never
    negative and does not cancel where the networks nearly agree.

    Args:
        logits, others: (B, C); computed in float64, or in float32 where a device has nothing wider.

    Returns:
        (B,) float64 or float32 in [0, ln 2], exactly 0 for equal logits. A class may be ruled out by a logit of -inf;
        other logits that are not finite give NaN.

    >>> jensen_shannon(torch.tensor([[0.0, 0.0], [0.0, 800.0]]), torch.tensor([[0.0, 0.0], [800.0, 0.0]])).tolist()
    [0.0, 0.6931471805599453]
    """
    wide = widest(logits.device)
    log_p, log_q = (z.detach().to(logits.device, wide).log_softmax(dim=1) for z in (logits, others))
    d = (log_p - log_q).abs().clamp_max(2000)  # exp(-2000) is 0, and 0 times infinity would not be
    t, u = (d / 2).tanh(), (-d).exp()
    near = d / 2 * t + torch.log1p(-t.square()) / 2
    far = log(2) - torch.log1p(u) - d * u / (1 + u)
    m = (log_p.exp() + log_q.exp()) / 2
    each = torch.where(m == 0, m, m * torch.where(d < 2, near, far))
    return each.sum(dim=1).clamp_max(log(2))  # probabilities sum to 1 but for rounding
