"""GraNd: the mean gradient norm."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from datadiet.errors import OptionError
from datadiet.scorers.grand import grand


def test_golden() -> None:
    # (0 + 1) / 2 = .5 and (3 + 5) / 2 = 4; a third axis of epochs is averaged too: (.5 + 1.5) / 2 = 1
    assert grand(np.array([[0.0, 3.0], [1.0, 5.0]])).tolist() == [0.5, 4.0]
    assert grand(np.array([[[0.0], [1.0]], [[1.0], [2.0]]])).tolist() == [1.0]


def test_oracle_the_mean_over_initialisations_of_the_norm_of_all_gradients() -> None:
    inputs, labels = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3
    norms = np.zeros((2, 6))
    for seed in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            net = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
        for i in range(6):
            loss = torch.nn.functional.cross_entropy(net(inputs[i]), labels[i])
            norms[seed, i] = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))]).norm()
    np.testing.assert_allclose(grand(norms), (norms[0] + norms[1]) / 2, rtol=1e-6)
    assert grand(norms).dtype == np.float32


def test_bad_input_is_refused() -> None:
    with pytest.raises(OptionError, match="grad_norm has 1 NaN"):
        grand(np.array([np.nan, 1.0]))
    with pytest.raises(OptionError, match="at least one seed"):
        grand(np.zeros((0, 3)))
