"""Last-layer GraNd: the closed form is the gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from datadiet.errors import OptionError
from datadiet.scorers import grand_last


def test_golden_with_and_without_a_bias() -> None:
    # ||p - y|| = .5 and ||h|| = sqrt 8: .5 * sqrt(8 + 1) = 1.5; without a bias .5 * sqrt 8 = 1.414214
    # ||p - y|| = 1 and h = 0: the bias alone has a gradient, 1 * sqrt 1 = 1; without a bias there is none.
    error, feature = np.array([[0.5, 1.0]]), np.array([[8.0**0.5, 0.0]])
    np.testing.assert_allclose(grand_last(error, feature), [1.5, 1.0], rtol=1e-6)
    np.testing.assert_allclose(grand_last(error, feature, bias=False), [1.4142136, 0.0], rtol=1e-6)


def test_golden_the_norms_are_multiplied_within_each_seed_and_then_averaged() -> None:
    # (1 * 0 + 0 * 3) / 2 = 0, while the product of the means would be .5 * 1.5 = .75
    assert grand_last(np.array([[1.0], [0.0]]), np.array([[0.0], [3.0]]), bias=False).tolist() == [0.0]


@pytest.mark.parametrize("bias", [True, False])
def test_oracle_autograd_of_a_linear_head(bias: bool) -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(6, 4, bias=bias, dtype=torch.float64)
    h, y = torch.randn(12, 6, dtype=torch.float64), torch.arange(12) % 4
    expected = []
    for i in range(12):
        loss = torch.nn.functional.cross_entropy(head(h[i]), y[i])
        grads = torch.autograd.grad(loss, list(head.parameters()))
        expected.append(torch.cat([g.flatten() for g in grads]).norm().item())
    error = (head(h).softmax(dim=1) - torch.nn.functional.one_hot(y, 4)).norm(dim=1).detach().numpy()
    np.testing.assert_allclose(grand_last(error, h.norm(dim=1).numpy(), bias=bias), expected, rtol=1e-6)


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(OptionError, match=r"\(1, 3\).*\(2, 3\)"):
        grand_last(np.zeros((1, 3)), np.zeros((2, 3)))
