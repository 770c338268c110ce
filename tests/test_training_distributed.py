"""`dd.train` in two real processes: how often each kept example is presented, and that the ranks agree."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections import Counter

import pytest

WORLD, EPOCHS, BATCH = 2, 3, 8

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

    def _step(self, inputs, targets, positions, lr):
        seen[-1].append(positions.tolist())
        return super()._step(inputs, targets, positions, lr)

import datadiet.workflow.training as training
training.Trainer = Watching
found = {{}}
for k in keep:
    seen.clear()
    sampler = dd.SubsetSampler(range(100, 100 + k))
    result = dd.train("digits", "datadiet:mlp", sampler=sampler, epochs={EPOCHS}, recipe={{"batch_size": {BATCH}}})
    weights = torch.cat([p.detach().flatten() for p in result.model.parameters()])
    found[k] = {{"seen": [list(e) for e in seen], "steps": result.steps, "weights": weights.tolist()}}
    found[k]["accuracy"] = result.accuracy
with open(f"{{sys.argv[1]}}/rank-{{rank}}.json", "w") as file:
    json.dump(found, file)
dist.barrier()
dist.destroy_process_group()
os._exit(0)  # torch 2.15 sometimes aborts while the interpreter winds down after DDP over gloo
"""


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each rank saw, for 32 kept examples (which the batches share out evenly) and for 27 (which they do not)."""
    folder = tmp_path_factory.mktemp("ddp")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    (folder / "loop.py").write_text(SCRIPT)
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


def test_two_ranks_learn_what_one_process_learns(ranks):
    """The same examples in each step, so the same gradient up to the order of sums."""
    import datadiet as dd

    result = dd.train(
        "digits", "datadiet:mlp", sampler=dd.SubsetSampler(range(100, 132)), epochs=EPOCHS, recipe={"batch_size": BATCH}
    )
    alone = [value for p in result.model.parameters() for value in p.detach().flatten().tolist()]
    assert alone == pytest.approx(ranks[0]["32"]["weights"], rel=1e-3, abs=1e-4)
