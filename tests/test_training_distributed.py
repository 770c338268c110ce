"""`dd.train` in two real processes: how often each kept example is presented, and that the ranks agree."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch

WORLD, EPOCHS, BATCH = 2, 3, 8

IMAGES = """
import numpy as np
from torch import nn

def net():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)
    )

def small():
    model = net()
    model(torch.zeros(1, 3, 24, 24))
    return model

def train_on_images(folder):
    # 64 colour images, flipped and shifted, 4 epochs of the recipe's views
    recipe = {"batch_size": 8, "augment": "flip,translate:2", "lr": 0.02}
    result = dd.train(f"npz:{folder}/images.npz", small, epochs=1, recipe=recipe)
    return [float(value) for p in result.model.parameters() for value in p.detach().flatten()]
"""

SCHEDULE = """
class Halving:
    # the half of the examples that had the highest losses
    reads = "loss"

    def __init__(self, n):
        self.losses, self.lengths = np.zeros(n), []

    def begin(self, epoch):
        if epoch == 0:
            self.kept = np.arange(len(self.losses))
        else:
            self.kept = np.argsort(-self.losses, kind="stable")[: len(self.losses) // 2**epoch]
        self.lengths.append(len(self.kept))
        return len(self.kept)

    def order(self, epoch):
        return lambda positions: self.kept[positions]

    def update(self, index, values):
        self.losses[index.numpy()] = values.numpy()

    def weights(self, index):
        return None

    def state_dict(self):
        return {"losses": self.losses}

    def load_state_dict(self, state):
        self.losses = state["losses"]

def plain():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

def train_by_schedule():
    schedule = Halving(1024)
    result = dd.train("digits", plain, sampler=schedule, epochs=3, recipe={"batch_size": 32, "lr": 0.02})
    return {"losses": schedule.losses.tolist(), "lengths": schedule.lengths, "history": result.history}
"""

TEACHER = """
def train_with_a_teacher():
    teacher = plain()
    with torch.no_grad():
        for number, p in enumerate(teacher.parameters()):
            p.copy_(torch.linspace(-1, 1, p.numel()).view(p.shape) / (1 + number))
    result = dd.train(
        "digits", plain, sampler=dd.SubsetSampler(range(1024)), teacher=teacher, kd_weight=0.7, epochs=1,
        recipe={"batch_size": 32, "lr": 0.02},
    )
    return [float(value) for p in result.model.parameters() for value in p.detach().flatten()]
"""

PRUNED = """
def train_pruned(**how):
    result = dd.train(
        "digits", plain, sampler=dd.SubsetSampler(range(1024)), sparsify="global_magnitude:0.7", epochs=1,
        recipe={"batch_size": 32, "lr": 0.02}, **how,
    )
    return [float(value) for p in result.model.parameters() for value in p.detach().flatten()]

def train_by_masks():
    return {
        "bip": train_pruned(sparsify_when="bip:0-1"),
        "adapters": train_pruned(sparsify_when="start", trainable=["biases", "adapters:4"]),
    }
"""

LEARNING = """
NAMES = (
    "infobatch", "seta:groups=3,window=0.5", "gradient_norm:unbiased=true", "epsilon_greedy:keep=30%", "ucb:keep=30%",
    "forgetting_removal:remove=0.5,interval=0.3,until=0.7",
)

def train_by_name(name):
    # losses and error norms that are functions of the example alone, and a network that does not change
    from datadiet.sampling.scored_sampler import ScoredSampler
    from datadiet.tasks import Classification
    orders, given = [], {}
    begin, update = ScoredSampler.begin, ScoredSampler.update

    def begin_and_note(self, epoch):
        length = begin(self, epoch)
        if len(orders) <= epoch:
            orders.append([])
        orders[epoch] = self.order(epoch)(np.arange(length)).tolist()
        return length

    def of_the_example(self, index, values):
        again = (index * 2654435761 % 1009).double() / 1009
        update(self, index, (again < 0.6) if self.reads == "correct" else again)

    ScoredSampler.begin, ScoredSampler.update = begin_and_note, of_the_example
    try:
        recipe = {"batch_size": 32, "lr": 1e-9}
        result = dd.train("digits", "datadiet:mlp", sampler=name, epochs=5, recipe=recipe)
    finally:
        ScoredSampler.begin, ScoredSampler.update = begin, update
    return {"orders": orders, "steps": result.steps}

def own_loop(rank, world):
    # 45 examples, which two ranks do not share out evenly; each rank is given its own losses
    losses = np.random.default_rng(0).exponential(1, (6, 45)).astype(np.float32)
    sampler, orders = dd.InfoBatchSampler(45, epochs=8), []
    part = dd.shard(sampler, rank, world)
    for epoch in range(6):
        part.set_epoch(epoch)
        orders.append(sampler.order(epoch)(np.arange(len(sampler))).tolist())
        index = np.array(list(part))
        for batch in np.array_split(index, 3):
            sampler.update(batch, losses[epoch][batch])
        sampler.gather()
    return orders
"""

SCRIPT = f"""
import json, os, sys
import torch
import torch.distributed as dist
import datadiet as dd
from datadiet.training.loop import Trainer

torch.set_num_threads(1)
dist.init_process_group("gloo")
rank = dist.get_rank()
keep = json.loads(sys.argv[2])
seen = []  # [epoch][step] -> positions

class Watching(Trainer):
    def _epoch(self, *rest):
        seen.append([])
        super()._epoch(*rest)

    def _step(self, batch, lr):
        seen[-1].append(batch.rows.tolist())
        return super()._step(batch, lr)

import datadiet.workflow.fitting.training_job as training
training.Trainer = Watching
found = {{}}
for k in keep:
    seen.clear()
    sampler = dd.SubsetSampler(range(100, 100 + k))
    result = dd.train("digits", "datadiet:mlp", sampler=sampler, epochs={EPOCHS}, recipe={{"batch_size": {BATCH}}})
    weights = torch.cat([p.detach().flatten() for p in result.model.parameters()])
    found[k] = {{"seen": [list(e) for e in seen], "steps": result.steps, "weights": weights.tolist()}}
    found[k]["accuracy"] = result.accuracy
{IMAGES}
{SCHEDULE}
{TEACHER}
found["taught"] = train_with_a_teacher()
{PRUNED}
found["pruned"] = train_by_masks()
{LEARNING}
found["schedule"] = train_by_schedule()
found["own_loop"] = own_loop(rank, dist.get_world_size())
found["learning"] = {{name: train_by_name(name) for name in NAMES}}
found["refused"] = []
for verb, options in (
    (dd.score, dict(scorers="el2n", epochs=1)),
    (dd.score, dict(scorers="el2n", out=sys.argv[1] + "/scored")),
    (dd.score, dict(scorers="el2n")),
):
    try:
        verb("digits", "datadiet:mlp" if "epochs" in options else plain(), **options)
        found["refused"].append("")
    except dd.OptionError as error:
        found["refused"].append(str(error))
found["images"] = train_on_images(sys.argv[1])
with open(f"{{sys.argv[1]}}/rank-{{rank}}.json", "w") as file:
    json.dump(found, file)
dist.barrier()
dist.destroy_process_group()
os._exit(0)  # torch 2.15 sometimes aborts while the interpreter winds down after DDP over gloo
"""


def write_images(folder):
    rng = np.random.default_rng(0)
    labels = np.arange(64) % 3
    images = rng.integers(0, 128, (64, 3, 24, 24), dtype=np.uint8) + 40 * labels[:, None, None, None].astype(np.uint8)
    np.savez(folder / "images.npz", x=images, y=labels)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each rank saw, for 32 kept examples (which the batches share out evenly) and for 27 (which they do not)."""
    folder = tmp_path_factory.mktemp("ddp")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    (folder / "loop.py").write_text(SCRIPT)
    write_images(folder)
    common = {**os.environ, "WORLD_SIZE": str(WORLD), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(
            [sys.executable, folder / "loop.py", folder, json.dumps([32, 27])],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(WORLD)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * WORLD, errors
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(WORLD)]


def presentations(ranks, k, epoch):
    return Counter(i for rank in ranks for batch in rank[str(k)]["seen"][epoch] for i in batch)


def test_each_kept_example_is_presented_once_an_epoch(ranks):
    for epoch in range(EPOCHS):
        assert presentations(ranks, 32, epoch) == Counter(range(100, 132))
    first = [rank["32"]["seen"] for rank in ranks]
    assert all(len(batch) == BATCH // WORLD for seen in first for epoch in seen for batch in epoch)
    assert first[0] != first[1]


def test_an_uneven_number_is_padded_by_repeats(ranks):
    for epoch in range(EPOCHS):
        counts = presentations(ranks, 27, epoch)
        assert set(counts) == set(range(100, 127)) and sorted(counts.values()) == [1] * 26 + [2]


@pytest.mark.parametrize("k", [32, 27])
def test_the_ranks_take_the_steps_of_one_process_and_end_with_equal_weights(ranks, k):
    a, b = (rank[str(k)] for rank in ranks)
    assert a["weights"] == b["weights"] and a["accuracy"] == b["accuracy"]
    assert a["steps"] == b["steps"] == EPOCHS * -(-k // BATCH) == sum(map(len, a["seen"]))


def test_scoring_in_a_process_group_trains_nothing_and_writes_on_rank_0(ranks):
    """A trained network is evaluated by whichever rank asks."""
    first, second = (rank["refused"] for rank in ranks)
    assert first[0] == second[0] and "score trains in one process, but this is one of 2" in first[0]
    assert first[1] == "" and "but this is rank 1: call it on rank 0" in second[1]
    assert first[2] == second[2] == ""


def test_a_schedule_that_learns_learns_the_same_from_two_ranks(ranks):
    """1024, 512 and 256 examples in batches of 32: the losses of all ranks reach the schedule of each."""
    names = {}
    exec("import datadiet as dd, numpy as np\nfrom torch import nn" + SCHEDULE, names)
    alone = names["train_by_schedule"]()
    for rank in (rank["schedule"] for rank in ranks):
        assert rank["lengths"][-3:] == alone["lengths"][-3:] == [1024, 512, 256]
        np.testing.assert_allclose(rank["losses"], alone["losses"], rtol=1e-4, atol=1e-6)
        for ours, theirs in zip(rank["history"], alone["history"], strict=True):
            assert ours["step"] == theirs["step"]
            assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
    assert ranks[0]["schedule"]["losses"] == ranks[1]["schedule"]["losses"]


def test_two_ranks_learn_from_a_teacher_what_one_process_learns(ranks):
    """No batch normalisation and no dropout, so only the order of sums differs."""
    names = {}
    exec("import datadiet as dd, numpy as np, torch\nfrom torch import nn" + SCHEDULE + TEACHER, names)
    alone = names["train_with_a_teacher"]()
    assert ranks[0]["taught"] == ranks[1]["taught"]
    np.testing.assert_allclose(ranks[0]["taught"], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("how", ["bip", "adapters"])
def test_two_ranks_prune_and_adapt_as_one_process_does(ranks, how):
    """The batches that decide on masks are the same, in two parts; factors of adapters get the mean gradient."""
    names = {}
    exec("import datadiet as dd, numpy as np, torch\nfrom torch import nn" + SCHEDULE + PRUNED, names)
    alone = names["train_by_masks"]()[how]
    assert ranks[0]["pruned"][how] == ranks[1]["pruned"][how]
    np.testing.assert_allclose(ranks[0]["pruned"][how], alone, rtol=1e-4, atol=1e-6)


def test_two_ranks_present_in_the_order_of_one_process_when_losses_are_equal(ranks):
    """Every schedule that learns: the values of each example are the same, whoever presents it and in which batch."""
    space = {}
    exec("import datadiet as dd, numpy as np" + LEARNING, space)
    for name in space["NAMES"]:
        alone = space["train_by_name"](name)
        assert len(set(map(tuple, alone["orders"]))) == 5
        for rank in ranks:
            assert rank["learning"][name]["orders"] == alone["orders"], name
            assert rank["learning"][name]["steps"] == alone["steps"]


def test_samplers_that_gather_have_the_order_of_one_process(ranks):
    space = {}
    exec("import datadiet as dd, numpy as np" + LEARNING, space)
    alone = space["own_loop"](0, 1)
    assert len(alone[0]) == 45 and max(map(len, alone[1:])) < 40
    assert ranks[0]["own_loop"] == ranks[1]["own_loop"] == alone


def test_two_ranks_learn_what_one_process_learns(ranks):
    """The same examples in each step, so the same gradient up to the order of sums."""
    import datadiet as dd

    result = dd.train(
        "digits", "datadiet:mlp", sampler=dd.SubsetSampler(range(100, 132)), epochs=EPOCHS, recipe={"batch_size": BATCH}
    )
    alone = [value for p in result.model.parameters() for value in p.detach().flatten().tolist()]
    assert alone == pytest.approx(ranks[0]["32"]["weights"], rel=1e-3, abs=1e-4)


def test_two_ranks_see_the_augmented_views_of_one_process(ranks, tmp_path):
    """A view is a function of (seed, view, example), so each step has the gradient that one process has."""
    import datadiet as dd

    write_images(tmp_path)
    space = {"dd": dd, "torch": torch}
    exec(IMAGES, space)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = np.array(space["train_on_images"](tmp_path))
    torch.set_num_threads(threads)
    two = np.array(ranks[0]["images"])
    assert ranks[0]["images"] == ranks[1]["images"]
    np.testing.assert_allclose(two, alone, rtol=1e-5, atol=1e-6)
    clean = dd.train(
        f"npz:{tmp_path}/images.npz", space["small"], epochs=1, recipe={"batch_size": 8, "augment": "none", "lr": 0.02}
    )
    without = np.array([float(value) for p in clean.model.parameters() for value in p.detach().flatten()])
    assert np.abs(without - alone).max() > 1e-3, "the views differ from the clean images"
