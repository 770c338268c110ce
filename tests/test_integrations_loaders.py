"""Loops of your own: torchdata's StatefulDataLoader, bare DDP, and Accelerate, with a schedule that learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader  # noqa: F401  for the scripts

import datadiet as dd
from datadiet.integrations import Dynamics
from datadiet.sampling.scored_sampler import Chosen, ScoredSampler

N, DIM, CLASSES, BATCH, EPOCHS = 32, 5, 3, 8, 3


class Hardest(ScoredSampler):
    """All examples in the first epoch, then the 16 with the largest losses; odd ones weigh more."""

    def __init__(self) -> None:
        super().__init__(N, 3, latest=np.zeros(N, dtype=np.float32))

    def choose(self, epoch: int) -> Chosen:
        kept = np.argsort(-self.learned["latest"], kind="stable")[: 16 if epoch else N]
        return Chosen(kept, 0.5 + np.arange(N, dtype=np.float32) % 2)


def data() -> list[tuple[torch.Tensor, int]]:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(N, DIM)).astype(np.float32), rng.integers(0, CLASSES, N)
    return [(torch.from_numpy(x[i]), int(y[i])) for i in range(N)]


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(DIM, CLASSES)


def loss_of(model: nn.Module, batch: Any, schedule: Any, dynamics: Dynamics) -> torch.Tensor:
    x, y, index = batch
    logits = model(x)
    losses = functional.cross_entropy(logits, y, reduction="none")
    dynamics.update(index, logits.detach(), y)
    weights = schedule.weights(index)
    return (losses if weights is None else losses * weights).mean()


def by_hand(schedule: Any = None) -> tuple[nn.Module, Dynamics, list[list[int]]]:
    """A whole training in one process, with steps of 8."""
    model, schedule, examples, seen = net(), schedule or Hardest(), data(), []
    optimizer, dynamics = torch.optim.SGD(model.parameters(), lr=0.1), Dynamics(N, schedule)
    for epoch in range(EPOCHS):
        length = schedule.begin(epoch)  # what it was given counts from here on
        order = schedule.order(epoch)(np.arange(length))
        for lo in range(0, len(order), BATCH):
            index = torch.from_numpy(order[lo : lo + BATCH])
            x, y = torch.stack([examples[i][0] for i in index]), torch.tensor([examples[i][1] for i in index])
            optimizer.zero_grad()
            loss_of(model, (x, y, index), schedule, dynamics).backward()
            optimizer.step()
            seen.append(index.tolist())
        dynamics.end_epoch()
    return model, dynamics, seen


def check_same(one: nn.Module, other: nn.Module, **tolerance: float) -> None:
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, **({"rtol": 1e-5, "atol": 1e-6} | tolerance))


def check_same_signals(one: Dynamics, other: Dynamics, **tolerance: float) -> None:
    one, other = one.finish(), other.finish()
    assert one.epochs("train") == other.epochs("train")
    for key, (wanted,) in other.parts.items():
        for name in wanted.column_names:
            given = {"rtol": 1e-4, "atol": 1e-5} | tolerance
            np.testing.assert_allclose(one.parts[key][0][name], wanted[name], **given)


# StatefulDataLoader


def stateful(sampler: Any, workers: int) -> Any:
    loading = pytest.importorskip("torchdata.stateful_dataloader", reason="the extra stateful")
    return loading.StatefulDataLoader(dd.Indexed(data()), batch_size=BATCH, sampler=sampler, num_workers=workers)


SAMPLERS = {
    "subset": lambda: dd.SubsetSampler(np.arange(0, N, 2)),
    "rs2": lambda: dd.RS2Sampler(N, 24, seed=5),
    "a part": lambda: dd.shard(dd.RS2Sampler(N, 24), 1, 2),
}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", SAMPLERS)
def test_a_static_sampler_resumes_within_an_epoch(kind: str, workers: int) -> None:
    make = SAMPLERS[kind]
    whole = stateful(make(), workers)
    batches = [index.tolist() for _ in range(4) for *_, index in whole]
    taken, states = stateful(make(), workers), []
    for _ in range(2):
        for *_, _index in taken:
            states.append(taken.state_dict())
    steps = len(batches) // 4
    for step in (0, steps, 2 * steps - 1):  # after the first step of epoch 0 and of epoch 1, and the last of epoch 1
        resumed = stateful(make(), workers)
        resumed.load_state_dict(states[step])
        rest = [index.tolist() for _ in range(3) for *_, index in resumed]
        assert len(rest) >= steps and rest[:steps] == batches[step + 1 :][:steps]


@pytest.mark.parametrize("step", [2, 5, 7])
def test_a_schedule_resumes_within_an_epoch_with_workers(step: int, tmp_path: Path) -> None:
    """Killed after a step, with what it saved read from a file."""
    wanted, recording, batches = by_hand()

    def run(resume: Any, stop: int | None) -> Any:
        model, schedule, seen = net(), Hardest(), []
        optimizer, dynamics = torch.optim.SGD(model.parameters(), lr=0.1), Dynamics(N, schedule)
        loader, done, first = stateful(schedule, 2), 0, 0
        if resume is not None:
            model.load_state_dict(resume["model"])
            dynamics.load_state_dict(resume["dynamics"])
            loader.load_state_dict(resume["loader"])
            done, first = resume["done"], resume["epoch"]
        for epoch in range(first, EPOCHS):
            schedule.begin(epoch)
            for batch in loader:
                optimizer.zero_grad()
                loss_of(model, batch, schedule, dynamics).backward()
                optimizer.step()
                seen.append(batch[2].tolist())
                done += 1
                if done == stop:
                    state = {
                        "model": model.state_dict(),
                        "dynamics": dynamics.state_dict(),
                        "loader": loader.state_dict(),
                    }
                    torch.save({**state, "done": done, "epoch": epoch}, tmp_path / "state.pt")
                    return model, dynamics, seen
            dynamics.end_epoch()
        return model, dynamics, seen

    _, _, before = run(None, step)
    model, dynamics, after = run(torch.load(tmp_path / "state.pt", weights_only=False), None)
    assert before + after == batches
    check_same(model, wanted)
    check_same_signals(dynamics, recording)


# Two processes

TWO = """
import importlib.util, os, sys
from pathlib import Path
import torch
import torch.distributed as dist
spec = importlib.util.spec_from_file_location("tests_loaders", sys.argv[1])
tests = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tests)
torch.set_num_threads(1)
out, rank = Path(sys.argv[2]), int(os.environ["RANK"])
wanted, recording, batches = tests.by_hand()
STOP = 5  # after the first of the two steps of the second epoch
"""

DDP = """
dist.init_process_group("gloo")

