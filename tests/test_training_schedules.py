"""Every schedule in the training loop and in `dd.train`: resuming at any step, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import datadiet as dd
from datadiet.data import Feed, open_data
from datadiet.errors import OptionError
from datadiet.runtime.tensors import save_tensors
from datadiet.sampling import SCHEDULES
from datadiet.tasks import Classification
from datadiet.training import Clock, Recipe, Trainer
from datadiet.training import loop as loop_module
from datadiet.training.hooks import Hook

pytestmark = pytest.mark.usefixtures("one_thread")
N, EPOCHS = 60, 5
WEIGHTED = {"gradient_norm": {"unbiased": True}}


class Seen(Hook):
    """A hook that writes down what each epoch presents, and is killed after so many steps."""

    def __init__(self, after=10**9):
        self.left, self.rows = after, []

    def after_step(self, trainer):
        self.rows.append((trainer.clock.epoch, trainer.latest.batch.rows.tolist()))
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def dropout_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 16), nn.Dropout(0.5), nn.Linear(16, 3))


def trained(name, hook, keep=None):
    rng, targets = np.random.default_rng(0), np.arange(N) % 3
    x = (rng.standard_normal((N, 3)) + np.eye(3)[targets]).astype(np.float32)
    spec = SCHEDULES[name]
    schedule = spec.make({**spec.example, **WEIGHTED.get(name, {})}, n=N, seed=0, epochs=EPOCHS)
    data = Feed(open_data((x, targets)), None, torch.device("cpu"))
    recipe, clock = Recipe(lr=0.1, batch_size=16), Clock(epochs=EPOCHS)
    one = Trainer(dropout_net(), Classification(3), data, schedule, recipe, clock, 0, hooks=[hook])
    one.run(**(keep or {}))
    return one


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_training_killed_at_any_step_resumes_to_the_same_bits(tmp_path, monkeypatch, name):
    monkeypatch.setattr(loop_module, "_SAVE_EVERY", 0.0)
    monkeypatch.setattr(loop_module, "_SAVE_SHARE", float("inf"))
    seen = Seen()
    whole = trained(name, seen)
    weights = torch.cat([p.detach().flatten() for p in whole.model.parameters()])
    for killed_after in range(2, whole.clock.step):
        state = tmp_path / f"{killed_after}.safetensors"
        keep = {"state": state, "save": lambda content, state=state: save_tensors(state, *content)}
        with pytest.raises(KeyboardInterrupt):
            trained(name, Seen(killed_after), keep)
        rest = Seen()
        again = trained(name, rest, keep)
        assert rest.rows == seen.rows[killed_after - 1 :], killed_after
        assert torch.equal(torch.cat([p.detach().flatten() for p in again.model.parameters()]), weights), killed_after


def test_a_schedule_is_given_what_the_network_says():
    """UCB presents those that it has never seen, 18 an epoch, until all were presented: epoch 3 has the last 6."""
    seen = Seen()
    trained("ucb", seen)
    epochs = [[i for e, rows in seen.rows if e == epoch for i in rows] for epoch in range(EPOCHS)]
    assert [len(set(epoch)) for epoch in epochs] == [18] * EPOCHS
    assert [len(set(epoch).difference(*epochs[:e])) for e, epoch in enumerate(epochs)] == [18, 18, 18, 6, 0]


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("infobatch", None),
        ("infobatch:ratio=0.9,anneal=1", None),
        ("seta:groups=3,window=0.5", None),
        ("gradient_norm:keep=50%,unbiased=true", 3 * 6),
        ("epsilon_greedy:keep=30%,epsilon=0.2", 3 * 4),
        ("ucb:keep=n=256,confidence=0.5", 3 * 2),
        ("forgetting_removal:remove=0.5,interval=0.3,until=0.7", None),
    ],
)
def test_every_schedule_by_its_name(text, steps):
    result = dd.train("digits", "datadiet:mlp", sampler=text, epochs=3, recipe={"batch_size": 128})
    assert result.steps == steps or (steps is None and 18 <= result.steps <= 36)
    assert result.accuracy > 0.15


def test_by_name_and_as_an_object_are_the_same_training():
    from datadiet.randomness import derive

    options = {"epochs": 3, "recipe": {"batch_size": 128}}
    named = dd.train("digits", "datadiet:mlp", sampler="infobatch:ratio=0.7", **options)
    sampler = dd.InfoBatchSampler(1438, epochs=3, ratio=0.7, seed=derive(0, "order"))
    given = dd.train("digits", "datadiet:mlp", sampler=sampler, **options)
    for a, b in zip(named.model.parameters(), given.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sampler": "infobatch", "steps": 5}, r"infobatch follows the epochs .* give epochs=E without match="),
        ({"sampler": "infobatch", "epochs": 2, "match": "full-steps"}, "a budget in steps has no number of them"),
        ({"sampler": "infobatch:ratio=half", "epochs": 2}, "ratio='half': give a number"),
        ({"sampler": "infobatch:ratio=2", "epochs": 2}, "ratio=2.0: give a share from 0 and below 1"),
        ({"sampler": "infobatch:epochs=9", "epochs": 2}, "the run sets epochs itself: leave it out"),
        (
            {"sampler": "infobatch:rato=0.5", "epochs": 2},
            "'rato' is not a parameter of infobatch: did you mean 'ratio'",
        ),
        ({"sampler": "infobach", "epochs": 2}, "'infobach' is not a sampler: did you mean 'infobatch'"),
        ({"sampler": "seta:groups=2.5", "epochs": 2}, "groups='2.5': give a whole number"),
        ({"sampler": "gradient_norm:unbiased=yes", "epochs": 2}, "unbiased='yes': give true or false"),
        ({"sampler": "ucb", "epochs": 2}, "says nothing of keep: write ucb:keep=30%, optionally with ,confidence=…"),
        ({"sampler": dd.InfoBatchSampler(1438, epochs=9), "epochs": 2}, "made for 9 epochs, but the training has 2"),
        ({"sampler": dd.InfoBatchSampler(1438, epochs=9), "steps": 2}, "9 epochs, but the training has a budget in st"),
        ({"sampler": dd.InfoBatchSampler(100, epochs=2), "epochs": 2}, "draws from 100 examples, but there are 1438"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, options, words):
    with pytest.raises(OptionError, match=words):
        dd.train("digits", "datadiet:mlp", out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_another_schedule_in_the_same_folder_is_refused(tmp_path):
    def train(**options):
        made = dd.InfoBatchSampler(1438, epochs=1, **options)
        return dd.train("digits", "datadiet:mlp", sampler=made, epochs=1, out=tmp_path / "run")

    first = train()
    assert train().history == first.history
    with pytest.raises(OptionError, match="holds a run with sampler"):
        train(ratio=0.3)
