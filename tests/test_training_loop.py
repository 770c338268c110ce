"""The training loop: steps, weights, seeds, resuming, on a few hundred vectors."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

import datadiet as dd
from datadiet.data import Feed, measure_normalisation, open_data, resident
from datadiet.errors import DataError, OptionError
from datadiet.models import HeadTap, open_model
from datadiet.runtime.tensors import save_tensors
from datadiet.sampling import RS2Sampler, SubsetSampler
from datadiet.signals import Recorder, pending
from datadiet.tasks import Classification
from datadiet.training import Clock, Recipe, Trainer
from datadiet.training import loop as loop_module
from datadiet.training.hooks import AfterEpoch, Hook, Record

pytestmark = pytest.mark.usefixtures("one_thread")


class Blobs:
    """n vectors around one of three corners, and labels."""

    def __init__(self, n=60, seed=0):
        rng = np.random.default_rng(seed)
        self.targets = np.arange(n) % 3
        self.x = (rng.standard_normal((n, 3)) * 0.5 + np.eye(3)[self.targets] * 2).astype(np.float32)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], int(self.targets[i])


def feed(n=60):
    return Feed(open_data(Blobs(n)), None, torch.device("cpu"))


def trainer(
    steps=12, *, data=None, order=None, seed=0, weights=None, model=None, smoothing=0.0, hooks=(), epochs=None, **recipe
):
    data = feed() if data is None else data
    recipe = Recipe(**{"lr": 0.1, "batch_size": 16, **recipe})
    model = open_model("datadiet:mlp", (3,), 3).fresh(seed) if model is None else model
    order = SubsetSampler(len(data), seed=seed, loss_weights=weights) if order is None else order
    clock = Clock(epochs=epochs, steps=None if epochs else steps)
    return Trainer(model, Classification(3, smoothing), data, order, recipe, clock, seed, hooks=list(hooks))


def kept_in(path):
    """What a training is given to save its state to a file."""
    return {"state": path, "save": lambda content: save_tensors(path, *content)}


def weights_of(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_the_loss_falls_and_the_examples_are_learned():
    run = trainer(40)
    run.run()
    assert run.history[-1]["loss"] < 0.5 * run.history[0]["loss"]
    assert run.task.evaluate(run.model, run.feed).accuracy > 0.9


@pytest.mark.parametrize(("steps", "ends"), [(1, [1]), (4, [4]), (5, [4, 5]), (12, [4, 8, 12]), (14, [4, 8, 12, 14])])
def test_exactly_so_many_steps_are_taken(steps, ends):
    """60 examples in batches of 16 are 4 steps an epoch; the last epoch is cut where the budget ends."""
    run = trainer(steps)
    taken = []
    run.optimizer.register_step_post_hook(lambda *_: taken.append(1))
    run.run()
    assert len(taken) == steps == run.clock.step
    assert [entry["step"] for entry in run.history] == ends
    assert [entry["epoch"] for entry in run.history] == list(range(1, len(ends) + 1))


def test_the_learning_rate_follows_the_schedule_over_the_steps_that_are_taken():
    run, rates = trainer(10, schedule="cosine", lr=0.2), []
    run.optimizer.register_step_pre_hook(lambda o, *_: rates.append([g["lr"] for g in o.param_groups]))
    run.run()
    wanted = [0.1 * (1 + np.cos(np.pi * s / 10)) for s in range(10)]
    assert np.allclose(rates, np.array(wanted)[:, None])
    assert run.history[-1]["lr"] == pytest.approx(wanted[-1])


class Seen:
    """A recorder that only writes down which positions each epoch presents."""

    def __init__(self):
        self.epochs, self.now = [], []

    def update(self, positions, outputs, targets, features):
        self.now.append(positions.tolist())

    def end_epoch(self):
        self.epochs.append(self.now)
        self.now = []


def test_each_epoch_presents_each_example_once_in_another_order():
    seen = Seen()
    trainer(12, hooks=[Record(seen)]).run()
    flat = [[i for batch in epoch for i in batch] for epoch in seen.epochs]
    assert [sorted(epoch) for epoch in flat] == [list(range(60))] * 3
    assert flat[0] != flat[1] != flat[2]
    assert [len(batch) for batch in seen.epochs[0]] == [15, 15, 15, 15]


def test_the_recorder_sees_what_the_network_said():
    """The outputs of the forward pass that the step used, before the step."""
    model, outputs, recorded = nn.Linear(3, 3), [], []
    model.register_forward_hook(lambda m, x, out: outputs.append(out.detach().clone()))

    class Keep(Seen):
        def update(self, positions, logits, targets, features):
            recorded.append(logits)
            assert not logits.requires_grad and features is None

    trainer(6, model=model, hooks=[Record(Keep())]).run()
    assert len(recorded) == 6 and all(map(torch.equal, recorded, outputs))


def test_rs2_presents_another_subset_each_epoch():
    seen = Seen()
    trainer(8, order=RS2Sampler(60, keep=0.5, seed=0), hooks=[Record(seen)]).run()
    epochs = [{i for batch in epoch for i in batch} for epoch in seen.epochs]
    assert [len(e) for e in epochs] == [30] * 4 and epochs[0] | epochs[1] == set(range(60))


def test_one_weighted_sgd_step_golden():
    """w <- w - lr * mean_i(weight_i * (p_i - y_i) x_i^T), for one linear layer, plain SGD and one batch."""
    data, model = feed(12), nn.Linear(3, 3)
    weights = torch.linspace(0, 2.2, 12)
    x, y = torch.from_numpy(Blobs(12).x), torch.from_numpy(Blobs(12).targets)
    before = model.weight.detach().clone(), model.bias.detach().clone()
    p = functional.linear(x, *before).softmax(dim=1)
    delta = (p - functional.one_hot(y, 3)) * weights[:, None] / 12
    run = trainer(
        1,
        data=data,
        model=model,
        weights=weights,
        batch_size=12,
        momentum=0.0,
        weight_decay=0.0,
        lr=0.3,
        schedule="constant",
    )
    run.run()
    torch.testing.assert_close(model.weight.detach(), before[0] - 0.3 * delta.T @ x)
    torch.testing.assert_close(model.bias.detach(), before[1] - 0.3 * delta.sum(dim=0))


def test_weight_zero_is_as_good_as_absent_and_weight_one_as_good_as_none():
    plain, ones = trainer(8), trainer(8, weights=torch.ones(60))
    plain.run()
    ones.run()
    assert torch.equal(weights_of(plain.model), weights_of(ones.model))
    still = trainer(8, weights=torch.zeros(60), weight_decay=0.0)
    before = weights_of(still.model)
    still.run()
    assert torch.equal(weights_of(still.model), before)


def test_the_history_counts_what_was_presented_without_weights():
    a, b = trainer(4, lr=1e-9), trainer(4, lr=1e-9, weights=torch.linspace(0, 2, 60))
    a.run()
    b.run()
    assert a.history[0]["loss"] == pytest.approx(b.history[0]["loss"])
    whole = a.task.evaluate(open_model("datadiet:mlp", (3,), 3).fresh(0), a.feed)
    assert a.history[0]["loss"] == pytest.approx(whole.loss, rel=1e-5)
    assert a.history[0]["accuracy"] == pytest.approx(whole.accuracy)


@pytest.mark.parametrize("options", [{}, {"optimizer": "adamw", "lr": 0.01}, {"precision": "bf16"}, {"smoothing": 0.1}])
def test_the_same_seed_is_bit_identical_and_another_is_not(options):
    results = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(results))  # whatever the caller did before
        run = trainer(8, seed=seed, **options)
        run.run()
        results.append(weights_of(run.model))
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


def dropout_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 16), nn.Dropout(0.5), nn.Linear(16, 3))


def test_dropout_is_seeded_and_the_global_random_state_is_left_alone():
    results = []
    for seed in (0, 0, 1):
        model = dropout_net()
        torch.manual_seed(17)
        before = torch.get_rng_state()
        trainer(8, seed=seed, model=model, order=SubsetSampler(60, seed=0)).run()
        assert torch.equal(torch.get_rng_state(), before)
        results.append(weights_of(model))
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


@pytest.mark.parametrize(
    "options", [{"optimizer": "adamw", "lr": 0.01}, {"precision": "bf16"}, {"schedule": "constant"}]
)
def test_other_recipes_learn_too(options):
    run = trainer(40, **options)
    run.run()
    assert all(p.dtype == torch.float32 for p in run.model.parameters())
    assert run.task.evaluate(run.model, run.feed).accuracy > 0.9


def test_label_smoothing_golden():
    """(1 - a) (-log p_y) + a mean_c(-log p_c), with p = (3/4, 1/4), y = 0 and a = 0.2."""
    loss = Classification(2, 0.2).losses(torch.tensor([[3.0, 1.0]]).log(), torch.tensor([0]))
    wanted = 0.8 * np.log(4 / 3) + 0.2 * (np.log(4 / 3) + np.log(4)) / 2
    assert loss.tolist() == pytest.approx([wanted])


@pytest.mark.parametrize("lr", [1e20, 1e38])
def test_divergence_is_one_sentence_with_advice(lr):
    with pytest.raises(
        DataError, match=r"training diverged: the loss of epoch \d+ is (nan|inf); lower the learning rate"
    ):
        trainer(40, lr=lr, schedule="constant").run()


def test_evaluation_counts_classes_and_restores_the_mode():
    model = nn.Linear(3, 4)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.copy_(torch.tensor([0.0, 5.0, 0.0, 0.0]))  # always says class 1
    result = Classification(4).evaluate(model.train(), feed())
    assert result.accuracy == pytest.approx(1 / 3) and result.class_recall == (
        0.0,
        1.0,
        0.0,
        None,
    )  # nobody is of class 3
    # z = (0, 5, 0, 0): -log p_1 = log(1 + 3 e^-5), the others 5 more
    assert result.loss == pytest.approx(np.log1p(3 * np.exp(-5)) + 5 * 2 / 3, rel=1e-5)
    assert model.training


@pytest.mark.parametrize("options", [{}, {"optimizer": "adamw", "lr": 0.01}])
@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_a_killed_training_resumes_to_the_same_bits(tmp_path, monkeypatch, options, killed_after):
    monkeypatch.setattr(loop_module, "_SAVE_EVERY", 0.0)
    monkeypatch.setattr(loop_module, "_SAVE_SHARE", float("inf"))
    whole = trainer(14, model=dropout_net(), **options)
    whole.run()

    def die(epoch):
        if epoch == killed_after + 1:  # the state of the epoch before is saved, this epoch's is lost
            raise KeyboardInterrupt

    state = tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        trainer(14, model=dropout_net(), hooks=[AfterEpoch(die)], **options).run(**kept_in(state))
    epochs = []
    again = trainer(14, model=dropout_net(), hooks=[AfterEpoch(epochs.append)], **options)
    again.run(**kept_in(state))
    assert epochs == list(range(killed_after + 1, 5))
    assert torch.equal(weights_of(again.model), weights_of(whole.model))
    for a, b in zip(again.history, whole.history, strict=True):
        assert {**a, "seconds": 0} == {**b, "seconds": 0}


def test_the_model_is_put_in_evaluation_mode_also_after_a_failure():
    def stop(epoch):
        assert run.model.training
        raise KeyboardInterrupt

    run = trainer(8, hooks=[AfterEpoch(stop)])
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert not run.model.training


def test_a_batch_that_ranks_cannot_share_is_refused(monkeypatch):
    monkeypatch.setattr(loop_module.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(loop_module.dist, "get_world_size", lambda: 3)
    monkeypatch.setattr(loop_module.dist, "get_rank", lambda: 0)
    with pytest.raises(OptionError, match="batch_size=16 cannot be shared by 3 processes"):
        trainer(8)


class Dying(Hook):
    """A hook that is killed after so many steps."""

    def __init__(self, after):
        self.left = after

    def after_step(self, trainer):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def as_on_an_accelerator(monkeypatch, numbers=120):
    """The data is kept on the device, and signals are computed for `numbers` numbers at once."""
    monkeypatch.setattr(resident, "_room", lambda device: 1 << 30)
    monkeypatch.setattr(pending, "_far_away", lambda given: True)
    monkeypatch.setattr(pending, "working_set", lambda device: numbers)


class Waits(TorchDispatchMode):
    """Operations whose result the processor reads: each waits for an accelerator."""

    found: ClassVar[list[str]] = []
    reads = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in self.reads:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"precision": "bf16"}, {"optimizer": "adamw", "lr": 0.01}])
def test_no_step_of_an_epoch_waits_for_an_accelerator(monkeypatch, options):
    """Weighted losses, augmented images, recorded signals with features, a schedule that learns."""
    as_on_an_accelerator(monkeypatch, 1 << 20)
    images = np.random.default_rng(0).integers(0, 256, (60, 3, 12, 12), dtype=np.uint8)
    source = open_data((images, np.arange(60) % 3))
    data = Feed(source, measure_normalisation(source), torch.device("cpu"), "flip,translate:2,crop:1")
    model = open_model("datadiet:resnet8", (3, 12, 12), 3).fresh(0)
    tap = HeadTap(model, data.first(2))
    hooks = [Record(Recorder(60, signals=Classification(3).signals), tap.features)]
    run = trainer(data=data, model=model, order=Shrinking(), epochs=1, hooks=hooks, **options)
    Waits.found.clear()
    batches = Feed.batches

    def under_watch(self, *args):  # also what is done with a batch before the next one is asked for
        with Waits():
            yield from batches(self, *args)

    monkeypatch.setattr(Feed, "batches", under_watch)
    run.run()
    # the steps of AdamW count on the processor, whatever the device of the weights
    allowed = {"_local_scalar_dense"} if "optimizer" in options else set()
    assert run.clock.step == 4 and set(Waits.found) <= allowed


class Shrinking:
    """A schedule that drops the examples with the smallest losses: it learns, weighs, and changes its length."""

    reads = "loss"

    def __init__(self, n=60):
        self.n, self.losses = n, np.zeros(n)

    def begin(self, epoch):
        self.kept = np.argsort(-self.losses, kind="stable")[: self.n - 12 * epoch]
        return len(self.kept)

    def order(self, epoch):
        return lambda positions: self.kept[positions]

    def update(self, index, values):
        self.losses[index.numpy()] = values.numpy()

    def weights(self, index):
        return 1 + (index % 2).float()

    def state_dict(self):
        return {"losses": self.losses}

    def load_state_dict(self, state):
        self.losses = state["losses"].copy()


@pytest.mark.parametrize("killed_after", [1, 3, 4, 5, 9])
@pytest.mark.parametrize("schedule", ["static", "learning", "on an accelerator"])
def test_a_training_killed_at_any_step_resumes_to_the_same_bits(tmp_path, monkeypatch, killed_after, schedule):
    """Weights, dropout, recorded presentations, history and what the schedule learned."""
    far = schedule == "on an accelerator"
    if far:
        as_on_an_accelerator(monkeypatch)
    monkeypatch.setattr(loop_module, "_SAVE_EVERY", 0.0)
    monkeypatch.setattr(loop_module, "_SAVE_SHARE", float("inf"))

    def run(hooks=(), keep=None):
        tables = {}
        recorder = Recorder(60, shift=not far, sink=lambda epoch, table: tables.__setitem__(epoch, table))
        order = Shrinking() if schedule == "learning" else None
        one = trainer(epochs=3, model=dropout_net(), order=order, hooks=[Record(recorder), *hooks])
        one.run(**(keep or {}))
        return one, tables

    whole, tables = run([Dying(10**9)])
    keep = kept_in(tmp_path / "state.safetensors")
    with pytest.raises(KeyboardInterrupt):
        run([Dying(killed_after + 1)], keep)
    again, rest = run([Dying(10**9)], keep)
    assert torch.equal(weights_of(again.model), weights_of(whole.model))
    assert [{**entry, "seconds": 0} for entry in again.history] == [{**entry, "seconds": 0} for entry in whole.history]
    assert 3 in rest
    for epoch, table in rest.items():
        for name in table.column_names:  # a first presentation has no shift
            np.testing.assert_array_equal(table[name].to_numpy(), tables[epoch][name].to_numpy(), err_msg=name)


def test_a_schedule_may_change_its_length_and_the_budget_in_epochs_holds():
    """60, 48 and 36 examples are 4, 3 and 3 batches of 16; each step knows how far the training is."""
    rates, seen = [], Seen()
    run = trainer(epochs=3, order=Shrinking(), lr=0.2, schedule="cosine", hooks=[Record(seen)])
    run.optimizer.register_step_pre_hook(lambda o, *_: rates.append(o.param_groups[0]["lr"]))
    run.run()
    assert [[len(batch) for batch in epoch] for epoch in seen.epochs] == [[15] * 4, [16] * 3, [12] * 3]
    progress = [*(s / 12 for s in range(4)), *(1 / 3 + s / 9 for s in range(3)), *(2 / 3 + s / 9 for s in range(3))]
    assert np.allclose(rates, [0.1 * (1 + np.cos(np.pi * p)) for p in progress])
    assert [entry["step"] for entry in run.history] == [4, 7, 10] and run.clock.finished


def test_a_schedule_learns_what_it_reads_before_the_next_epoch():
    """The losses of the presentations, by index; the dropped examples are those with the smallest."""
    schedule = Shrinking()
    run = trainer(epochs=2, order=schedule, lr=1e-9)
    run.run()
    x, y = torch.from_numpy(Blobs(60).x), torch.from_numpy(Blobs(60).targets)
    with torch.no_grad():
        losses = functional.cross_entropy(open_model("datadiet:mlp", (3,), 3).fresh(0)(x), y, reduction="none")
    assert np.allclose(schedule.losses, losses.numpy(), rtol=1e-4, atol=1e-5)
    assert set(schedule.kept.tolist()) == set(np.argsort(losses.numpy())[-48:].tolist())


def test_a_schedule_that_empties_an_epoch_is_refused():
    empty = Shrinking()
    empty.begin = lambda epoch: 0
    with pytest.raises(OptionError, match="presents no example in epoch 1"):
        trainer(epochs=1, order=empty).run()


def test_hooks_are_called_in_their_order_after_each_step_and_epoch():
    calls = []

    class Calls(Dying):
        def __init__(self, name):
            self.name = name

        def after_step(self, trainer):
            calls.append((self.name, trainer.clock.step, len(trainer.latest.batch)))

        def after_epoch(self, trainer):
            calls.append((self.name, trainer.clock.epoch))

    trainer(5, hooks=[Calls("a"), Calls("b")]).run()
    steps = [(name, step, 15) for step in range(1, 5) for name in "ab"]
    assert calls == [*steps, ("a", 1), ("b", 1), ("a", 5, 15), ("b", 5, 15), ("a", 2), ("b", 2)]


def test_an_objective_decides_what_is_minimised_and_the_history_says_so():
    class Halved:
        def __call__(self, forward, batch):
            outputs = forward(batch)
            return outputs, 0.5 * functional.cross_entropy(outputs, batch.targets, reduction="none")

    plain, halved = trainer(4, lr=1e-9), trainer(4, lr=1e-9)
    halved.objective = Halved()
    plain.run()
    halved.run()
    assert halved.history[0]["loss"] == pytest.approx(0.5 * plain.history[0]["loss"])


@pytest.mark.parametrize("budget", [{}, {"epochs": 1, "steps": 1}, {"epochs": 0}, {"steps": -2}])
def test_a_clock_has_exactly_one_budget(budget):
    with pytest.raises(OptionError, match="give exactly one of them as the budget, at least 1"):
        Clock(**budget)


def test_dropout_is_a_function_of_epoch_step_and_rank():
    """The masks of a step do not depend on what was drawn before it."""
    masks = []
    for steps in (1, 2):
        model = dropout_net()
        model[1].register_forward_hook(lambda m, x, out: masks.append((out == 0) & (x[0] != 0)))
        run = trainer(2, model=model, lr=1e-12, weight_decay=0.0, batch_size=60)
        if steps == 1:
            run.clock.load_state_dict({"epoch": 1, "step": 1, "batch": 0, "batches": 1})
        run.run()
    second, first, again = masks
    assert torch.equal(second, again) and not torch.equal(first, again)


@pytest.mark.parametrize("accumulate", [2, 3, 1000])
def test_a_batch_in_parts_trains_as_the_whole_does(accumulate):
    whole = dd.train("digits", "datadiet:mlp", epochs=2, recipe={"batch_size": 100})
    parts = dd.train("digits", "datadiet:mlp", epochs=2, recipe={"batch_size": 100, "accumulate": accumulate})
    assert whole.steps == parts.steps
    for a, b in zip(whole.model.state_dict().values(), parts.model.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-4, atol=2e-5)
    assert whole.history[-1]["loss"] == pytest.approx(parts.history[-1]["loss"], rel=1e-4)


def test_parts_of_a_batch_are_recorded_each_with_its_features():
    plain = dd.score("digits", "datadiet:mlp", "aum,grand_last", epochs=2, params={"grand_last": {"mode": "train"}})
    parts = dd.score(
        "digits", "datadiet:mlp", "aum,grand_last", epochs=2, params={"grand_last": {"mode": "train"}},
        recipe={"accumulate": 4},
    )  # fmt: skip
    for name in plain.columns:
        np.testing.assert_allclose(plain[name], parts[name], rtol=2e-3, atol=2e-4)
