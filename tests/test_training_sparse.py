"""Training a network that becomes sparse: the pace, rewinding, resuming at any step, and `dd.train`."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import datadiet as dd
from datadiet.data import Feed, open_data
from datadiet.errors import OptionError
from datadiet.runtime.tensors import save_tensors
from datadiet.sampling import SubsetSampler
from datadiet.sparsity import Masks, read_pace
from datadiet.sparsity.bip import BiP
from datadiet.sparsity.global_magnitude import global_magnitude
from datadiet.sparsity.prunable import prunable
from datadiet.sparsity.prune_and_grow import Growth
from datadiet.tasks import Classification
from datadiet.training import Clock, Recipe, Trainer
from datadiet.training import loop as loop_module
from datadiet.training.bilevel import Bilevel
from datadiet.training.growing import Growing
from datadiet.training.hooks import Hook
from datadiet.training.sparse import Rewinding, Sparse

pytestmark = pytest.mark.usefixtures("one_thread")
N, EPOCHS, SPARSITY = 48, 4, 0.6
PACES = (
    "start",
    "cubic:0.2-0.8",
    "cubic:0-1",
    "rewind:0.1",
    "rewind:0",
    "rewind_lr:0.3",
    "rigl",
    "set:0-1",
    "granet",
    "bip:0.2-0.9",
)


class Watch(Hook):
    """Notes the weights after each step, and is killed after so many."""

    def __init__(self, after: int = 10**9) -> None:
        self.left = after
        self.zeros: list[int] = []

    def after_step(self, trainer: Any) -> None:
        self.zeros.append(sum(int((w == 0).sum()) for w in prunable(trainer.model).values()))
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))


def train(pace: str, watch: Hook, keep: dict[str, Any] | None = None, **recipe: Any) -> tuple[Trainer, Sparse]:
    rng, targets = np.random.default_rng(0), np.arange(N) % 3
    x = (rng.standard_normal((N, 3)) + np.eye(3)[targets]).astype(np.float32)
    made = Recipe(lr=0.1, batch_size=16, **recipe)
    data = Feed(open_data((x, targets)), None, torch.device("cpu"))
    trainer = Trainer(network(), Classification(3), data, SubsetSampler(N), made, Clock(epochs=EPOCHS), 0)
    when = read_pace(pace)
    kind = Growing if isinstance(when, Growth) else Rewinding if when.rewinds else Sparse

    def choose(sparsity: float) -> Masks:
        return Masks(global_magnitude(prunable(trainer.model), sparsity, min_per_layer=5))

    if isinstance(when, BiP):
        hook: Sparse = Bilevel(trainer, choose, SPARSITY, when, np.arange(N))
    else:
        hook = kind(trainer, choose, SPARSITY, when)
    trainer.hooks = [hook, watch]
    trainer.run(**(keep or {}))
    return trainer, hook


def everything(trainer: Trainer) -> torch.Tensor:
    return torch.cat([value.double().flatten() for value in trainer.model.state_dict().values()])


@pytest.mark.parametrize("pace", PACES)
def test_a_training_killed_at_any_step_resumes_to_the_same_weights_and_masks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pace: str
) -> None:
    monkeypatch.setattr(loop_module, "_SAVE_EVERY", 0.0)
    monkeypatch.setattr(loop_module, "_SAVE_SHARE", float("inf"))
    watch = Watch()
    whole, hook = train(pace, watch, ema=0.9)
    assert hook.masks is not None and hook.masks.density() == pytest.approx(1 - SPARSITY, abs=0.01)
    left = {name: weight != 0 for name, weight in prunable(whole.model).items()}  # the average too
    assert not any((left[name] & ~mask).any() for name, mask in hook.masks.items())
    if not isinstance(hook, Growing):  # a grown weight of a unit that nothing reads has no gradient, and stays 0
        assert Masks(left).counts() == hook.masks.counts()
    for killed_after in range(2, len(watch.zeros)):
        state = tmp_path / f"{killed_after}.safetensors"
        keep = {"state": state, "save": lambda content, state=state: save_tensors(state, *content)}
        with pytest.raises(KeyboardInterrupt):
            train(pace, Watch(killed_after), keep, ema=0.9)
        rest = Watch()
        again, found = train(pace, rest, keep, ema=0.9)
        assert torch.equal(everything(again), everything(whole)), killed_after
        assert rest.zeros == watch.zeros[-len(rest.zeros) :], killed_after
        assert found.masks is not None and all(torch.equal(found.masks[k], m) for k, m in hook.masks.items())


def test_the_sparsity_follows_the_pace_in_every_step() -> None:
    watch, total = Watch(), EPOCHS * 3
    train("cubic:0.25-0.75", watch)
    n = 3 * 16 + 16 * 3
    pace = read_pace("cubic:0.25-0.75")
    chosen = [pace.sparsity(SPARSITY, step / total) for step in range(1, total + 1)]
    # The hook sees the weights after the masks of this step, which were chosen anew when the watch looks.
    assert watch.zeros == [n - int(n * (1 - s) + 0.5) if s else 0 for s in chosen]


def test_rewound_weights_are_those_of_the_step_to_the_bit() -> None:
    seen: list[tuple[int, dict[str, torch.Tensor]]] = []

    class Before(Hook):
        def after_step(self, trainer: Any) -> None:
            seen.append((trainer.clock.done, copy.deepcopy(trainer.model.state_dict())))

    rewound: list[dict[str, torch.Tensor]] = []
    original = Rewinding._go_back

    def go_back(self: Rewinding, trainer: Any) -> None:
        original(self, trainer)
        rewound.append(copy.deepcopy(trainer.model.state_dict()))
        assert not trainer.optimizer.state and trainer.clock.done == 2

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rewinding, "_go_back", go_back)
        trainer, hook = train("rewind:0.1", Before())
    assert len(rewound) == 4 and hook.masks is not None  # 1 - 0.8^4 = 0.59
    early = dict(seen[:12])[2]
    for state in rewound:
        for name, value in state.items():
            zero = (value == 0) & (early[name] != 0)
            assert torch.equal(torch.where(zero, early[name], value), early[name]), name
            assert zero.any() or name not in hook.masks
    assert trainer.history[-1]["repeated"] == 4 * 10 and len(seen) == 12 + 4 * 10
    rounds = [entry["sparsity"] for entry in trainer.history][::EPOCHS]
    assert rounds == pytest.approx([1 - 0.4 ** (r / 4) for r in range(5)], abs=0.006)  # of 96 weights


def test_only_the_learning_rate_is_rewound() -> None:
    watch = Watch()
    _, hook = train("rewind_lr:0.5", watch)
    assert hook._weights == {} and len(watch.zeros) == 12 + 4 * 6  # type: ignore[attr-defined]
    plain = Watch()
    train("rewind:0.5", plain)
    assert plain.zeros == watch.zeros


class Exchanges(Hook):
    """Notes after each step, before and after the masks change: masks, weights, gradients and momentum."""

    def __init__(self) -> None:
        self.seen: list[list[dict[str, torch.Tensor]]] = []

    def after_step(self, trainer: Any) -> None:
        masks = {} if trainer.hooks[0].masks is None else trainer.hooks[0].masks.state_dict()
        weights = {k: w.detach().clone() for k, w in prunable(trainer.model).items()}
        grads = {k: w.grad.abs() for k, w in prunable(trainer.model).items()}
        momentum = {
            k: trainer.optimizer.state[w]["momentum_buffer"].clone() for k, w in prunable(trainer.model).items()
        }
        self.seen.append([masks, weights, grads, momentum])


@pytest.mark.parametrize("pace", ["rigl", "granet"])
def test_the_weights_of_the_largest_gradients_grow_from_zero_without_momentum(pace: str) -> None:
    watch = Exchanges()
    _, hook = train(pace, watch)  # type: ignore[arg-type]
    when, grown = read_pace(pace), 0
    assert isinstance(when, Growth)
    masks = Masks(global_magnitude(prunable(network()), SPARSITY, min_per_layer=5)).state_dict()
    for step, (after, weights, grads, momentum) in enumerate(watch.seen, 1):
        progress = min(step / (EPOCHS * 3), 1.0)
        assert Masks(after).counts()[0] == 96 - int(96 * when.sparsity(SPARSITY, progress) + 0.5 - 1e-9), step
        for name in after:
            if pace == "granet":
                continue
            assert after[name].sum() == masks[name].sum(), (step, name)  # of each layer as many as before
            new = after[name] & ~masks[name]
            grown += int(new.sum())
            assert not weights[name][new].any() and not momentum[name][new].any()
            dropped = masks[name] & ~after[name]
            assert not new.any() or grads[name][new].min() >= grads[name][dropped | ~(after[name] | masks[name])].max()
            assert not dropped.any() or (step <= 9 and weights[name][dropped].abs().sum() == 0)
        masks = after
    assert pace == "granet" or grown > 10
    assert hook.masks is not None and Masks(watch.seen[-1][0]).counts() == hook.masks.counts()


def test_set_draws_what_grows_and_by_the_seed_only() -> None:
    final = {}
    for pace in ("set", "rigl"):
        runs = [train(pace, Watch())[1].masks for _ in range(2)]
        assert runs[0] is not None and runs[1] is not None
        assert all(torch.equal(runs[0][name], mask) for name, mask in runs[1].items())
        final[pace] = runs[0]
    assert not all(torch.equal(final["set"][name], mask) for name, mask in final["rigl"].items())


def test_a_step_whose_gradient_overflowed_changes_no_masks() -> None:
    class Overflow(Hook):
        def after_step(self, trainer: Any) -> None:
            if trainer.clock.step == 2:
                trainer.model[0].weight.grad[0, 0] = torch.inf

    rng, targets = np.random.default_rng(0), np.arange(N) % 3
    data = Feed(open_data((rng.standard_normal((N, 3)).astype(np.float32), targets)), None, torch.device("cpu"))
    made = Recipe(lr=0.1, batch_size=16)
    trainer = Trainer(network(), Classification(3), data, SubsetSampler(N), made, Clock(epochs=EPOCHS), 0)
    weights = prunable(trainer.model)
    hook = Growing(trainer, lambda s: Masks(global_magnitude(weights, s)), SPARSITY, Growth.read("rigl"))
    updates: list[int] = []

    class Count(Hook):
        def after_step(self, trainer: Any) -> None:
            updates.append(hook._updates)

    trainer.hooks = [Overflow(), hook, Count()]
    trainer.run()
    assert 1 < updates[0] == updates[1] < updates[2]


def by_name(**more: Any) -> dd.TrainResult:
    return dd.train("digits", "datadiet:mlp", epochs=2, recipe={"lr": 0.05}, **more)


def test_pruning_by_its_name(tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = by_name(sparsify="global_magnitude:0.8", out=out)
    assert result.masks is not None and result.masks.counts() == (5171, 25856)
    assert result.accuracy is not None and result.accuracy > 0.4
    again = by_name(sparsify="global_magnitude:0.8", out=out)
    assert again.masks is not None and all(torch.equal(again.masks[k], m) for k, m in result.masks.items())
    with pytest.raises(dd.OptionError, match="other"):
        by_name(sparsify="global_magnitude:0.7", out=out)
    kept = by_name(start=out, sparsify="layer_magnitude:0.9", keep_dense=["5"])
    assert kept.masks is not None and [*kept.masks] == ["1.weight", "3.weight"]
    assert kept.history[0]["sparsity"] == pytest.approx(0.9, abs=1e-3)  # trained weights: at once
    rewound = by_name(sparsify="global_magnitude:0.6", sparsify_when="rewind:0", out=tmp_path / "rewound")
    assert rewound.steps == 5 * 24 and len(rewound.history) == 10
    loaded = by_name(sparsify="global_magnitude:0.6", sparsify_when="rewind:0", out=tmp_path / "rewound")
    assert loaded.steps == rewound.steps and loaded.accuracy == rewound.accuracy
    assert by_name().masks is None


def test_what_cannot_be_asked() -> None:
    for options, why in (
        ({"sparsify": "global_magnitude"}, "does not say how sparse: write global_magnitude:0.9"),
        ({"sparsify": "global_magnitude:2"}, "between 0 and 1"),
        ({"sparsify": "global:0.5"}, "did you mean 'global_magnitude'"),
        ({"sparsify": "n_m:0.5,k=2"}, "parameter of n_m"),
        ({"sparsify": "n_m:0.5", "sparsify_when": "later"}, "write start, cubic"),
        ({"sparsify_when": "start"}, "give sparsify="),
        ({"keep_dense": ["5"]}, "give sparsify="),
        ({"sparsify": "n_m:0.5", "keep_dense": ["fc"]}, "'fc' is not a layer to keep dense"),
        ({"sparsify": "n_m:0.5", "sparsify_when": "rewind", "sampler": "infobatch"}, "learns from later ones"),
        ({"sparsify": "n_m:0.5", "sparsify_when": "rigl"}, "n_m keeps a pattern"),
        ({"sparsify": "n_m:0.5", "sparsify_when": "bip"}, "n_m keeps a pattern"),
        ({"sparsify": "global_magnitude:1", "sparsify_when": "bip"}, "between 0 and 1"),
        ({"sparsify": "n_m:0.5", "sparsify_on": "kept.parquet"}, "n_m reads no examples: leave out sparsify_on="),
    ):
        with pytest.raises(OptionError, match=why):
            by_name(**options)  # type: ignore[arg-type]


def test_masks_of_another_run(tmp_path: Path) -> None:
    """A lottery ticket found on some examples, and trained on others from the same early weights."""
    easy = dd.select(np.arange(1438.0), "top_k", keep=0.2, prefer="easiest")
    early, ticket = tmp_path / "early", tmp_path / "ticket"
    dd.train("digits", "datadiet:mlp", easy, steps=5, out=early)
    found = dd.train(
        "digits", "datadiet:mlp", easy, start=early, sparsify="global_magnitude:0.5", sparsify_when="rewind:0", steps=5,
        out=ticket,
    )  # fmt: skip
    assert found.steps == 4 * 5 and found.masks is not None
    trained = by_name(start=early, sparsify=f"masks:{ticket}")
    given = by_name(start=early, sparsify=found.masks)
    assert trained.masks is not None and trained.accuracy == given.accuracy
    assert all(torch.equal(mask, found.masks[name]) for name, mask in trained.masks.items())
    with pytest.raises(OptionError, match="no weights that are zero"):
        by_name(sparsify=f"masks:{early}")
    with pytest.raises((OptionError, dd.DataError), match="no checkpoint"):
        by_name(sparsify="masks:nothing")


def test_masks_of_convolutions_are_given(tmp_path: Path) -> None:
    """Their weights, and so the masks found in them, have the channels last in memory."""
    found = dd.train("digits", "datadiet:cnn", steps=2, sparsify="global_magnitude:0.5", out=tmp_path / "run")
    assert found.masks is not None
    for given in (found.masks, f"masks:{tmp_path / 'run'}"):
        again = dd.train("digits", "datadiet:cnn", steps=1, sparsify=given)
        assert again.masks is not None and again.masks.counts() == found.masks.counts()


def test_examples_and_weights_go_on_one_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SparCL: forgetting_removal drops examples while the cubic pace drops weights; a killed run continues."""
    monkeypatch.setattr(loop_module, "_SAVE_EVERY", 0.0)
    monkeypatch.setattr(loop_module, "_SAVE_SHARE", float("inf"))
    how: dict[str, Any] = {
        "sampler": "forgetting_removal:remove=0.4,interval=0.2,until=0.8", "sparsify": "global_magnitude:0.8",
        "epochs": 5,
    }  # fmt: skip
    whole = dd.train("digits", "datadiet:mlp", **how)
    assert whole.steps < 5 * 12 and whole.masks is not None and whole.masks.density() == pytest.approx(0.2, abs=1e-3)
    left = [30]

    def killed(self: Any, trainer: Any) -> None:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        original(self, trainer)

    original = Sparse.after_step
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Sparse, "after_step", killed)
        dd.train("digits", "datadiet:mlp", out=tmp_path / "run", **how)
    again = dd.train("digits", "datadiet:mlp", out=tmp_path / "run", **how)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name])


def test_a_training_without_a_step_to_return_to_is_refused() -> None:
    with pytest.raises(OptionError, match="this training of 1 step has none"):
        dd.train("digits", "datadiet:mlp", steps=1, sparsify="global_magnitude:0.9", sparsify_when="rewind:0.05")
    with pytest.raises(OptionError, match="leave out keep_dense="):
        by_name(sparsify="masks:run", keep_dense=["5"])
