"""The Lightning callback in a real Trainer, beside loops written by hand."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import BatchSampler, DataLoader

import datadiet as dd
from datadiet.errors import OptionError
from datadiet.integrations import Dynamics
from datadiet.sampling.scored_sampler import Chosen, ScoredSampler

pl = pytest.importorskip("lightning.pytorch")
from datadiet.integrations import DynamicsCallback  # noqa: E402

N, DIM, CLASSES, BATCH, EPOCHS = 24, 5, 3, 4, 3
pytestmark = pytest.mark.usefixtures("one_thread")


class Hardest(ScoredSampler):
    """All examples in the first epoch, then the 16 with the largest losses; odd ones weigh more."""

    def __init__(self) -> None:
        super().__init__(N, 3, latest=np.zeros(N, dtype=np.float32))

    def choose(self, epoch: int) -> Chosen:
        kept = np.argsort(-self.learned["latest"], kind="stable")[: 16 if epoch else N]
        return Chosen(kept, 0.5 + np.arange(N, dtype=np.float32) % 2)


class Module(pl.LightningModule):
    def __init__(self, schedule: Any = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head, self.schedule, self.seen = nn.Linear(DIM, CLASSES), schedule, []

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, torch.Tensor]:
        x, y, index = batch
        self.seen.append(index.tolist())
        logits = self.head(x)
        losses = functional.cross_entropy(logits, y, reduction="none")
        weights = None if self.schedule is None else self.schedule.weights(index)
        return {"loss": (losses if weights is None else losses * weights).mean(), "logits": logits}

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.head(batch[0])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def data(n: int = N) -> list[tuple[torch.Tensor, int]]:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(n, DIM)).astype(np.float32), rng.integers(0, CLASSES, n)
    return [(torch.from_numpy(x[i]), int(y[i])) for i in range(n)]


def loader(sampler: Any, workers: int = 0, kind: Any = DataLoader) -> Any:
    return kind(dd.Indexed(data()), batch_size=BATCH, sampler=sampler, num_workers=workers)


def trainer(out: Path, *callbacks: Any, **options: Any) -> Any:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    given = {"max_epochs": EPOCHS, "enable_checkpointing": False, "devices": 1, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pl.Trainer(default_root_dir=out, callbacks=list(callbacks), **quiet, **given)


def fit(made: Any, module: Any, *loaders: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few workers, short epochs
        made.fit(module, *loaders, **options)
    return module


def by_hand(schedule: Any, weighted: bool, step: int = BATCH) -> Any:
    module, recorder, examples = Module(), dd.Recorder(N), data()
    optimizer, dynamics = torch.optim.SGD(module.parameters(), lr=0.1), Dynamics(N, schedule, record=False)
    for epoch in range(EPOCHS):
        length = schedule.begin(epoch)  # what it was given counts from here on
        order = schedule.order(epoch)(np.arange(length))
        for lo in range(0, len(order), step):
            index = order[lo : lo + step]
            x, y = torch.stack([examples[i][0] for i in index]), torch.tensor([examples[i][1] for i in index])
            logits = module.head(x)
            losses = functional.cross_entropy(logits, y, reduction="none")
            optimizer.zero_grad()
            (losses * schedule.weights(torch.from_numpy(index)) if weighted else losses).mean().backward()
            optimizer.step()
            module.seen.append(index.tolist())
            recorder.update(index, logits, y)
            dynamics.update(index, logits.detach(), y)
        recorder.end_epoch()
        dynamics.end_epoch()
    return module, recorder.finish()


def check_same(one: nn.Module, other: nn.Module, **tolerance: float) -> None:
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, **({"rtol": 1e-5, "atol": 1e-6} | tolerance))


def check_same_signals(one: Any, other: Any, **tolerance: float) -> None:
    assert one.epochs("train") == other.epochs("train")
    for key, (wanted,) in other.parts.items():
        (table,) = one.parts[key]
        assert table.column_names == wanted.column_names
        for name in table.column_names:
            np.testing.assert_allclose(table[name], wanted[name], **({"rtol": 1e-4, "atol": 1e-5} | tolerance))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_schedule_learns_and_the_recorder_sees_what_a_loop_sees(tmp_path: Path, workers: int) -> None:
    schedule = Hardest()
    callback = DynamicsCallback(N, schedule=schedule)
    made = trainer(tmp_path, callback, reload_dataloaders_every_n_epochs=1, num_sanity_val_steps=0)
    module = fit(made, Module(schedule), loader(schedule, workers), DataLoader(data(8), batch_size=4))
    wanted, signals = by_hand(Hardest(), weighted=True)
    assert module.seen == wanted.seen
    check_same(module, wanted)
    check_same_signals(callback.finish(), signals)
    assert made.global_step == 6 + 4 + 4 and callback.recorder.epoch == EPOCHS


def test_a_static_sampler_and_a_batch_sampler_get_their_epochs(tmp_path: Path) -> None:
    for wrapped in (False, True):
        sampler = dd.RS2Sampler(N, 8, seed=2)
        if wrapped:

            class Batches(BatchSampler):
                set_epoch = sampler.set_epoch  # which Lightning does not call

            batches = Batches(list(range(N)), BATCH, False)
            batches.sampler = _NoEpoch(sampler)
            loading = DataLoader(dd.Indexed(data()), batch_sampler=batches)
        else:
            loading = loader(sampler)
        sampler.set_epoch(7)
        callback = DynamicsCallback(N)
        module = fit(trainer(tmp_path, callback), Module(), loading)
        wanted, signals = by_hand(dd.RS2Sampler(N, 8, seed=2), weighted=False)
        assert module.seen == wanted.seen, wrapped
        check_same_signals(callback.finish(), signals)


class _NoEpoch:
    def __init__(self, sampler: Any) -> None:
        self.inner = sampler

    def __iter__(self) -> Any:
        return iter(self.inner)

    def __len__(self) -> int:
        return len(self.inner)


@pytest.mark.parametrize(("step", "workers"), [(2, 2), (6, 0), (6, 2), (8, 0), (10, 2)])
def test_resuming_anywhere_changes_nothing(tmp_path: Path, step: int, workers: int) -> None:
    """Within an epoch and at its end (6 and 10), from a checkpoint that is saved after a step."""

    def begun(name: str) -> tuple[Any, Any, Any, Any]:
        schedule = Hardest()
        saving = pl.callbacks.ModelCheckpoint(tmp_path / name, "{step}", every_n_train_steps=1, save_top_k=-1)
        callback = DynamicsCallback(N, schedule=schedule)
        made = trainer(tmp_path, saving, callback, enable_checkpointing=True, reload_dataloaders_every_n_epochs=1)
        return made, Module(schedule), callback, loader(schedule, workers)

    made, module, callback, loading = begun("whole")
    fit(made, module, loading)
    made, part, resumed, loading = begun("part")
    fit(made, part, loading, ckpt_path=tmp_path / "whole" / f"step={step}.ckpt")
    assert part.seen == module.seen[step:]
    check_same(part, module, rtol=0, atol=0)
    check_same_signals(resumed.finish(), callback.finish(), rtol=0, atol=0)


@pytest.mark.parametrize("validated", [False, True])
def test_resuming_from_the_end_of_an_epoch(tmp_path: Path, validated: bool) -> None:
    """With validation, Lightning saves before the callbacks close the epoch."""
    runs = []
    for name, ckpt in (("whole", None), ("part", "epoch=1.ckpt")):
        schedule = Hardest()
        saving = pl.callbacks.ModelCheckpoint(tmp_path / name, "{epoch}", save_top_k=-1)
        callback = DynamicsCallback(N, schedule=schedule)
        options = {"enable_checkpointing": True, "reload_dataloaders_every_n_epochs": 1, "num_sanity_val_steps": 0}
        made = trainer(tmp_path, callback, saving, **options)
        loaders = (loader(schedule, 2), *([DataLoader(data(8), batch_size=4)] if validated else []))
        path = None if ckpt is None else tmp_path / "whole" / ckpt
        runs.append((fit(made, Module(schedule), *loaders, ckpt_path=path), callback.finish()))
    (whole, signals), (part, resumed) = runs
    assert part.seen == whole.seen[10:]
    check_same(part, whole, rtol=0, atol=0)
    check_same_signals(resumed, signals, rtol=0, atol=0)


def test_what_the_module_shows_may_be_elsewhere(tmp_path: Path) -> None:
    class Bare(Module):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            out = super().training_step(batch, batch_idx)
            self.last = out["logits"]
            return out["loss"]

    module = Bare()
    callback = DynamicsCallback(
        N, presented=lambda outputs, batch: {"index": batch[2], "targets": batch[1], "logits": module.last}
    )
    fit(trainer(tmp_path, callback), module, loader(dd.SubsetSampler(N)))
    check_same_signals(callback.finish(), by_hand(dd.SubsetSampler(N), weighted=False)[1])
    scores = dd.score(callback.finish(), scorers=["aum", "forgetting"])
    assert len(scores) == N
    with pytest.raises(OptionError, match=r"training_step returned loss: return"):
        fit(trainer(tmp_path, DynamicsCallback(N)), Bare(), loader(dd.SubsetSampler(N)))


def test_dicts_are_read_by_their_names(tmp_path: Path) -> None:
    class Named(Module):
        def training_step(self, batch: Any, batch_idx: int) -> dict[str, torch.Tensor]:
            return super().training_step((batch["x"], batch["label"], batch["index"]), batch_idx)

    rows = dd.Indexed([{"x": x, "label": y} for x, y in data()])
    callback = DynamicsCallback(N)
    fit(trainer(tmp_path, callback), Named(), DataLoader(rows, batch_size=BATCH, sampler=dd.SubsetSampler(N)))
    check_same_signals(callback.finish(), by_hand(dd.SubsetSampler(N), weighted=False)[1])

    class Unnumbered(Module):
        def training_step(self, batch: Any, batch_idx: int) -> dict[str, torch.Tensor]:
            return super().training_step((*batch, torch.arange(4)), batch_idx)

    with pytest.raises(OptionError, match=r"the batch has no index: make the loader of dd\.Indexed"):
        fit(trainer(tmp_path, DynamicsCallback(N)), Unnumbered(), DataLoader(data(), batch_size=BATCH))


TWO = """
import importlib.util, os, sys
from pathlib import Path
import torch
spec = importlib.util.spec_from_file_location("tests_lightning", sys.argv[1])
tests = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tests)
torch.set_num_threads(1)
out, rank = Path(sys.argv[2]), int(os.environ["RANK"])
options = {"strategy": "ddp", "devices": 2, "reload_dataloaders_every_n_epochs": 1, "enable_checkpointing": True}

