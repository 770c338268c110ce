"""Self-influence g' H^-1 g, with H a K-FAC or EK-FAC approximation of the Fisher matrix, by one rotation per gradient.

Fisher matrix of a classifier: F = E_x E_{y ~ p(y|x)} g g', with labels drawn from the model itself. K-FAC (Martens,
Grosse, ICML 2015; convolutions: Grosse, Martens, ICML 2016) takes the block of a weight, with gradients G_i = sum_t b_t
a_t', for A (x) S, where A = E sum_t a_t a_t' and S is the mean of b_t b_t' over examples and positions. With A = Q_A
diag(alpha) Q_A' and S = Q_S diag(sigma) Q_S' its eigenvalues are lambda_jk = sigma_j alpha_k; EK-FAC (George et al.,
NeurIPS 2018) keeps the eigenvectors and measures lambda = E (Q_S' G_i Q_A)^2. Then

    g' (F + delta I)^-1 g = sum_jk (Q_S' G Q_A)_jk^2 / (lambda_jk + delta),    delta = damping · mean(lambda),

a sum over parameters, each with its own delta (Grosse et al. 2023, arXiv 2308.03296). The rotated gradient is squared
and weighted in place; rotating it back, which the influence of one example on another needs, is left out.

*Deviations*: a bias or other 1-D parameter of at most 1024 entries is a block of its own with its exact covariance,
instead of a column of ones in A; each group of a convolution has its own factors; everything else (embeddings, longer
1-D parameters, bare ones) has a diagonal block.

*Cost*: one pass for the factors, with one more forward pass to draw labels; for EK-FAC, the same again; then, per
example and weight, the smaller of T (d^2 + p^2) and p d (p + d) multiplications, on top of T p d; for T = 1 only
d^2 + p^2 + p d. Memory: 2 (d^2 + p^2) + p d numbers per weight, mostly float64. A diagonal block forms gradients:
freeze a large embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from datadiet.errors import OptionError
from datadiet.models.running import logits_of
from datadiet.signals.gradients.batch import ModelInputs, forward_pass, size_of
from datadiet.signals.gradients.checks import finite_rows, in_evaluation_mode
from datadiet.signals.gradients.curvature import Block, block_for, block_from
from datadiet.signals.gradients.engine import PerExample
from datadiet.signals.gradients.losses import loss_named
from datadiet.signals.gradients.products import wide
from datadiet.signals.gradients.tape import frozen
from datadiet.signals.gradients.terms import Term

__all__ = ["KroneckerFactors"]

_NOISE = 1e-12  # share of the largest mean eigenvalue: below it, squares of float32 rounding


class KroneckerFactors:
    """The curvature of a trained classifier, one block per parameter; made by `KroneckerFactors.collect`.

    Attributes:
        engine: the engine with the model and its parameters.
        blocks: parameter -> its block.
    """

    def __init__(self, engine: PerExample) -> None:
        if engine.loss is not loss_named("cross_entropy"):
            raise OptionError("the Fisher matrix needs the log-likelihood: make the engine with loss='cross_entropy'.")
        self.engine = engine
        self.blocks: dict[str, Block] = {}
        self._weights: dict[tuple[str, str, float], Tensor] = {}

    @classmethod
    def collect(
        cls, engine: PerExample, batches: Iterable[tuple[ModelInputs, Any]], generator: torch.Generator
    ) -> KroneckerFactors:
        """One pass for the covariances and their eigenvectors (in float64), all that "kfac" needs.

        Args:
            engine: with the loss "cross_entropy", of a model in evaluation mode.
            batches: (inputs, targets) pairs; the targets are ignored.
            generator: for the labels: one number per example, so that they do not depend on the batch size.

        Raises:
            OptionError: another loss, training mode, no example.
        """
        factors = cls(engine)

        def observe(name: str, terms: Sequence[Term]) -> None:
            if name not in factors.blocks:
                factors.blocks[name] = block_for(terms)
            factors.blocks[name].observe(terms)

        examples = factors._pass(batches, generator, observe)
        for block in factors.blocks.values():
            block.solve(examples)
        return factors

    def collect_lambda(self, batches: Iterable[tuple[ModelInputs, Any]], generator: torch.Generator) -> None:
        """A second pass, for the eigenvalues of "ekfac"; arguments and errors as in `collect`."""
        sums: dict[str, Tensor] = {}

        def square(name: str, terms: Sequence[Term]) -> None:
            found = self._block(name).squares(terms)
            sums[name] = sums[name] + found if name in sums else found

        examples = self._pass(batches, generator, square)
        self._weights.clear()
        for name, block in self.blocks.items():
            if name in sums:
                block.measured = sums[name] / examples

    def self_influence(
        self, inputs: ModelInputs, targets: Any, *, mode: Literal["kfac", "ekfac"] = "ekfac", damping: float = 0.1
    ) -> Tensor:
        """g' (F + delta I)^-1 g for the gradient g of each example's own loss.

        Args:
            inputs: a tensor (B, …), or a sequence or mapping of arguments.
            targets: (B,) labels from the data.
            mode: "ekfac", after `collect_lambda`, or "kfac".
            damping: delta as a multiple of the mean eigenvalue of the parameter, above 0. Grosse et al.: 0.1.

        Returns:
            (B,) float32, at least 0, higher = harder.

        Raises:
            OptionError: "ekfac" without `collect_lambda`, another mode, or damping not above 0.
            DataError: a gradient that is not finite; it names the row.
        """
        if mode not in ("kfac", "ekfac") or not 0 < damping < float("inf"):
            raise OptionError(f"mode={mode!r}, damping={damping}: give 'kfac' or 'ekfac', and a number above 0.")
        parts: list[Tensor] = []

        def add(name: str, terms: Sequence[Term]) -> None:
            parts.append(self._block(name).energy(terms, self._inverse(name, mode, damping)))

        losses = self.engine(inputs, targets, add)
        total = sum((part.to(losses.device) for part in parts), torch.zeros_like(losses))
        finite_rows(total)
        return total.float()

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that was collected, as tensors by name."""
        named = {name: block.state_dict() for name, block in self.blocks.items()}
        return {f"{name}|{key}": value for name, state in named.items() for key, value in state.items()}

    @classmethod
    def from_state(cls, engine: PerExample, state: Mapping[str, Tensor]) -> KroneckerFactors:
        """Factors from what `state_dict` gave, for an engine of the same network."""
        factors, parts = cls(engine), dict[str, dict[str, Tensor]]()
        for key, value in state.items():
            name, _, field = key.rpartition("|")
            parts.setdefault(name, {})[field] = value.to(engine.parameters[name].device)
        factors.blocks = {name: block_from(part) for name, part in parts.items()}
        return factors

    def _inverse(self, name: str, mode: str, damping: float) -> Tensor:
        """1 / (lambda + delta), computed once."""
        key = name, mode, damping
        if key not in self._weights:
            spectrum = self._spectrum(name, mode)
            middle = float(spectrum.mean())
            # The gradient of a bias before a norm is rounding; divided by its own mean it would count like a layer.
            dead = middle <= _NOISE * max(float(self._spectrum(other, mode).mean()) for other in self.blocks)
            inverse = torch.zeros_like(spectrum) if dead else 1 / (spectrum + damping * middle)
            self._weights[key] = inverse.to(wide(self.engine.parameters[name]))
        return self._weights[key]

    def _spectrum(self, name: str, mode: str) -> Tensor:
        block = self._block(name)
        found = block.eigenvalues if mode == "kfac" else block.measured
        if found is None:
            raise OptionError("mode='ekfac' needs eigenvalues: call collect_lambda first, or give mode='kfac'.")
        return found

    def _block(self, name: str) -> Block:
        if name not in self.blocks:
            raise OptionError(f"no loss depended on {name} when the factors were collected: collect on more examples.")
        return self.blocks[name]

    def _pass(
        self,
        batches: Iterable[tuple[ModelInputs, Any]],
        generator: torch.Generator,
        visit: Callable[[str, Sequence[Term]], None],
    ) -> int:
        """Visit the gradients of all batches with drawn labels; returns the number of examples."""
        in_evaluation_mode(self.engine.model)
        examples = 0
        for inputs, _ in batches:
            self.engine(inputs, _drawn_labels(self.engine, inputs, generator), visit)
            examples += size_of(inputs)
        if not examples:
            raise OptionError("there are no examples to collect the curvature from: give at least one batch.")
        return examples


def _drawn_labels(engine: PerExample, inputs: ModelInputs, generator: torch.Generator) -> Tensor:
    """(B,) int64 labels from the model's softmax, by one uniform number each."""
    with frozen(engine.model), torch.no_grad():
        logits = logits_of(forward_pass(engine.model, inputs))
    cumulated = logits.cpu().double().softmax(1).cumsum(1)
    draws = torch.rand(len(cumulated), 1, generator=generator, dtype=torch.float64, device=generator.device).cpu()
    return (draws * cumulated[:, -1:] > cumulated).sum(1).to(logits.device)
