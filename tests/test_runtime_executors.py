"""Executors without a cluster: who is chosen, what is asked of Ray, what is opened elsewhere."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import datadiet as dd
from datadiet.data.specs import opened_elsewhere
from datadiet.errors import MissingExtra, OptionError
from datadiet.models.running import brought_to_cpu, placed
from datadiet.progress import Progress
from datadiet.runtime import planned_hardware
from datadiet.runtime.cluster import Share
from datadiet.runtime.executors import executor_for
from datadiet.runtime.hardware import Hardware
from datadiet.runtime.local import LocalExecutor
from datadiet.runtime.ray import RayExecutor
from datadiet.workflow.job_spec import JobSpec
from datadiet.workflow.scoring.recording import RecordingJob


def test_the_automatic_executor_is_ray_only_where_there_is_one(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert isinstance(executor_for("auto"), LocalExecutor) and isinstance(executor_for("local"), LocalExecutor)
    assert isinstance(executor_for("ray"), RayExecutor)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert isinstance(executor_for("auto"), RayExecutor) and isinstance(executor_for("local"), LocalExecutor)
    mine = RayExecutor(actors=3)
    assert executor_for(mine) is mine
    with pytest.raises(OptionError, match="'rya' is not a name: did you mean 'ray'"):
        executor_for("rya")


def test_the_automatic_executor_says_how_many_gpus_stay_idle(monkeypatch, caplog):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    with caplog.at_level("INFO"):
        executor_for("auto", "cpu")
        executor_for("local")
        assert not caplog.text
        executor_for("auto")
    assert "3 more GPUs are idle: executor='ray' (--executor ray) uses all GPUs" in caplog.text


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"actors": 0}, "actors=0: give a whole number of at least 1"),
        ({"actors": 1.5}, "actors=1.5: give a whole number"),
        ({"gpus_per_actor": 2}, r"gpus_per_actor=2 \(--gpus-per-actor\): a worker uses one GPU at most"),
        ({"gpus_per_actor": -1}, "a number from 0 to 1, such as 0.25"),
    ],
)
def test_impossible_options_of_ray_are_refused(options, problem):
    with pytest.raises(OptionError, match=problem):
        RayExecutor(**options)


def test_what_ray_cannot_do_is_refused_before_any_work(monkeypatch, tmp_path):
    with pytest.raises(OptionError, match="device='cuda:1' names one GPU, but Ray assigns a GPU to each worker"):
        dd.score("digits", "datadiet:mlp", epochs=1, device="cuda:1", executor="ray")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'datadiet\[ray\]'"):
        dd.score("digits", "datadiet:mlp", epochs=1, executor="ray", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_address_of_ray_client_is_refused():
    pytest.importorskip("ray", reason="needs the extra ray")
    with pytest.raises(OptionError, match="is a Ray Client address, and Ray Client cannot stream results"):
        dd.score("digits", "datadiet:mlp", epochs=1, executor=RayExecutor(address="ray://head:10001"))


def test_the_hardware_is_in_the_plan_but_its_threads_are_not():
    here = Hardware.here("cpu")
    assert here.for_plan() == {
        "device": "cpu", "device_model": torch.backends.cpu.get_cpu_capability(), "torch": torch.__version__,
    }  # fmt: skip
    assert here.threads == torch.get_num_threads()


def test_naming_the_executor_loads_neither_torch_nor_ray():
    code = "import datadiet, sys; datadiet.RayExecutor(actors=2); print({'torch', 'ray'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_arrays_reach_workers_as_they_are_and_cannot_be_changed_there():
    """Those of one machine share them; data that is read only by copies."""
    x, y = np.arange(40, dtype="f4").reshape(8, 5), np.arange(8) % 2
    job = replace(RecordingJob(JobSpec((x, y), "datadiet:mlp", recipe={"batch_size": 4}), 1, (0,)))
    buffers = []
    head = pickle.dumps(job, protocol=5, buffer_callback=buffers.append)
    assert len(buffers) == 2 and len(head) < 4000
    frozen = [np.frombuffer(buffer.raw().tobytes(), dtype=np.uint8) for buffer in buffers]
    there = pickle.loads(head, buffers=frozen)
    assert there.open().plan.hash == job.open().plan.hash


def test_data_that_a_spec_names_is_opened_anew_elsewhere(tmp_path):
    """Neither its rows nor what was found out about it are sent."""
    np.savez(tmp_path / "d.npz", x=np.zeros((1000, 50), dtype="f4"), y=np.arange(1000) % 2, other=np.ones(1000))
    source = dd.open_data(f"npz:{tmp_path}/d.npz", label="other")
    source.look_through()
    before = source.identity()
    spec = JobSpec(source, "datadiet:mlp", eval="10%").elsewhere()
    assert len(pickle.dumps(spec)) < 2000
    assert dd.open_data(pickle.loads(pickle.dumps(spec)).dataset).identity() == before
    np.savez(tmp_path / "d.npz", x=np.ones((1000, 50), dtype="f4"), y=np.arange(1000) % 2, other=np.ones(1000))
    assert dd.open_data(pickle.loads(pickle.dumps(spec)).dataset).identity() != before, "another copy is found out"
    skipping = replace(source, skipped=((1, "1", "it is damaged"),))
    assert opened_elsewhere(skipping) is skipping, "to find what cannot be read takes long"
    part = source.subset(range(10))
    assert part.opening is None and opened_elsewhere(part) is part
    sent = pickle.loads(pickle.dumps(part))
    assert "_identity" not in vars(sent.root) and "_memory" not in vars(sent.inputs)


def test_the_caller_s_network_stays_on_its_device():
    """On another one, a copy does the work; meta stands for a GPU."""
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    assert placed(network, torch.device("cpu")) is network
    there = placed(network, torch.device("meta"))
    assert {p.device.type for p in there.parameters()} == {"meta"}
    assert {p.device.type for p in network.parameters()} == {"cpu"}
    assert brought_to_cpu(network) is network and brought_to_cpu("datadiet:mlp") == "datadiet:mlp"
    odd = torch.nn.Linear(3, 2)
    odd.last = odd.weight * 2  # only leaves of the graph can be copied
    with pytest.raises(OptionError, match=r"the network .*Linear cannot be copied to meta .*: move it there first"):
        placed(odd, torch.device("meta"))


def test_the_automatic_executor_leaves_tasks_and_ray_client_alone(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def fake(mode, client):
        stub = SimpleNamespace(is_connected=lambda: client)
        context = SimpleNamespace(worker=SimpleNamespace(mode=mode))
        return SimpleNamespace(
            is_initialized=lambda: True, SCRIPT_MODE=0, util=SimpleNamespace(client=SimpleNamespace(ray=stub)),
            get_runtime_context=lambda: context,
        )  # fmt: skip

    for mode, client, kind in ((0, False, RayExecutor), (1, False, LocalExecutor), (0, True, LocalExecutor)):
        monkeypatch.setitem(sys.modules, "ray", fake(mode, client))
        assert isinstance(executor_for("auto"), kind)


def test_the_address_of_the_dashboard_is_refused(monkeypatch):
    pytest.importorskip("ray", reason="needs the extra ray")
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    with pytest.raises(OptionError, match="is the address of the Ray dashboard, which serves only `ray job submit`"):
        dd.score("digits", "datadiet:mlp", epochs=1)


def test_options_of_actors_are_passed_on_and_do_not_replace_those_that_are_needed():
    given = {"accelerator_type": "A100", "max_restarts": 3, "runtime_env": {"env_vars": {"A": "b"}, "working_dir": "."}}
    options = RayExecutor(options=given)._actor_options(Share(1, 2, 1.0), 2)
    assert options["accelerator_type"] == "A100" and options["max_restarts"] == -1
    assert options["runtime_env"] == {"env_vars": {"A": "b", "OMP_NUM_THREADS": "2"}, "working_dir": "."}


@pytest.mark.parametrize(("device", "gpus", "each"), [
    ("auto", None, None), ("auto", 0.5, 0.5), ("cuda", None, 1.0), ("cuda", 0.25, 0.25), ("cpu", None, 0.0),
    ("mps", None, 0.0), ("cpu", 0.0, 0.0), ("auto", 0.0, 0.0),
])  # fmt: skip
def test_how_many_gpus_a_worker_asks_for(device, gpus, each):
    assert RayExecutor(gpus_per_actor=gpus)._gpus(device) == each


def test_gpus_for_work_on_a_cpu_are_refused():
    for gpus, device in ((1, "cpu"), (0, "cuda")):
        with pytest.raises(
            OptionError, match=rf"gpus_per_actor={gpus} \(--gpus-per-actor\) with device='{device}': leave one"
        ):
            RayExecutor(gpus_per_actor=gpus)._gpus(device)


def test_without_a_terminal_progress_is_a_line_a_minute(caplog):
    progress = Progress("ex", 200)
    progress._said -= 61
    progress._begun -= 600
    progress.advance(100)
    with caplog.at_level("INFO"):
        progress.describe("2 workers, 3 units left")
        progress.describe("2 workers, 3 units left")
    assert [record.getMessage() for record in caplog.records] == [
        "2 workers, 3 units left; 50 % of the examples, about 10 min left"
    ]


def test_a_run_goes_on_on_the_hardware_it_was_begun_on(tmp_path):
    assert planned_hardware(tmp_path / "no") is None
    dd.embed(np.ones((4, 3), dtype="f4"), lambda batch: batch, out=tmp_path / "run", device="cpu")
    here = Hardware.here("cpu")
    assert planned_hardware(tmp_path / "run").for_plan() == here.for_plan()
    assert planned_hardware(tmp_path / "run", "cuda") is None, "another is asked for, which the plan refuses"
