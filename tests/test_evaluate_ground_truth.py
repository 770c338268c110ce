"""The ground truth is true: against scikit-learn, autograd and networks trained one at a time."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from datadiet.errors import OptionError
from datadiet.evaluate import GroundTruth, digits_ground_truth, lds, leave_one_out_correlation, noise_ceiling
from datadiet.evaluate.batched_mlp import initial, mlp_logits, train_mlps
from datadiet.evaluate.ground_truth import losses, margins
from datadiet.evaluate.softmax_regression import fit_softmax, hessian, softmax

SMALL = {"n": 80, "queries": 20, "subsets": 12}


@pytest.fixture(scope="module")
def logistic() -> GroundTruth:
    return digits_ground_truth("logistic")


@pytest.fixture(scope="module")
def mlp() -> GroundTruth:
    return digits_ground_truth("mlp", seeds=2, **SMALL)


def with_ones(features: np.ndarray) -> np.ndarray:
    return np.c_[features, np.ones(len(features))]


def refitted(truth: GroundTruth, kept: np.ndarray) -> np.ndarray:
    """The logits of the queries from scikit-learn, with the same penalty on the bias."""
    model = LogisticRegression(C=1 / (len(truth.labels) * truth.l2), fit_intercept=False, tol=1e-10, max_iter=10_000)
    model.fit(with_ones(truth.features[kept]), truth.labels[kept])
    assert model.classes_.tolist() == list(range(10))
    return with_ones(truth.val_features) @ model.coef_.T


def test_importing_the_layer_loads_no_framework() -> None:
    code = "import sys, datadiet.evaluate; sys.exit(len({'torch', 'sklearn', 'scipy', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_shapes_and_masks(logistic: GroundTruth) -> None:
    assert logistic.features.shape == (400, 64) and logistic.val_features.shape == (100, 64)
    assert logistic.features.min() >= 0 and logistic.features.max() == 1
    assert logistic.masks.shape == (100, 400) and (logistic.masks.sum(axis=1) == 200).all()
    assert len(np.unique(logistic.masks, axis=0)) == 100
    assert logistic.outputs.shape == (100, 100) and logistic.loo.shape == (400, 100)
    assert logistic.probabilities.sum(axis=1) == pytest.approx(np.ones(400))
    assert (logistic.probabilities.argmax(axis=1) == logistic.labels).mean() > 0.95


def test_oracle_leave_one_out_against_scikit_learn(logistic: GroundTruth) -> None:
    for left_out in (0, 17, int(np.abs(logistic.loo.mean(axis=1) - logistic.loss.mean()).argmax())):
        kept = np.arange(400) != left_out
        expected = losses(refitted(logistic, kept), logistic.val_labels)
        np.testing.assert_allclose(logistic.loo[left_out], expected, rtol=1e-5, atol=1e-7)
    full = losses(refitted(logistic, np.arange(400) >= 0), logistic.val_labels)
    np.testing.assert_allclose(logistic.loss, full, rtol=1e-5, atol=1e-7)


def test_oracle_subsets_against_scikit_learn(logistic: GroundTruth) -> None:
    for number in (0, 99):
        expected = margins(refitted(logistic, logistic.masks[number]), logistic.val_labels)
        np.testing.assert_allclose(logistic.outputs[number], expected, rtol=1e-4, atol=1e-5)


def test_influence_functions_predict_this_ground_truth(logistic: GroundTruth) -> None:
    """The point of exact leave-one-out and of the LDS: a method that is right to first order scores well."""
    x, v = with_ones(logistic.features), with_ones(logistic.val_features)
    matrix = hessian(x, logistic.probabilities, np.full(400, 1 / 400), logistic.l2)
    ours, theirs = (
        np.einsum("nd,nc->ndc", z, p - np.eye(10)[y]).reshape(len(z), -1)
        for z, p, y in (
            (x, logistic.probabilities, logistic.labels),
            (v, logistic.val_probabilities, logistic.val_labels),
        )
    )
    influence = theirs @ np.linalg.solve(matrix, ours.T) / 400  # (m, n), positive = keeping it lowers the loss
    true = (logistic.loo - logistic.loss).T
    assert leave_one_out_correlation(influence.mean(axis=0), true.mean(axis=0))["pearson"] > 0.995
    assert np.mean([leave_one_out_correlation(*pair)["pearson"] for pair in zip(influence, true, strict=True)]) > 0.998
    score = lds(influence, logistic.outputs, logistic.masks)
    assert score.mean > 0.95 and lds(-influence, logistic.outputs, logistic.masks).mean < -0.95
    products = lds(theirs @ ours.T, logistic.outputs, logistic.masks)
    assert 0.5 < products.mean < score.interval[0]  # Grad-Dot, without the Hessian
    assert noise_ceiling(*logistic.halves).ceiling.mean == pytest.approx(1)


def test_the_same_arguments_give_the_same_numbers_and_more_subsets_keep_the_first(mlp: GroundTruth) -> None:
    for model, more in (("logistic", {}), ("mlp", {"seeds": 2})):
        one, two = (digits_ground_truth(model, **SMALL, **more) for _ in range(2))
        for name in ("features", "masks", "halves", "probabilities", "loss"):
            assert getattr(one, name).tobytes() == getattr(two, name).tobytes(), name
    fewer = digits_ground_truth("logistic", **{**SMALL, "subsets": 3})
    assert (fewer.masks == mlp.masks[:3]).all()
    smaller = digits_ground_truth("logistic", n=40, queries=5, subsets=3)
    assert (smaller.features == fewer.features[:40]).all() and (smaller.val_labels == fewer.val_labels[:5]).all()
    assert (digits_ground_truth("logistic", **SMALL, seed=1).labels != mlp.labels).any()


def test_modules_are_the_models_of_the_ground_truth(logistic: GroundTruth, mlp: GroundTruth) -> None:
    for truth in (logistic, mlp):
        state = torch.get_rng_state()
        modules = [truth.module(number) for number in range(len(truth.weights["0.bias"]))]
        assert torch.equal(torch.get_rng_state(), state) and not modules[0].training
        assert all(parameter.requires_grad for parameter in modules[0].parameters())
        p = [module(torch.from_numpy(truth.features)).softmax(dim=1).detach().numpy() for module in modules]
        np.testing.assert_allclose(np.mean(p, axis=0), truth.probabilities, atol=1e-6)
        loss = [
            torch.nn.functional.cross_entropy(
                module(torch.from_numpy(truth.val_features)), torch.from_numpy(truth.val_labels), reduction="none"
            )
            for module in modules
        ]
        np.testing.assert_allclose(torch.stack(loss).mean(dim=0).detach().numpy(), truth.loss, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(softmax(with_ones(logistic.features) @ logistic.theta), logistic.probabilities)
    np.testing.assert_allclose(softmax(with_ones(logistic.val_features) @ logistic.theta), logistic.val_probabilities)


def test_oracle_networks_trained_one_at_a_time(mlp: GroundTruth) -> None:
    rng = np.random.default_rng(0)
    members = np.stack([rng.choice(80, 40, replace=False) for _ in range(3)])
    start = initial((64, 8, 10), [(0, 0), (0, 1), (0, 2)], seed=5)
    found = train_mlps(mlp.features, mlp.labels, members, start, l2=0.01, steps=20)
    for number, rows in enumerate(members):
        model = torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.ReLU(), torch.nn.Linear(8, 10))
        model.load_state_dict({name: torch.from_numpy(values[number]) for name, values in start.items()})
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        x, y = torch.from_numpy(mlp.features[rows]), torch.from_numpy(mlp.labels[rows])
        for step in range(20):
            optimizer.param_groups[0]["lr"] = 0.01 * (1 + np.cos(np.pi * step / 20)) / 2
            loss = torch.nn.functional.cross_entropy(model(x), y, reduction="sum") / 80
            loss = loss + 0.005 * sum((p**2).sum() for p in model.parameters())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        for name, values in model.state_dict().items():
            np.testing.assert_allclose(found[name][number], values.numpy(), rtol=1e-3, atol=1e-5, err_msg=name)


def test_oracle_halves_and_weights_match_single_trainings(mlp: GroundTruth) -> None:
    def alone(path: tuple[int, ...], rows: np.ndarray) -> dict[str, np.ndarray]:
        return train_mlps(mlp.features, mlp.labels, rows[None], initial((64, 32, 10), [path], 0), l2=0.0005)

    trained = alone((1, 3), np.flatnonzero(mlp.masks[3]))  # subset 3 with the second seed
    expected = margins(mlp_logits(trained, mlp.val_features), mlp.val_labels)[0]
    np.testing.assert_allclose(mlp.halves[1, 3], expected, rtol=1e-3, atol=1e-3)
    everything = [alone((number,), np.arange(80)) for number in range(2)]
    for name, values in mlp.weights.items():
        np.testing.assert_allclose(values, [one[name][0] for one in everything], rtol=1e-3, atol=1e-4, err_msg=name)
    logits = np.stack([mlp_logits(one, mlp.val_features)[0] for one in everything])
    np.testing.assert_allclose(mlp.val_probabilities, softmax(logits).mean(axis=0), rtol=1e-3, atol=1e-5)


def test_the_mlp_has_noise_and_its_halves_agree_beyond_it(mlp: GroundTruth) -> None:
    assert mlp.loo is None and (mlp.halves[0] != mlp.halves[1]).any()
    agreement = noise_ceiling(*mlp.halves).agreement
    assert 0.4 < agreement.mean < 0.999
    assert mlp.features.dtype == np.float32 and (mlp.outputs > 0).mean() > 0.6


def test_global_state_is_left_alone() -> None:
    before, threads, legacy = torch.get_rng_state(), torch.get_num_threads(), np.random.get_state()[1].copy()  # noqa: NPY002
    digits_ground_truth("mlp", seeds=2, n=20, queries=3, subsets=2)
    assert torch.equal(torch.get_rng_state(), before) and torch.get_num_threads() == threads
    assert (np.random.get_state()[1] == legacy).all()  # noqa: NPY002


def test_oracle_the_hessian_and_the_gradient_by_autograd() -> None:
    rng = np.random.default_rng(0)
    x, y, weights = rng.normal(size=(6, 3)), np.arange(6) % 4, rng.random(6)
    theta = fit_softmax(x, y, weights[None], np.zeros((3, 4)), l2=0.1)[0]

    def objective(flat: torch.Tensor) -> torch.Tensor:
        logits = torch.from_numpy(x) @ flat.reshape(3, 4)
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(y), reduction="none")
        return (torch.from_numpy(weights) * loss).sum() + 0.05 * (flat**2).sum()

    flat = torch.from_numpy(theta.flatten())
    assert torch.func.grad(objective)(flat).abs().max() < 1e-9
    expected = torch.autograd.functional.hessian(objective, flat).numpy()
    np.testing.assert_allclose(hessian(x, softmax(x @ theta), weights, 0.1), expected, atol=1e-12)


def test_solutions_do_not_depend_on_the_start_or_on_the_other_models() -> None:
    rng = np.random.default_rng(1)
    x, y, weights = rng.normal(size=(30, 5)), rng.integers(0, 3, 30), rng.random((120, 30))
    together = fit_softmax(x, y, weights, np.zeros((5, 3)), l2=1e-3)
    far = fit_softmax(x, y, weights[[0, 119]], rng.normal(size=(5, 3)) * 20, l2=1e-3)
    np.testing.assert_allclose(far, together[[0, 119]], atol=1e-6)


def test_margins_keep_their_digits_where_probabilities_round_to_one() -> None:
    # z = (50, 0, 0): log p / (1 - p) = 50 - log 2, where p itself is 1 in float64; and loss = log(1 + 2 exp -50)
    logits = np.array([[50.0, 0.0, 0.0]])
    assert margins(logits, np.array([0])) == pytest.approx([50 - np.log(2)])
    assert losses(logits, np.array([0])) == pytest.approx([2 * np.exp(-50)], rel=1e-9)
    p = softmax(np.array([[1.0, 2.0, 0.5]]))
    assert margins(np.log(p), np.array([1])) == pytest.approx(np.log(p[:, 1] / (1 - p[:, 1])))


def test_logits_of_networks_in_float64() -> None:
    # relu(1*2 - 1) = 1 and relu(-2) = 0: output 3 * 1 + 5 * 0 + .5
    weights = {
        "0.weight": np.array([[[1.0], [-1.0]]]),
        "0.bias": np.array([[-1.0, 0.0]]),
        "2.weight": np.array([[[3.0, 5.0]]]),
        "2.bias": np.array([[0.5]]),
    }
    assert mlp_logits(weights, np.array([[2.0]])).tolist() == [[[3.5]]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "mpl"}, "model='mpl': choose 'logistic' or 'mlp'"),
        ({"seeds": 4}, "seeds=4 for logistic"),
        ({"model": "mlp", "seeds": 3}, "seeds=3 for mlp: give an even number"),
        ({"n": 2000}, "n=2000: the train split of the digits has 1438"),
        ({"queries": 0}, "queries=0: the eval split of the digits has 359"),
        ({"fraction": 1}, "subsets of 400 of 400 examples"),
        ({"fraction": 0.0}, "fraction=0.0 of 400 examples"),
        ({"subsets": 0}, "0 subsets of 200"),
        ({"subsets": 10**9}, "1000000000 subsets.*at most 100,000 trainings"),
        ({"subsets": "x"}, "subsets='x': give a whole number"),
        ({"n": 2.5}, "n=2.5: give a whole number"),
    ],
)
def test_what_cannot_be_built_is_refused(options: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        digits_ground_truth(**options)


def test_seeds_and_theta_that_do_not_exist_are_refused(mlp: GroundTruth) -> None:
    with pytest.raises(OptionError, match=r"number=2: this ground truth has 2 full trainings"):
        mlp.module(2)
    with pytest.raises(OptionError, match=r"mlp has no single matrix.*module\(\)"):
        _ = mlp.theta


@pytest.mark.parametrize(("scale", "tolerance"), [(1e9, 1e-10), (1.0, 1e-300)])
def test_a_solver_that_does_not_converge_says_so(scale: float, tolerance: float) -> None:
    x = scale * np.array([[1.0, 1e-18], [-1.0, 1e-9], [0.5, 0.3]])
    with pytest.raises(OptionError, match="l2=1e-12 did not converge: scale the features"):
        fit_softmax(x, np.array([0, 1, 0]), np.ones((1, 3)), np.zeros((2, 2)), l2=1e-12, tolerance=tolerance)
