"""A Recorder in two real processes: every rank has the same table, of each example once."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

WORLD, N, EPOCHS = 2, 13, 3

SCRIPT = f"""
import json, os, sys
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset
import datadiet as dd

torch.set_num_threads(1)
dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
data = TensorDataset(torch.randn({N}, 4), torch.randint(0, 3, ({N},)))
model = nn.parallel.DistributedDataParallel(nn.Linear(4, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
sampler = DistributedSampler(data, shuffle=True)  # pads 13 to 14
rec = dd.Recorder(n=len(data))
shown = []  # [epoch][step] -> [[row, margin, correct], ...] of this rank
for epoch in range({EPOCHS}):
    sampler.set_epoch(epoch)
    shown.append([])
    for x, y, index in DataLoader(dd.Indexed(data), batch_size=3, sampler=sampler):
        logits = model(x)
        rec.update(index, logits, y)
        z = logits.detach()
        own = z[range(len(y)), y]
        rival = z.scatter(1, y[:, None], -torch.inf).amax(1)
        shown[-1].append([[int(i), float(m), bool(m > 0)] for i, m in zip(index, own - rival)])
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits, y).backward()
        optimizer.step()
    rec.end_epoch()

# By hand: row 0 comes to rank 1 first, and later to rank 0; rank 1 has fewer rows.
uneven = dd.Recorder(n=5)
for rows in ([[1, 2], [0, 3]], [[0], [4]])[rank]:
    margins = torch.tensor([10.0 * row + rank for row in rows])
    uneven.update(rows, torch.stack([0 * margins, margins], 1), torch.ones(len(rows), dtype=torch.int64))
uneven.end_epoch()
values, seen = uneven.finish().array("margin", "train", [1])
by_hand = dict(margin=values.tolist(), seen=seen.tolist(), repeats=uneven.repeats)

signals = rec.finish()
everything = {{s: [a.tolist() for a in signals.array(s, "train", [1, 2, 3])] for s in ("margin", "correct", "loss")}}
with open(f"{{sys.argv[1]}}/rank-{{rank}}.json", "w") as file:
    json.dump({{"signals": everything, "repeats": rec.repeats, "shown": shown, "by_hand": by_hand}}, file)
dist.barrier()
dist.destroy_process_group()
os._exit(0)  # torch 2.15 sometimes aborts while the interpreter winds down after DDP over gloo
"""


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What the two ranks saw and recorded."""
    folder = tmp_path_factory.mktemp("ddp")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    (folder / "loop.py").write_text(SCRIPT)
    common = {**os.environ, "WORLD_SIZE": str(WORLD), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(
            [sys.executable, folder / "loop.py", folder],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(WORLD)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * WORLD, errors
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(WORLD)]


def test_both_ranks_hold_the_same_table_of_every_example(ranks):
    assert ranks[0]["signals"] == ranks[1]["signals"]
    margins, seen = map(np.array, ranks[0]["signals"]["margin"])
    assert margins.shape == (1, EPOCHS, N) and seen.all()


def test_the_repeats_of_the_padding_are_counted_and_the_first_presentation_is_kept(ranks):
    margins = np.array(ranks[0]["signals"]["margin"][0])[0]
    correct = np.array(ranks[0]["signals"]["correct"][0])[0]
    repeats = 0
    for epoch in range(EPOCHS):
        first = {}
        steps = [rank["shown"][epoch] for rank in ranks]
        for batches in zip(*steps, strict=True):  # by step, then by rank
            for row, margin, right in (entry for batch in batches for entry in batch):
                repeats += row in first
                first.setdefault(row, (margin, right))
        assert set(first) == set(range(N))
        np.testing.assert_allclose(margins[epoch], [first[row][0] for row in range(N)], rtol=1e-5, atol=1e-6)
        assert correct[epoch].tolist() == [first[row][1] for row in range(N)]
    assert ranks[0]["repeats"] == ranks[1]["repeats"] == repeats == EPOCHS


@pytest.mark.parametrize("rank", [0, 1])
def test_what_comes_first_is_a_matter_of_steps_not_of_ranks(ranks, rank):
    # margin = 10 row + rank: row 0 was first presented on rank 1
    wanted = {"margin": [[[1.0, 10.0, 20.0, 30.0, 41.0]]], "seen": [[[True] * 5]], "repeats": 1}
    assert ranks[rank]["by_hand"] == wanted


def test_each_rank_presented_its_own_half(ranks):
    """Otherwise the gathering was not tried at all."""
    rows = [{row for step in rank["shown"][0] for row, *_ in step} for rank in ranks]
    assert rows[0] != rows[1] and [len(r) for r in rows] == [7, 7]
