"""Two real processes: how often each kept example is seen, under bare DDP with `shard` and under Accelerate without."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import datadiet
from datadiet.errors import OptionError
from datadiet.sampling import RS2Sampler, SubsetSampler, shard

WORLD, BATCH, N, EPOCHS = 2, 4, 60, 3

# Both scripts write, for each case, the examples seen: [epoch][rank][step] -> list.
COMMON = f"""
import json, os, sys, warnings
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader
from datadiet.sampling import RS2Sampler, SubsetSampler, shard

torch.set_num_threads(1)
cases, out = json.loads(sys.argv[1]), sys.argv[2]

def gathered(batches):
    everyone = [None] * {WORLD}
    dist.all_gather_object(everyone, batches)
    return everyone

def finish(seen):
    if dist.get_rank() == 0:
        with open(out, "w") as file:
            json.dump(seen, file)
    dist.barrier()
    dist.destroy_process_group()
    # One run in ten, torch 2.15 aborts while the interpreter winds down after DDP over gloo.
    os._exit(0)
"""

DDP = f"""
dist.init_process_group("gloo")
seen = {{}}
for name, (keep, drop_last) in cases.items():
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(1, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler = shard(RS2Sampler({N}, keep), dist.get_rank(), {WORLD}, drop_last=drop_last)
    loader = DataLoader(list(range({N})), batch_size={BATCH}, sampler=sampler)
    seen[name] = []
    for epoch in range({EPOCHS}):
        batches = []
        for batch in loader:
            model(batch[:, None].float()).sum().backward()
            batches.append(batch.tolist())
        seen[name].append(gathered(batches))
finish(seen)
"""

ACCELERATE = f"""
from accelerate import Accelerator
accelerator = Accelerator(cpu=True)
assert accelerator.num_processes == {WORLD}
seen = {{}}
for name, (kind, keep) in cases.items():
    sampler = RS2Sampler({N}, keep) if kind != "subset" else SubsetSampler(range(0, 2 * keep, 2))
    if kind == "sharded by mistake":
        sampler = shard(sampler, accelerator.process_index, {WORLD})
    loader = DataLoader(list(range({N})), batch_size={BATCH}, sampler=sampler)
    model, loader = accelerator.prepare(torch.nn.Linear(1, 1), loader)
    seen[name] = []
    for epoch in range({EPOCHS}):
        batches = []
        for batch in loader:
            accelerator.backward(model(batch[:, None].float()).sum())
            batches.append(batch.tolist())
        seen[name].append(gathered(batches))
finish(seen)
"""

Seen = dict[str, list[list[list[list[int]]]]]


def run_on_two(script: str, cases: dict[str, Any], folder: Path) -> Seen:
    (folder / "script.py").write_text(COMMON + script)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": str(WORLD), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    shared["PYTHONPATH"] = str(Path(datadiet.__file__).parents[1])
    command = [sys.executable, str(folder / "script.py"), json.dumps(cases), str(folder / "seen.json")]
    processes = [
        subprocess.Popen(
            command,
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank), "CUDA_VISIBLE_DEVICES": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(WORLD)
    ]
    try:
        outputs = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * WORLD, "\n".join(outputs)
    return json.loads((folder / "seen.json").read_text())


def flat(ranks: list[list[list[int]]]) -> list[int]:
    return [example for batches in ranks for batch in batches for example in batch]


# Bare DDP: (keep, drop_last)

DDP_CASES = {
    "batch x world divides k": (24, False),
    "world divides k": (22, False),
    "odd k": (21, False),
    "odd k, drop_last": (21, True),
    "fewer than world": (1, False),
}


@pytest.fixture(scope="module")
def ddp(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return run_on_two(DDP, DDP_CASES, tmp_path_factory.mktemp("ddp"))


@pytest.mark.parametrize("case", DDP_CASES)
def test_ddp_sees_each_kept_example_as_promised(ddp: Seen, case: str) -> None:
    keep, drop_last = DDP_CASES[case]
    whole = RS2Sampler(N, keep)
    assert len(ddp[case]) == EPOCHS
    for ranks in ddp[case]:
        order = list(whole)
        counts = Counter(flat(ranks))
        assert [len(batches) for batches in ranks] == [len(ranks[0])] * WORLD
        if drop_last:
            assert counts == dict.fromkeys(order[: keep - keep % WORLD], 1)
        else:
            expected = Counter(order) + Counter(order[: -keep % WORLD])
            assert counts == expected
            assert sum(counts.values()) - keep == -keep % WORLD


def test_ddp_ranks_take_turns_in_the_global_order(ddp: Seen) -> None:
    whole = RS2Sampler(N, 24)
    for ranks in ddp["batch x world divides k"]:
        turns = [[example for batch in batches for example in batch] for batches in ranks]
        assert [example for turn in zip(*turns, strict=True) for example in turn] == list(whole)


# Accelerate: (kind, keep)

ACCELERATE_CASES = {
    "rs2": ("rs2", 24),
    "subset": ("subset", 24),
    "rs2, padded by Accelerate": ("rs2", 21),
    "sharded by mistake": ("sharded by mistake", 24),
}


@pytest.fixture(scope="module")
def accelerated(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    pytest.importorskip("accelerate", reason="shows that the samplers are right under Accelerate")
    return run_on_two(ACCELERATE, ACCELERATE_CASES, tmp_path_factory.mktemp("accelerate"))


@pytest.mark.parametrize("case", ["rs2", "subset"])
def test_accelerate_sees_each_kept_example_once(accelerated: Seen, case: str) -> None:
    whole = RS2Sampler(N, 24) if case == "rs2" else SubsetSampler(np.arange(0, 48, 2))
    assert len(accelerated[case]) == EPOCHS
    for ranks in accelerated[case]:
        assert Counter(flat(ranks)) == Counter(list(whole))
        assert [len(flat([batches])) for batches in ranks] == [12, 12]
    assert len({tuple(flat(ranks)) for ranks in accelerated[case]}) == EPOCHS


def test_accelerate_sees_each_kept_example_at_least_once(accelerated: Seen) -> None:
    whole = RS2Sampler(N, 21)
    for ranks in accelerated["rs2, padded by Accelerate"]:
        counts = Counter(flat(ranks))
        assert set(counts) == set(whole)
        assert sum(counts.values()) == 24


def test_sharding_under_accelerate_loses_examples(accelerated: Seen) -> None:
    # Why `shard` is for bare DDP only, and that the tests above would notice.
    for ranks in accelerated["sharded by mistake"]:
        assert len(set(flat(ranks))) < 24


# shard, in one process


@pytest.mark.parametrize("keep", [1, 2, 3, 7, 12, 60])
@pytest.mark.parametrize("world", [1, 2, 3, 5, 8])
def test_parts_are_the_padded_order_in_strides(keep: int, world: int) -> None:
    order = list(RS2Sampler(N, keep))
    rounds = -(-keep // world)
    padded = (order * world)[: rounds * world]
    for rank in range(world):
        part = shard(RS2Sampler(N, keep), rank, world)
        assert list(part) == padded[rank::world]
        assert len(part) == rounds
        assert part.repeats == len(padded) - keep


@pytest.mark.parametrize(("keep", "world"), [(7, 2), (7, 3), (12, 5)])
def test_drop_last_cuts_and_says_so(keep: int, world: int) -> None:
    order = list(RS2Sampler(N, keep))
    for rank in range(world):
        with pytest.warns(UserWarning, match=f"loses {keep % world} of {keep} examples") as caught:
            part = shard(RS2Sampler(N, keep), rank, world, drop_last=True)
            assert list(part) == order[: keep - keep % world][rank::world]
            list(part)
        assert len(caught) == 1
        assert part.repeats == 0


def test_drop_last_is_silent_when_nothing_is_lost(recwarn: pytest.WarningsRecorder) -> None:
    assert len(shard(RS2Sampler(N, 8), 0, 2, drop_last=True)) == 4
    assert not recwarn.list


def test_epoch_and_state_belong_to_the_part() -> None:
    whole, sampler = RS2Sampler(N, 20), RS2Sampler(N, 20)
    sampler.set_epoch(2)
    parts = [shard(sampler, rank, 2) for rank in range(2)]
    assert [part.epoch for part in parts] == [2, 2]
    for epoch in (2, 3):
        whole.set_epoch(epoch)
        order = list(whole)
        assert [list(part) for part in parts] == [order[0::2], order[1::2]]
    parts[0].set_epoch(7)
    assert sampler.epoch == 7

    whole.set_epoch(9)
    resumed = shard(RS2Sampler(N, 20), 1, 2)
    resumed.load_state_dict({"seed": 0, "epoch": 9, "pos": 4})
    assert list(resumed) == list(whole)[1::2][4:]


@pytest.mark.parametrize(("rank", "world"), [(2, 2), (-1, 2), (0, 0)])
def test_refuses_an_impossible_rank(rank: int, world: int) -> None:
    with pytest.raises(OptionError, match=rf"rank={rank} of world={world}|rank=-1: give|world=0: give"):
        shard(SubsetSampler(10), rank, world)


def test_refuses_what_cannot_be_sharded() -> None:
    with pytest.raises(OptionError, match="already the part of rank 0 of 2"):
        shard(shard(SubsetSampler(10), 0, 2), 0, 2)
    with pytest.raises(OptionError, match="list cannot be sharded"):
        shard([1, 2, 3], 0, 2)
    with pytest.raises(OptionError, match="leaves none"):
        shard(SubsetSampler(3), 0, 4, drop_last=True)