def run(state):
    schedule = tests.dd.shard(tests.Hardest(), rank, 2)
    model = torch.nn.parallel.DistributedDataParallel(tests.net())
    optimizer, dynamics = torch.optim.SGD(model.parameters(), lr=0.1), tests.Dynamics(tests.N, schedule)
    loader = tests.DataLoader(tests.dd.Indexed(tests.data()), batch_size=4, sampler=schedule)
    seen, done, first = [], 0, 0
    if state is not None:
        model.module.load_state_dict(state["model"])
        dynamics.load_state_dict(state["dynamics"])
        schedule.load_state_dict({**schedule.state_dict(), "epoch": 1, "pos": 4})
        done, first = STOP, 1
    for epoch in range(first, tests.EPOCHS):
        schedule.begin(epoch)
        for batch in loader:
            optimizer.zero_grad()
            tests.loss_of(model, batch, schedule, dynamics).backward()
            optimizer.step()
            seen.append(batch[2].tolist())
            done += 1
            if state is None and done == STOP:
                saved = {"model": model.module.state_dict(), "dynamics": dynamics.state_dict()}
                if rank == 0:
                    torch.save(saved, out / "state.pt")
                dist.barrier()
        dynamics.end_epoch()
    return model.module, dynamics, seen

model, dynamics, seen = run(None)
assert seen == [batch[rank::2] for batch in batches], (seen, batches)
tests.check_same(model, wanted)
tests.check_same_signals(dynamics, recording)
again, resumed, rest = run(torch.load(out / "state.pt", weights_only=True))
assert rest == seen[STOP:]
tests.check_same(again, model, rtol=0, atol=0)
tests.check_same_signals(resumed, dynamics, rtol=0, atol=0)
"""

ACCELERATE = """
from accelerate import Accelerator, skip_first_batches
accelerator = Accelerator(cpu=True)
assert accelerator.num_processes == 2

def run(resume):
    accelerator._custom_objects, accelerator._models, accelerator._optimizers, accelerator._dataloaders = [], [], [], []
    schedule = tests.Hardest()
    dynamics = tests.Dynamics(tests.N, schedule)
    accelerator.register_for_checkpointing(dynamics)
    net = tests.net()
    model, optimizer, loader = accelerator.prepare(
        net, torch.optim.SGD(net.parameters(), lr=0.1),
        tests.DataLoader(tests.dd.Indexed(tests.data()), batch_size=4, sampler=schedule),
    )
    seen, done, first = [], 0, 0
    if resume:
        accelerator.load_state(out / "state")
        done, first = STOP, 1
    for epoch in range(first, tests.EPOCHS):
        loader.set_epoch(epoch)
        batches = skip_first_batches(loader, STOP - 4) if resume and epoch == first else loader
        for batch in batches:
            optimizer.zero_grad()
            accelerator.backward(tests.loss_of(model, batch, schedule, dynamics))
            optimizer.step()
            seen.append(batch[2].tolist())
            done += 1
            if not resume and done == STOP:
                accelerator.save_state(out / "state")
        dynamics.end_epoch()
    return accelerator.unwrap_model(model), dynamics, seen

model, dynamics, seen = run(False)
assert seen == [batch[4 * rank : 4 * rank + 4] for batch in batches], (seen, batches)
tests.check_same(model, wanted)
tests.check_same_signals(dynamics, recording)
again, resumed, rest = run(True)
assert rest == seen[STOP:], (rest, seen)
tests.check_same(again, model, rtol=0, atol=0)
tests.check_same_signals(resumed, dynamics, rtol=0, atol=0)
"""


def test_two_processes_train_as_one(tmp_path: Path, check_in_two: Any) -> None:
    """The weights, the order and the signals of one process; also when resumed within an epoch."""
    pytest.importorskip("accelerate")
    check_in_two(TWO + DDP + ACCELERATE, __file__, tmp_path)
