"""Jobs: what a worker is rebuilt from, that it arrives at the same plan, and that the order of units is free."""

from __future__ import annotations

import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import datadiet as dd
from datadiet.data import open_data
from datadiet.runtime import RunFolder, Sink
from datadiet.runtime.hardware import Hardware
from datadiet.runtime.local import LocalFleet
from datadiet.runtime.units import MakeWorker, in_order
from datadiet.workflow.fitting.embedding_worker import EmbeddingJob
from datadiet.workflow.job_spec import JobSpec
from datadiet.workflow.scoring import scoring_run
from datadiet.workflow.scoring.recording import RecordingJob
from datadiet.workflow.scoring.recording_worker import RecordingWorker, recording_worker
from datadiet.workflow.session import open_session

SCORERS = "el2n,aum,grand,ekfac_self_influence,grad_dot,prototypes"


def written(run: Path) -> dict[str, bytes]:
    """Everything but the log."""
    found = {str(path.relative_to(run)): path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}
    return {name: content for name, content in found.items() if name != "run.json"}


@pytest.fixture
def job(tmp_path, monkeypatch):
    """The job of a small run that reads every kind of pass, the run itself, and its files."""
    monkeypatch.setattr("datadiet.runtime.units.SMALLEST", 40)
    data = open_data("digits").subset(np.arange(120))
    jobs, build = [], RecordingWorker.__init__

    def watched(self, recording, path):
        jobs.append(recording.job)
        build(self, recording, path)

    with monkeypatch.context() as patch:
        patch.setattr(scoring_run.RecordingWorker, "__init__", watched)
        options = {"epochs": 2, "seeds": 2, "reference": open_data("digits", split="eval").subset(np.arange(50))}
        dd.score(data, "datadiet:mlp", SCORERS, out=tmp_path / "run", recipe={"batch_size": 20}, **options)
    return jobs[0], tmp_path / "run"


def test_a_worker_rebuilt_from_a_pickled_job_arrives_at_the_same_plan_and_bytes(job, tmp_path):
    given, run = job
    rebuilt = pickle.loads(pickle.dumps(given)).open()
    assert isinstance(rebuilt.job, RecordingJob)
    folder = RunFolder.open(tmp_path / "again", rebuilt.plan)
    pending = rebuilt.pending(folder)
    kinds = [unit.kind for unit in pending]
    # of the examples of a seed: outputs and features in one pass; three further passes, in three parts each
    assert kinds.count("train") == 2 and kinds.count("prepare") == 4 and kinds.count("measure") == 2 * (1 + 3 * 3)
    make = MakeWorker(partial(RecordingWorker, rebuilt), partial(recording_worker, rebuilt.job))
    LocalFleet(Hardware.here()).run(rebuilt.plan, pending, make, Sink(folder))
    parts = {name: content for name, content in written(run).items() if name.startswith(("signals", "checkpoints"))}
    again = written(tmp_path / "again")
    assert parts and all(again[name] == content for name, content in parts.items())
    assert RunFolder.open(run, rebuilt.plan).plan.hash == rebuilt.plan.hash
    assert rebuilt.pending(RunFolder.open(run, rebuilt.plan)) == []


def test_the_order_in_which_units_are_done_changes_no_byte(job, tmp_path):
    given, run = job
    recording = given.open()
    folder = RunFolder.open(tmp_path / "other", recording.plan)
    pending = recording.pending(folder)
    shuffled = in_order([pending[i] for i in np.random.default_rng(0).permutation(len(pending))])
    assert shuffled != in_order(pending)
    for unit in shuffled:  # a worker of its own for each, as on many machines
        worker = RecordingWorker(given.open(), tmp_path / "other")
        worker.run(unit, Sink(folder).write)
        worker.close()
    parts = {name: content for name, content in written(run).items() if name.startswith(("signals", "checkpoints"))}
    again = written(tmp_path / "other")
    assert all(again[name] == content for name, content in parts.items())