def begun(name, **more):
    schedule = tests.dd.shard(tests.Hardest(), rank, 2)
    saving = tests.pl.callbacks.ModelCheckpoint(out / name, "{step}", every_n_train_steps=1, save_top_k=-1)
    callback = tests.DynamicsCallback(tests.N, schedule=schedule)
    return tests.trainer(out, saving, callback, **{**options, **more}), tests.Module(schedule), callback, schedule

made, module, callback, schedule = begun("whole", use_distributed_sampler=False)
assert (made.global_rank, made.world_size) == (rank, 2)  # known before training, as the how-to says
tests.fit(made, module, tests.loader(schedule))
wanted, signals = tests.by_hand(tests.Hardest(), weighted=True, step=8)
assert module.seen == [batch[rank::2] for batch in wanted.seen], (module.seen, wanted.seen)
tests.check_same(module, wanted)
tests.check_same_signals(callback.finish(), signals)
made, part, resumed, schedule = begun("part", use_distributed_sampler=False)
tests.fit(made, part, tests.loader(schedule), ckpt_path=out / "whole" / "step=4.ckpt")
assert part.seen == module.seen[4:]
tests.check_same(part, module, rtol=0, atol=0)
tests.check_same_signals(resumed.finish(), callback.finish(), rtol=0, atol=0)
made, module, callback, schedule = begun("wrapped")
try:
    tests.fit(made, module, tests.loader(schedule))
except tests.OptionError as error:
    assert "use_distributed_sampler=False" in str(error)
else:
    raise AssertionError("Lightning wrapped the sampler")
"""


def test_two_processes_train_as_one(tmp_path: Path, check_in_two: Any) -> None:
    """Steps of 2 x 4 examples, each rank with every other example of the order; also when resumed."""
    check_in_two(TWO, __file__, tmp_path)
