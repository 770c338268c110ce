"""The recipe, the learning-rate schedule and the number of steps."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest
import torch
from torch import nn

from datadiet.errors import OptionError
from datadiet.training import Clock, Recipe, lr_factor


def test_texts_are_read_as_what_a_field_is():
    texts = {"lr": "0.2", "batch_size": "64", "optimizer": "adamw", "augment": "flip", "warmup": "0", "workers": "2"}
    recipe = Recipe().with_options(texts)
    assert (recipe.lr, recipe.batch_size, recipe.optimizer) == (0.2, 64, "adamw")
    assert (recipe.augment, recipe.warmup, recipe.workers) == ("flip", 0.0, 2)
    assert recipe.momentum == Recipe().momentum


@pytest.mark.parametrize(("given", "read"), [("true", True), ("False", False), (False, False)])
def test_yes_and_no_are_read_from_texts_too(given, read):
    assert Recipe().with_options({"channels_last": given}).channels_last is read


def test_what_was_always_done_is_not_in_the_plan_so_that_earlier_runs_go_on():
    """These are the fields that plans of format 2 began with, without the number of loader processes."""
    first = {
        "optimizer", "lr", "momentum", "weight_decay", "batch_size", "accumulate", "schedule", "warmup", "augment",
        "integers", "label_smoothing", "precision", "threads", "augment_seed", "views",
    }  # fmt: skip
    assert set(Recipe().as_plan()) == set(Recipe(workers=3).as_plan()) == first
    assert Recipe(channels_last=False).as_plan() == Recipe().as_plan() | {"channels_last": False}


def test_whole_numbers_for_real_fields_give_the_same_recipe():
    """Otherwise lr=1 and lr=1.0 would be two plans."""
    assert Recipe(lr=1).as_dict() == Recipe(lr=1.0).as_dict() and type(Recipe(lr=1).lr) is float


def test_the_identity_block_has_every_field():
    assert set(Recipe().as_dict()) == {field.name for field in fields(Recipe)}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"learning_rate": 1}, "'learning_rate' is not a recipe option"),
        ({"batchsize": 1}, "did you mean 'batch_size'"),
        ({"optimizer": "sdg"}, "recipe.optimizer='sdg': choose one of sgd, adamw"),
        ({"schedule": "step"}, "choose one of onecycle, cosine, constant"),
        ({"precision": "fp8"}, "choose one of fp32, tf32, bf16, fp16"),
        ({"channels_last": "yes"}, "recipe.channels_last='yes': give true or false"),
        ({"channels_last": 1}, "recipe.channels_last=1: give true or false"),
        ({"lr": "fast"}, "recipe.lr='fast' is not a number"),
        ({"batch_size": "many"}, "recipe.batch_size='many' is not a number"),
        ({"batch_size": 2.5}, "batch_size"),
        ({"lr": 0}, "lr > 0"),
        ({"lr": -1}, "lr > 0"),
        ({"lr": "nan"}, "lr > 0"),
        ({"batch_size": 0}, "batch_size >= 1"),
        ({"warmup": 1}, r"warmup in \[0, 1\)"),
        ({"warmup": -0.1}, r"warmup in \[0, 1\)"),
        ({"workers": -1}, "workers >= 0"),
        ({"label_smoothing": 1.5}, "label_smoothing"),
        ({"weight_decay": -1}, "weight_decay"),
        ({"momentum": -0.5}, "momentum"),
    ],
)
def test_a_bad_option_gets_one_sentence(options, words):
    with pytest.raises(OptionError, match=words):
        Recipe().with_options(options)


def test_weight_decay_spares_biases_and_norms():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3))
    model[0].weight.requires_grad_(False)
    decayed, spared = Recipe(weight_decay=0.1).make_optimizer(model).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert [p.shape for p in decayed["params"]] == [(3, 2)]
    assert [p.shape for p in spared["params"]] == [(2,), (2,), (2,), (3,)]


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, True), (0.0, False)])
def test_sgd_is_nesterov_when_it_has_momentum(momentum, nesterov):
    optimizer = Recipe(momentum=momentum).make_optimizer(nn.Linear(2, 2))
    assert isinstance(optimizer, torch.optim.SGD)
    assert all((g["momentum"], g["nesterov"]) == (momentum, nesterov) for g in optimizer.param_groups)


def test_adamw():
    optimizer = Recipe(optimizer="adamw", lr=0.01).make_optimizer(nn.Linear(2, 2))
    assert isinstance(optimizer, torch.optim.AdamW) and optimizer.defaults["betas"] == (0.9, 0.999)


def test_cosine_golden():
    # (1 + cos(pi s / 6)) / 2 at s = 0, 2, 3, 4
    got = [lr_factor("cosine", s, 6) for s in (0, 2, 3, 4)]
    assert got == pytest.approx([1, 0.75, 0.5, 0.25])


def test_onecycle_golden():
    # 8 steps, a quarter of them rising: 1/25, then halfway to 1; at step 2 the top, and half a cosine over the other 6.
    got = [lr_factor("onecycle", s, 8, 0.25) for s in range(8)]
    falling = [(1 + math.cos(math.pi * s / 6)) / 2 for s in range(6)]
    assert got == pytest.approx([0.04, 0.52, *falling])


@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "constant"])
@pytest.mark.parametrize("total", [1, 2, 7, 100])
def test_every_schedule_is_positive_and_at_most_one(schedule, total):
    factors = [lr_factor(schedule, step, total) for step in range(total)]
    assert all(0 < f <= 1 for f in factors) and (schedule != "constant" or set(factors) == {1.0})


def test_a_schedule_without_warmup_starts_at_the_top():
    assert lr_factor("onecycle", 0, 10, 0.0) == 1.0


def test_fewer_steps_compress_the_same_curve():
    """What RS2 needs: the rate reaches its end within the reduced number of steps."""
    assert lr_factor("onecycle", 30, 100) == pytest.approx(lr_factor("onecycle", 300, 1000))


@pytest.mark.parametrize("step", [-1, 4])
def test_a_step_outside_the_schedule(step):
    with pytest.raises(OptionError, match="outside the schedule of 4 steps"):
        lr_factor("cosine", step, 4)


@pytest.mark.parametrize(
    ("options", "budget"),
    [
        ({"epochs": 3}, (3, None)),
        ({"steps": 7}, (None, 7)),
        ({"epochs": 3, "match": "full-steps"}, (None, 96)),
        ({"epochs": 1, "match": "full-steps"}, (None, 32)),
    ],
)
def test_the_budget(options, budget):
    """1000 examples in batches of 32: ceil(1000/32) = 32 steps an epoch."""
    clock = Clock.of_budget(1000, 32, **options)
    assert (clock.epochs, clock.steps) == budget


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "exactly one of epochs=E .* and steps=S"),
        ({"epochs": 1, "steps": 1}, "exactly one of"),
        ({"steps": 5, "match": "full-steps"}, "together with epochs=E"),
        ({"epochs": 5, "match": "steps"}, "the only form is match='full-steps'"),
        ({"epochs": 0}, "at least 1"),
        ({"steps": -3}, "at least 1"),
    ],
)
def test_a_budget_that_means_nothing(options, words):
    with pytest.raises(OptionError, match=words):
        Clock.of_budget(1000, 32, **options)
