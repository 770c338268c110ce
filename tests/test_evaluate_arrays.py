"""Every public function of datadiet.evaluate, with arrays in every form that a caller may give."""

from __future__ import annotations

import inspect
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np
import pytest

from datadiet import evaluate
from datadiet.errors import OptionError
from datadiet.testing.array_kinds import in_bfloat16, not_numbers, same_numbers

RNG = np.random.default_rng(0)
HARDNESS = in_bfloat16(RNG.normal(size=12))
OTHER = in_bfloat16(RNG.normal(size=12))
FLIPPED = np.arange(12) % 3 == 0
OUTPUTS = in_bfloat16(RNG.normal(size=(6, 2)))
MASKS = np.array([[s != i and s + 1 != i for i in range(7)] for s in range(6)])

# name -> its arrays, and its other arguments
CASES: dict[str, tuple[dict[str, np.ndarray], dict[str, Any]]] = {
    "flip_labels": ({"labels": np.array([0, 1, 2, 1, 0, 2])}, {"fraction": 0.5, "classes": 3}),
    "lds": ({"attributions": in_bfloat16(RNG.normal(size=(2, 7))), "outputs": OUTPUTS, "masks": MASKS}, {}),
    "leave_one_out_correlation": ({"predicted": HARDNESS, "actual": OTHER}, {}),
    "loss_interval": ({"losses": OUTPUTS}, {"alpha": 0.1}),
    "mislabel_auc": ({"hardness": HARDNESS, "flipped": FLIPPED}, {}),
    "noise_ceiling": ({"outputs_a": OUTPUTS, "outputs_b": in_bfloat16(RNG.normal(size=(6, 2)))}, {}),
    "overlap_between_scores": ({"hardness_a": HARDNESS, "hardness_b": OTHER}, {"keep": 4}),
    "recall_at": ({"hardness": HARDNESS, "flipped": FLIPPED}, {"inspected": 5}),
    "recall_curve": ({"hardness": HARDNESS, "flipped": FLIPPED}, {}),
    "worst_class_interval": ({"losses": OUTPUTS.T, "labels": np.arange(6) % 2}, {"alpha": 0.1}),
    "selection_overlap": ({"a": np.array([4, 3, 2, 1]), "b": np.array([5, 4])}, {"n": 10}),
}
WITHOUT_ARRAYS: dict[str, dict[str, Any]] = {
    "digits_ground_truth": {},
    "loss_power": {"margin": 1.0, "seeds": 3, "examples": 5, "spread": evaluate.LossSpread(0.1, 0.1, 0.1)},
    "verdicts": {"intervals": [], "margin": 1.0},
}
ARRAYS = [(name, array) for name, (arrays, _) in CASES.items() for array in arrays]
BAD = ("x", None, [1], {"a": 1}, float("nan"), float("inf"), 2**70, np.zeros(2))


def numbers_of(found: Any) -> list[Any]:
    if is_dataclass(found):
        return [numbers_of(value) for value in asdict(found).values()]
    return [numbers_of(one) for one in found] if isinstance(found, (tuple, dict)) else np.asarray(found).tolist()


def refused(call: Any) -> str:
    with pytest.raises(OptionError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_public_function_is_here():
    found = {name for name in evaluate.__all__ if inspect.isfunction(getattr(evaluate, name))}
    assert found == {*CASES, *WITHOUT_ARRAYS}


@pytest.mark.parametrize(("name", "array"), ARRAYS)
def test_the_same_numbers_in_another_form_give_the_same(name, array):
    arrays, options = CASES[name]
    expected = numbers_of(getattr(evaluate, name)(**arrays, **options))
    for said, values in same_numbers(arrays[array]):
        assert numbers_of(getattr(evaluate, name)(**{**arrays, array: values}, **options)) == expected, said


@pytest.mark.parametrize(("name", "array"), ARRAYS)
def test_what_is_not_an_array_of_numbers_is_one_sentence(name, array):
    arrays, options = CASES[name]
    for said, values in not_numbers(arrays[array]):
        assert array in refused(lambda v=values: getattr(evaluate, name)(**{**arrays, array: v}, **options)), said


@pytest.mark.parametrize("name", [*CASES, *WITHOUT_ARRAYS])
def test_other_arguments_are_checked_by_place_too(name):
    arrays, _ = CASES.get(name, ({}, {}))
    known = inspect.signature(getattr(evaluate, name)).parameters
    for option in known.keys() - arrays.keys():
        given = CASES[name][1] if name in CASES else WITHOUT_ARRAYS[name]
        needed = {key: value for key, value in given.items() if key != option}
        for value in BAD:
            if value is None and known[option].default is None:
                continue
            refused(lambda v=value, o=option, n=needed: getattr(evaluate, name)(**arrays, **n, **{o: v}))
    if name == "flip_labels":
        refused(lambda: evaluate.flip_labels(arrays["labels"], "x", 3))


def test_huge_pools_take_no_memory():
    found = evaluate.selection_overlap(np.array([1, 2]), np.array([2]), n=10**12)
    assert found.chance == 1e-12
