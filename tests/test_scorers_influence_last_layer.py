"""Last-layer influence: what it predicts is what re-training without the example does."""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np
import pytest

from datadiet.errors import OptionError
from datadiet.scorers.influence_last_layer import influence_last_layer
from datadiet.scorers.refit_head import head_probabilities, refit_head


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def trained(h: np.ndarray, y: np.ndarray, l2: float, n: int, theta: np.ndarray) -> np.ndarray:
    """argmin (1/n) sum losses + (l2/2) ||theta||^2 by Newton's method, whatever the number of rows of h."""
    classes, width = theta.shape
    for _ in range(50):
        p = softmax(h @ theta.T)
        gradient = (p - np.eye(classes)[y]).T @ h / n + l2 * theta
        if np.abs(gradient).max() < 1e-13:
            return theta
        s = p[:, :, None] * (np.eye(classes) - p[:, None, :])
        hessian = np.einsum("icd,ia,ib->cadb", s, h, h, optimize=True).reshape(classes * width, -1) / n
        theta = theta - np.linalg.solve(hessian + l2 * np.eye(classes * width), gradient.ravel()).reshape(theta.shape)
    raise AssertionError("the oracle did not converge")


class Case(NamedTuple):
    x: np.ndarray
    y: np.ndarray
    vx: np.ndarray
    vy: np.ndarray
    p: np.ndarray
    vp: np.ndarray
    l2: float
    truth: np.ndarray | None

    def scores(self, **options: object) -> np.ndarray:
        return influence_last_layer(  # type: ignore[call-overload, no-any-return]
            self.x, self.p, self.y, self.vx, self.vp, self.vy, **{"l2": self.l2, **options}
        )


