"""The loss and the gradient of distillation, worked by hand, and training with a teacher that is killed and resumed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from datadiet.data import Feed, Normalisation, open_data
from datadiet.data.batch import Batch
from datadiet.errors import OptionError
from datadiet.models import open_model
from datadiet.runtime.tensors import save_tensors
from datadiet.sampling import InfoBatchSampler, SubsetSampler
from datadiet.tasks import Classification
from datadiet.training import Clock, Recipe, Trainer
from datadiet.training import loop as loop_module
from datadiet.training.distill import Distillation, MeanOf, TeacherNetwork, auto_kd_weight
from datadiet.training.hooks import Hook

pytestmark = pytest.mark.usefixtures("one_thread")


def batch_of(x, targets):
    return Batch(x, targets, torch.arange(len(targets)))


class Fixed:
    """A teacher that always says the same."""

    def __init__(self, logits):
        self.logits = logits

    def __call__(self, batch):
        return self.logits


def test_the_loss_by_hand():
    """z = (0, 0), t = (2 ln 3, 0), y = 1, T = 2, w = 1/4.

    softmax(z / T) = (1/2, 1/2) and softmax(t / T) = (3/4, 1/4): KL = 3/4 ln(3/2) + 1/4 ln(1/2) = .1308. CE = ln 2.
    The loss is 3/4 x .6931 + 1/4 x 4 x .1308 = .6507.
    """
    teacher = Fixed(torch.tensor([[2 * np.log(3), 0.0]]))
    objective = Distillation(Classification(2), teacher, 0.25, 2.0)
    outputs, losses = objective(lambda batch: torch.zeros(1, 2), batch_of(torch.zeros(1, 2), torch.tensor([1])))
    assert outputs.tolist() == [[0.0, 0.0]]
    assert losses.tolist() == pytest.approx([0.75 * np.log(2) + 0.75 * np.log(1.5) + 0.25 * np.log(0.5)])


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_gradient_is_the_one_written_by_hand(weight, temperature):
    """d loss / d z = (1 - w) (softmax(z) - onehot(y)) + w T (softmax(z / T) - softmax(t / T)), times the weight."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(6, 5, generator=generator, requires_grad=True)
    t = 3 * torch.randn(6, 5, generator=generator)
    y, weights = torch.tensor([0, 1, 2, 3, 4, 0]), torch.tensor([1.0, 2.0, 0.5, 0.0, 1.0, 3.0])
    objective = Distillation(Classification(5), Fixed(t), weight, temperature)
    _, losses = objective(lambda batch: z, batch_of(torch.zeros(6, 1), y))
    (losses * weights).sum().backward()
    with torch.no_grad():
        hard = z.softmax(1) - nn.functional.one_hot(y, 5)
        soft = (z / temperature).softmax(1) - (t / temperature).softmax(1)
        wanted = weights[:, None] * ((1 - weight) * hard + weight * temperature * soft)
    torch.testing.assert_close(z.grad, wanted, rtol=1e-5, atol=1e-6)


def test_several_teachers_are_averaged_each_on_inputs_of_its_own_scale():
    """The second one was trained on (x - 3) / 5, the student sees (x - 1) / 2."""
    first, second = nn.Linear(2, 3), nn.Linear(2, 3)
    own, other = Normalisation((1.0, 1.0), (2.0, 2.0)), Normalisation((3.0, 3.0), (5.0, 5.0))
    x = torch.tensor([[4.0, -1.0], [0.5, 7.0]])
    teacher = MeanOf([TeacherNetwork(first), TeacherNetwork(second, other.after(own))])
    found = teacher(batch_of(own(x), torch.tensor([0, 1])))
    torch.testing.assert_close(found, (first(own(x)) + second(other(x))) / 2)
    assert not found.requires_grad


@pytest.mark.parametrize("values", [{"weight": 1.1}, {"weight": -0.1}, {"weight": float("nan")}, {"temperature": 0.0}])
def test_weights_and_temperatures_that_cannot_be(values):
    with pytest.raises(OptionError, match=next(iter(values))):
        Distillation(Classification(2), Fixed(None), **{"weight": 0.5, "temperature": 4.0, **values})


def test_the_less_data_the_more_weight_for_the_teacher():
    weights = [auto_kd_weight(share) for share in (1.0, 0.5, 0.3, 0.1, 0.05, 0.001)]
    assert weights == sorted(weights) and all(0 < weight <= 1 for weight in weights)


class Rows:
    def __len__(self):
        return 40

    def __getitem__(self, i):
        return np.random.default_rng(i).standard_normal(3).astype(np.float32), i % 3


class Dying(Hook):
    """Stops the training before a step is over, as a kill does."""

    def __init__(self, steps):
        self.left = steps

    def after_step(self, trainer):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("killed_in", [1, 3, 4, 5])
@pytest.mark.parametrize("learning", [False, True], ids=["all examples", "InfoBatch"])
def test_a_student_killed_at_any_step_resumes_to_the_same_bits(tmp_path, monkeypatch, killed_in, learning):
    """With a schedule whose epochs differ in length, the weight of the teacher differs too."""
    monkeypatch.setattr(loop_module, "_SAVE_EVERY", 0.0)
    monkeypatch.setattr(loop_module, "_SAVE_SHARE", float("inf"))
    teacher = TeacherNetwork(open_model("datadiet:mlp", (3,), 3).fresh(9).eval())

    def trained(hooks=(), **keep):
        feed, task, clock = Feed(open_data(Rows()), None, torch.device("cpu")), Classification(3), Clock(epochs=3)
        shares.clear()
        objective = Distillation(task, teacher, weight_of(clock) if learning else 0.6, 4.0)
        order = InfoBatchSampler(40, epochs=3, anneal=1.0) if learning else SubsetSampler(40, seed=1)
        net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))
        with torch.no_grad():
            for number, p in enumerate(net.parameters()):
                p.copy_(torch.linspace(-1, 1, p.numel()).view(p.shape) / (number + 1))
        recipe = Recipe(lr=0.05, batch_size=16)
        run = Trainer(net, task, feed, order, recipe, clock, objective=objective, hooks=list(hooks))
        run.run(**keep)
        return torch.cat([p.detach().flatten() for p in net.parameters()]), run.history

    def weight_of(clock):
        def weight():
            shares.add(clock.shown / 40)
            return auto_kd_weight(clock.shown / 40)

        return weight

    shares = set()
    whole, history = trained([Dying(10**6)])
    assert (max(shares) == 1.0 and min(shares) < 0.9) if learning else not shares
    path = tmp_path / "state.safetensors"
    keep = {"state": path, "save": lambda content: save_tensors(path, *content)}
    with pytest.raises(KeyboardInterrupt):
        trained([Dying(killed_in + 1)], **keep)
    again, told = trained([Dying(10**6)], **keep)
    assert torch.equal(again, whole)
    assert [{**entry, "seconds": 0} for entry in told] == [{**entry, "seconds": 0} for entry in history]