def test_what_a_pass_prepares_is_kept_until_its_parts_are_there(job, tmp_path):
    given, run = job
    assert not list(run.glob("state/**/*.safetensors")), "nothing is left to resume"
    recording = given.open()
    folder = RunFolder.open(run, recording.plan)
    lost = sorted(run.glob("signals/ekfac/seed-1/epoch-2/part-*.parquet"))
    before = lost[1].read_bytes()
    lost[1].unlink()
    pending = recording.pending(folder)
    assert [unit.kind for unit in pending] == ["prepare", "measure"]
    worker = RecordingWorker(recording, run)
    worker.run(pending[0], Sink(folder).write)
    assert [unit.kind for unit in recording.pending(folder)] == ["measure"], "prepared once, whoever measures"
    worker.run(pending[1], Sink(folder).write)
    worker.close()
    assert lost[1].read_bytes() == before


def test_the_plan_of_a_run_says_how_it_is_cut(job):
    plan = job[0].open().plan.what
    assert plan["shards"] == [256, 40, 64 << 20] and plan["format"] == 2
    assert plan["recipe"]["augment_seed"] == plan["recipe"]["views"] == 0


def local_net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


@pytest.mark.parametrize("model", ["datadiet:mlp", "py:torch.nn:Identity", local_net])
def test_what_is_named_or_stands_in_a_module_can_leave_the_process(model):
    spec = JobSpec("digits", model)
    twin = pickle.loads(pickle.dumps(spec))
    assert twin == spec
    if model != "py:torch.nn:Identity":
        assert open_session(spec).what() == open_session(twin).what()


def test_a_job_carries_what_this_process_resolved(job, monkeypatch):
    """So that a worker with other processors arrives at the same plan."""
    given, _ = job
    assert given.spec.recipe.threads >= 1 and given.spec.recipe.augment != "auto"
    plan = given.open().plan
    monkeypatch.setattr("datadiet.workflow.session._threads", lambda recipe, *_: recipe.threads or 64)
    assert pickle.loads(pickle.dumps(given)).open().plan.hash == plan.hash


@pytest.mark.parametrize("kind", ["spec", "source", "arrays", "torch"])
def test_data_of_any_kind_pickles_to_the_same_plan(tmp_path, kind):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 5)).astype("f4"), np.arange(40) % 3
    np.savez(tmp_path / "d.npz", x=x, y=y)
    spec = f"npz:{tmp_path}/d.npz"
    data = {
        "spec": spec,
        "source": open_data(spec),
        "arrays": open_data(spec).subset(np.arange(5, 30)),
        "torch": torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y)),
    }[kind]
    job = JobSpec(data, "datadiet:mlp", recipe={"batch_size": 8})
    assert open_session(job).what() == open_session(pickle.loads(pickle.dumps(job))).what()


def test_an_embedding_is_rebuilt_too(tmp_path):
    dd.score("digits", "datadiet:mlp", "el2n", epochs=2, out=tmp_path / "run")
    job = EmbeddingJob("digits", "datadiet:mlp", tmp_path / "run", None, None, 64, "float16", "cpu", None)
    first, again = job.open(), pickle.loads(pickle.dumps(job)).open()
    assert first.plan.hash == again.plan.hash and first.units() == again.units()
    vectors = dd.embed("digits", "datadiet:mlp", checkpoint=tmp_path / "run", batch_size=64, device="cpu")
    products = []
    for unit in again.units():
        again.run(unit, products.append)
    found = np.concatenate([product.content for product in products if isinstance(product.content, np.ndarray)])
    assert found.tobytes() == np.asarray(vectors).tobytes()
    first.close()
    again.close()


def test_a_worker_in_another_process_arrives_at_the_same_plan(tmp_path):
    """The hash does not rest on anything of this process."""
    code = (
        "from datadiet.workflow.job_spec import JobSpec\n"
        "from datadiet.workflow.session import open_session\n"
        "from datadiet.runtime import Plan\n"
        "print(Plan(open_session(JobSpec('digits', 'datadiet:mlp', device='cpu')).what()).hash)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    from datadiet.runtime import Plan

    assert done.stdout.strip() == Plan(open_session(JobSpec("digits", "datadiet:mlp", device="cpu")).what()).hash