def case(classes: int, n: int, d: int, l2: float, *, bias: bool = True, refits: bool = True) -> Case:
    """Labels drawn from a true softmax, so that the validation loss is not near 0; and all n leave-one-out refits."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n + 400, d))
    y = np.array([rng.choice(classes, p=q) for q in softmax(3 * x @ rng.normal(size=(d, classes)) / np.sqrt(d))])
    p, theta = refit_head(x[:n], y[:n], l2=l2, classes=classes, bias=bias)
    vp = head_probabilities(x[n:], theta, bias=bias)
    truth = None
    if refits:
        h = np.hstack([x, np.ones((n + 400, 1))]) if bias else x

        def val_loss(at: np.ndarray) -> float:
            return float(-np.log(softmax(h[n:] @ at.T)[np.arange(400), y[n:]]).mean())

        without = [trained(np.delete(h[:n], i, 0), np.delete(y[:n], i), l2, n, theta) for i in range(n)]
        truth = np.array([val_loss(at) - val_loss(theta) for at in without])
    return Case(x[:n], y[:n], x[n:], y[n:], p, vp, l2, truth)


@pytest.fixture(scope="module")
def binary() -> Case:
    return case(2, 400, 20, 0.1)


def pearson(a: np.ndarray, b: np.ndarray | None) -> float:
    assert b is not None
    return float(np.corrcoef(a, b)[0, 1])


def test_golden_first_order() -> None:
    # h = 1 and -1, p = 3/4 and 1/4 for the true class, no bias; the validation example is the first training example.
    # p - y = (-1/4, 1/4) for h = 1; for h = -1 it is (1/4, -1/4), so both gradients (p - y) h are (-1/4, 1/4) = v.
    # S = 3/16 [[1, -1], [-1, 1]] for both, so H v = (3/8 + l2) v and score = (1/2) v'v / (3/8 + l2) = 1/16 / (...).
    # l2 = 1/8: 1/16 * 2 = 0.125.
    h, p, y = np.array([[1.0], [-1.0]]), np.array([[0.75, 0.25], [0.25, 0.75]]), np.array([0, 1])
    got = influence_last_layer(h, p, y, h[:1], p[:1], y[:1], l2=0.125, order="first", bias=False)
    np.testing.assert_allclose(got, [0.125, 0.125], rtol=1e-6)


def test_golden_newton() -> None:
    # The same. Without one example the curvature along v is 3/16 + 1/8 = 5/16 and the gradient is that of the one left
    # out: t = (1/2) v / (5/16) = 1.6 v. v't = 1.6 / 8 = 0.2; H_v v = (3/8) v, so (1/2) t'H_v t = 1.28 * 3/8 / 8 = 0.06.
    h, p, y = np.array([[1.0], [-1.0]]), np.array([[0.75, 0.25], [0.25, 0.75]]), np.array([0, 1])
    got = influence_last_layer(h, p, y, h[:1], p[:1], y[:1], l2=0.125, bias=False)
    np.testing.assert_allclose(got, [0.26, 0.26], rtol=1e-6)


@pytest.mark.parametrize("bias", [True, False])
def test_oracle_the_formulas_one_example_at_a_time(bias: bool) -> None:
    c = case(3, 40, 4, 0.05, bias=bias, refits=False)
    h, vh = ((np.hstack([v, np.ones((len(v), 1))]) if bias else v) for v in (c.x, c.vx))
    curve = np.mean([np.kron(np.diag(p) - np.outer(p, p), np.outer(x, x)) for p, x in zip(c.p, h, strict=True)], axis=0)
    inverse = np.linalg.inv(curve + 0.05 * np.eye(len(curve)))
    bend = np.mean(
        [np.kron(np.diag(p) - np.outer(p, p), np.outer(x, x)) for p, x in zip(c.vp, vh, strict=True)], axis=0
    )
    v = np.mean([np.kron(p - np.eye(3)[y], x) for p, x, y in zip(c.vp, vh, c.vy, strict=True)], axis=0)
    first, newton = np.zeros(40), np.zeros(40)
    for i in range(40):
        j, s, error = np.kron(np.eye(3), h[i]), np.diag(c.p[i]) - np.outer(c.p[i], c.p[i]), c.p[i] - np.eye(3)[c.y[i]]
        first[i] = v @ inverse @ j.T @ error / 40
        t = inverse @ j.T @ np.linalg.inv(np.eye(3) - s @ j @ inverse @ j.T / 40) @ error / 40
        newton[i] = v @ t + t @ bend @ t / 2
    np.testing.assert_allclose(c.scores(order="first", bias=bias), first, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(c.scores(bias=bias), newton, rtol=1e-5, atol=1e-9)


def test_leave_one_out_binary(binary: Case) -> None:
    first, newton = binary.scores(order="first"), binary.scores()
    assert pearson(first, binary.truth) >= 0.995
    assert pearson(newton, binary.truth) >= 0.999
    # not the ranking alone: the sign and the size too
    assert binary.truth is not None
    assert np.linalg.norm(newton - binary.truth) < 0.03 * np.linalg.norm(binary.truth)
    assert (newton > 0).any() and (newton < 0).any()


def test_leave_one_out_three_classes() -> None:
    c = case(3, 200, 8, 0.01)
    assert pearson(c.scores(), c.truth) >= 0.999
    assert pearson(c.scores(order="first"), c.truth) >= 0.97


def test_leave_one_out_without_a_bias_and_with_little_regularisation() -> None:
    c = case(2, 150, 6, 0.01, bias=False)
    assert pearson(c.scores(bias=False), c.truth) >= 0.999
    assert pearson(c.scores(bias=False), c.truth) > pearson(c.scores(bias=False, order="first"), c.truth)


def test_the_comparison_has_teeth(binary: Case) -> None:
    shuffled = np.random.default_rng(0).permutation(binary.scores())
    assert abs(pearson(shuffled, binary.truth)) < 0.5
    # Nor does another l2 than the one it was trained with pass, or a head that is not at the optimum.
    assert pearson(binary.scores(l2=1e-3), binary.truth) < 0.999
    flat = binary._replace(p=np.full((400, 2), 0.5), vp=np.full((400, 2), 0.5))
    assert pearson(flat.scores(), binary.truth) < 0.9


@pytest.mark.parametrize("numbers", [1, 500, 3000])
@pytest.mark.parametrize("order", ["first", "newton"])
def test_the_size_of_the_blocks_does_not_matter(monkeypatch: pytest.MonkeyPatch, numbers: int, order: str) -> None:
    c = case(3, 101, 5, 0.02, refits=False)
    whole = c.scores(order=order)
    monkeypatch.setattr(sys.modules["datadiet.scorers.influence_last_layer"], "_NUMBERS", numbers)
    np.testing.assert_allclose(c.scores(order=order), whole, rtol=1e-5, atol=1e-10)


def test_permuting_the_examples_permutes_the_scores() -> None:
    c, order = case(3, 90, 5, 0.02, refits=False), np.random.default_rng(3).permutation(90)
    moved = c._replace(x=c.x[order], y=c.y[order], p=c.p[order])
    np.testing.assert_allclose(moved.scores(), c.scores()[order], rtol=1e-5, atol=1e-10)


def test_float32_inputs_are_computed_in_float64() -> None:
    c = case(2, 60, 5, 0.02, refits=False)
    rounded = c._replace(x=c.x.astype(np.float32), p=c.p.astype(np.float32), vp=c.vp.astype(np.float32))
    np.testing.assert_allclose(rounded.scores(), c.scores(), rtol=1e-3, atol=1e-7)
    assert rounded.scores().dtype == np.float32


def test_a_head_that_is_too_large_is_refused_with_what_would_fit() -> None:
    x, p = np.zeros((2, 5000)), np.full((2, 2), 0.5)
    with pytest.raises(OptionError, match=r"2 classes on 5001 inputs has 10002 parameters.*8192: .*to 4095 or fewer"):
        influence_last_layer(x, p, np.array([0, 1]), x, p, np.array([0, 1]))


def test_bad_input_is_refused() -> None:
    c = case(2, 30, 3, 0.1, refits=False)
    with pytest.raises(OptionError, match="order='second'"):
        c.scores(order="second")
    for l2 in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(OptionError, match="only with l2 above 0"):
            c.scores(l2=l2)
    with pytest.raises(OptionError, match="too small for these features"):
        c._replace(x=np.repeat(c.x[:, :1], 3, axis=1) * 1e6).scores(l2=1e-12)
    with pytest.raises(OptionError, match="val_features has 1 NaN"):
        c._replace(vx=np.where(c.vx == c.vx[3, 1], np.nan, c.vx)).scores()
    with pytest.raises(OptionError, match="give softmax outputs, not logits"):
        c._replace(p=np.log(c.p)).scores()
    with pytest.raises(OptionError, match="val_probabilities has entries"):
        c._replace(vp=c.vp * 2).scores()
    with pytest.raises(OptionError, match="probabilities has 29 rows and features 30"):
        c._replace(p=c.p[:-1]).scores()
    with pytest.raises(OptionError, match="2 features and 2 classes, the training data 3 and 2"):
        c._replace(vx=c.vx[:, :2]).scores()
    with pytest.raises(OptionError, match="labels has class numbers from 0 to 2: number the classes from 0 to 1"):
        c._replace(y=c.y + (np.arange(30) == 4) * (2 - c.y)).scores()
    with pytest.raises(OptionError, match=r"features has shape \(30,\)"):
        c._replace(x=c.x[:, 0]).scores()
    with pytest.raises(OptionError, match="val_labels has shape"):
        c._replace(vy=c.vy[:-1]).scores()
