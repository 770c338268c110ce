"""Runs spread by Ray over the nodes of a small cluster on this machine: the same bytes, whatever happens to workers."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import numpy as np
import pytest
import torch
from torch import nn

import datadiet as dd
from datadiet.errors import DataError, OptionError
from datadiet.runtime import worker_pool
from datadiet.runtime.folder import Sink
from datadiet.runtime.ray import RayExecutor
from datadiet.runtime.transfer import Departures
from datadiet.runtime.unit_queue import UnitQueue

ray = pytest.importorskip("ray", reason="needs the extra ray")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

SCORERS = "el2n,aum,ekfac_self_influence,prototypes"  # trainings, something prepared, columns and vectors
STORE = 100 << 20
KINDS = ("train", "prepare", "measure")
N = 4500  # three parts of every pass


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rng = np.random.default_rng(0)
    y = np.arange(N) % 4
    x = rng.normal(size=(N, 12)).astype("f4") + y[:, None]
    path = tmp_path_factory.mktemp("data") / "d.npz"
    np.savez(path, x=x, y=y)
    return f"npz:{path}"


def scored(data, out, executor="local", **options):
    recipe = {"batch_size": 256, "lr": 0.05}
    return dd.score(
        data, "datadiet:mlp", SCORERS, epochs=2, seeds=2, recipe=recipe, executor=executor, out=out, **options
    )


def written(run):
    """All files but the log, which holds times."""
    found = {str(path.relative_to(run)): path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}
    return {name: content for name, content in found.items() if name != "run.json"}


@pytest.fixture(scope="module")
def local(data, tmp_path_factory):
    """The files of the run that was done without Ray."""
    out = tmp_path_factory.mktemp("local") / "run"
    scored(data, out)
    return written(out)


class Nodes:
    """The cluster that is up: a driver without cores, and nodes with the numbers of cores that are asked for."""

    def __init__(self):
        self.cluster, self.cpus = None, ()

    def up(self, *cpus, store=STORE):
        from ray.cluster_utils import Cluster

        self.down()
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": store})
        self.workers = [self.add(number, store) for number in cpus]
        self.cpus = cpus
        ray.init(address=self.cluster.address, logging_level="ERROR", log_to_driver=False)

    def add(self, cpus, store=STORE):
        return self.cluster.add_node(num_cpus=cpus, object_store_memory=store)

    def down(self):
        if self.cluster is not None:
            ray.shutdown()
            self.cluster.shutdown()
            self.cluster, self.cpus = None, ()


@pytest.fixture(scope="module")
def nodes():
    found = Nodes()
    yield found
    found.down()


@pytest.fixture
def cluster(nodes):
    """A cluster of two nodes, kept for the tests that follow each other."""
    if nodes.cpus != (2, 1):
        nodes.up(2, 1)


@pytest.fixture(params=["shared disk", "no shared disk"])
def disk(request, monkeypatch):
    """Whether workers see the folder of the run."""
    if request.param == "no shared disk":
        probe = Sink.probe

        @contextmanager
        def elsewhere(sink):
            with probe(sink) as (path, token):
                yield path, token + "x"

        monkeypatch.setattr(Sink, "probe", elsewhere)
    return request.param


@pytest.fixture
def on_start(monkeypatch):
    """Register what to do once, when a unit of a kind has been given to a worker."""
    hooks = {}
    ask = worker_pool.WorkerPool._assign

    def watched(self, worker, job):
        before = worker.answer
        ask(self, worker, job)
        if worker.call == "run" and worker.answer is not before and worker.unit.kind in hooks:
            kind = worker.unit.kind
            if hooks[kind](worker) is not False:
                del hooks[kind]

    monkeypatch.setattr(worker_pool.WorkerPool, "_assign", watched)
    return hooks


@pytest.mark.parametrize("actors", [1, 2, 3])
def test_any_number_of_workers_writes_the_same_bytes(data, local, cluster, disk, tmp_path, actors):
    scores = scored(data, tmp_path / "run", RayExecutor(actors=actors))
    assert written(tmp_path / "run") == local
    assert len(scores) == N and ray.is_initialized(), "a Ray that was there is not shut down"


def test_the_order_of_completion_is_free(data, local, cluster, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)

    def any_ready(self, last=None):
        if not self._waiting:
            return None
        number = int(rng.choice(sorted(self._waiting)))
        self._waiting.remove(number)
        return self._units[number]

    monkeypatch.setattr(UnitQueue, "take", any_ready)
    scored(data, tmp_path / "run", RayExecutor(actors=3))
    assert written(tmp_path / "run") == local


def test_workers_that_are_killed_lose_nothing(data, local, cluster, disk, tmp_path, on_start, caplog):
    """One at the beginning of every kind of unit."""
    for kind in KINDS:
        on_start[kind] = lambda worker: ray.kill(worker.actor, no_restart=False)
    scored(data, tmp_path / "run", RayExecutor(actors=2))
    assert not on_start and caplog.text.count("its work will be done again") == len(KINDS)
    assert written(tmp_path / "run") == local


def test_a_worker_that_is_killed_while_it_waits_loses_nothing(data, local, cluster, tmp_path, monkeypatch):
    """It is back before there is something for it to do, but has opened nothing."""
    assign, killed = worker_pool.WorkerPool._assign, []

    def watched(self, worker, job):
        assign(self, worker, job)
        if worker.begun and not worker.call and not killed:
            killed.append(worker)
            ray.kill(worker.actor, no_restart=False)

    monkeypatch.setattr(worker_pool.WorkerPool, "_assign", watched)
    scored(data, tmp_path / "run", RayExecutor(actors=3))
    assert killed and written(tmp_path / "run") == local


def test_a_training_goes_on_from_the_state_that_came_back(data, cluster, tmp_path, monkeypatch, disk):
    """The worker is killed in the middle of it; this module saves the state after every step."""
    (tmp_path / "hasty.py").write_text(
        "from datadiet.models import networks\n"
        "from datadiet.training import loop\n"
        "loop._SAVE_EVERY = 0.0\n"
        "def model():\n"
        "    return networks.mlp((12,), 4)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    on_message, states, sent = worker_pool.WorkerPool._on_message, [], []

    def watched(self, worker, job, progress):
        before, found = worker.done, on_message(self, worker, job, progress)
        if worker.done > before and len(states) < 2:  # an epoch is over
            states.append(job.folder / worker.unit.reads[0])
            assert states[-1].exists()
            ray.kill(worker.actor, no_restart=False)
        return found

    def kept(self, folder, path):
        sent.append(path)
        return of(self, folder, path)

    of = Departures.of
    monkeypatch.setattr(worker_pool.WorkerPool, "_on_message", watched)
    monkeypatch.setattr(Departures, "of", kept)
    for executor in (RayExecutor(actors=1), "local"):
        out = tmp_path / ("local" if executor == "local" else "ray")
        dd.score(data, "py:hasty:model", "aum", epochs=4, recipe={"batch_size": 256}, executor=executor, out=out)
    assert len(states) == 2 and written(tmp_path / "ray") == written(tmp_path / "local")
    assert (sent.count("state/seed-0.safetensors") >= 1) == (disk == "no shared disk")


def test_the_command_line_ends_its_workers_on_sigterm(data, tmp_path):
    """As Slurm and Kubernetes end it: with the exit code and the line that say that it can go on."""
    words = ["score", data, "--model", "datadiet:mlp", "--scorer", "aum", "--epochs", "5000", "--actors", "1"]
    command = [sys.executable, "-m", "datadiet", *words, "--out", str(tmp_path / "run")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not [*(tmp_path / "run").rglob("part-*")]:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.2)
        process.terminate()
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 5, said
    assert "interrupted; the same command continues: datadiet score" in said and "Traceback" not in said
    assert "1 worker with" in said and not actors_alive()


def home(_actor):
    import ray

    return ray.get_runtime_context().get_node_id()


@pytest.mark.parametrize(("spare", "disk"), [(True, "shared disk"), (False, "no shared disk")], indirect=["disk"])
def test_machines_that_are_lost_lose_nothing(data, local, disk, nodes, tmp_path, on_start, monkeypatch, spare):
    """One during every kind of unit; with a spare, another takes its place, and else fewer are left."""
    homes, gone, lost, ask = {}, set(), [], worker_pool.WorkerPool._assign

    def noting(self, worker, job):
        if worker.begun and not worker.call and worker.actor not in homes:
            with suppress(ray.exceptions.RayActorError):
                homes[worker.actor] = ray.get(worker.actor.__ray_call__.remote(home))
        ask(self, worker, job)

    monkeypatch.setattr(worker_pool.WorkerPool, "_assign", noting)
    nodes.up(*[1] * (2 if spare else 4))

    def remove(worker):
        place = homes.pop(worker.actor, None)
        if place is None or place in gone:  # the process of an actor may outlive its node for a moment
            return False
        gone.add(place)
        lost.append(next(node for node in nodes.workers if node.node_id == place))
        nodes.cluster.remove_node(lost[-1], allow_graceful=False)
        if spare:
            nodes.workers.append(nodes.add(1))
        return True

    on_start.update(dict.fromkeys(KINDS, remove))
    scored(data, tmp_path / "run", RayExecutor(actors=2 if spare else 4))
    assert len(lost) == len(KINDS)
    assert written(tmp_path / "run") == local


def test_an_example_that_cannot_be_measured_gives_the_same_error_as_here(cluster, tmp_path):
    """Its vector overflows float16, in one of the parts."""
    x = np.ones((5000, 3), dtype="f4")
    x[4321] = 1e30

    def encode(batch):
        return batch * 1e30 if bool((batch > 1e20).any()) else batch

    errors = []
    for executor in ("local", RayExecutor(actors=2)):
        with pytest.raises(DataError) as found:
            dd.embed(x, encode, executor=executor, out=tmp_path / str(len(errors)))
        errors.append(str(found.value))
    assert errors[0] == errors[1] and "4321" in errors[0]
    found = dd.embed(x[:4000], encode, executor=RayExecutor(actors=2))
    assert found.tobytes() == dd.embed(x[:4000], encode).tobytes(), "a function of the script reaches the workers"


def test_workers_that_find_other_data_are_left_out(cluster, tmp_path, caplog, monkeypatch):
    (tmp_path / "unlike.py").write_text(
        "import os\nimport numpy as np\n"
        "def data():\n"
        "    rng = np.random.default_rng(os.getpid())\n"
        "    return [(rng.normal(size=3).astype('f4'), i % 2) for i in range(64)]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(OptionError, match=r"the worker does not match the run \(data\.content"):
        dd.score("py:unlike:data", "datadiet:mlp", epochs=2, executor=RayExecutor(actors=2), out=tmp_path / "run")
    assert caplog.text.count("is left out") == 2
    assert not list((tmp_path / "run").rglob("part-*"))


def test_a_cluster_without_what_is_needed_is_named(data, cluster):
    with pytest.raises(OptionError, match=r"no worker has started for 3 s: each needs 1 GPU and .* the cluster has"):
        scored(data, None, RayExecutor(actors=1, gpus_per_actor=1, patience=3))


def test_more_than_the_object_store_holds_goes_through_it(tmp_path, disk, nodes):
    """130 MB of vectors through 80 MB."""
    x = np.random.default_rng(0).normal(size=(65_000, 4)).astype("f4")
    nodes.up(1, store=80 << 20)
    found = dd.embed(x, widened, executor=RayExecutor(), out=tmp_path / "run")
    assert (found[:100] == dd.embed(x[:100], widened)).all() and found.shape == (65_000, 1000)


def widened(batch):
    return batch.repeat(1, 250)


def test_an_interrupted_run_goes_on_here_and_the_other_way_round(data, local, cluster, tmp_path, monkeypatch):
    write, count = Sink.write, [0]

    def interrupted(self, product):
        count[0] += 1
        if count[0] == limit:
            raise KeyboardInterrupt
        write(self, product)

    for number, (limit, first, then) in enumerate([(3, RayExecutor(actors=2), "local"), (9, "local", RayExecutor())]):  # noqa: B007
        count[0] = 0
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Sink, "write", interrupted)
            scored(data, tmp_path / str(number), first)
        assert not actors_alive(), "no worker is left behind"
        scored(data, tmp_path / str(number), then)
        assert written(tmp_path / str(number)) == local


def actors_alive():
    deadline = time.monotonic() + 10
    while found := subprocess.run(["pgrep", "-f", "ray::Actor"], capture_output=True, text=True).stdout.split():
        if time.monotonic() > deadline:
            return found
        time.sleep(0.2)
    return []


def test_a_unit_that_ends_every_worker_is_named(data, cluster, tmp_path, monkeypatch):
    on_message = worker_pool.WorkerPool._on_message

    def deadly(self, worker, job, progress):
        found = on_message(self, worker, job, progress)
        if worker.call == "run" and worker.started and worker.unit.kind == "train":
            ray.kill(worker.actor, no_restart=False)
        return found

    monkeypatch.setattr(worker_pool.WorkerPool, "_on_message", deadly)
    with pytest.raises(OptionError, match=r"5 workers died on the unit .train \d. .*: if memory ran out, use fewer"):
        scored(data, tmp_path / "run", RayExecutor(actors=2))


def test_a_network_to_compare_with_travels_to_the_workers(data, cluster, tmp_path):
    def network(seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 4))

    pruned, runs = tmp_path / "pruned.pt", {}
    torch.save(network(1).state_dict(), pruned)
    for executor in ("local", RayExecutor(actors=2)):
        for against in (network(1), pruned):
            out = tmp_path / f"run-{len(runs)}"
            dd.score(data, network(0), "divergence", against=against, executor=executor, out=out)
            runs[out] = {name: content for name, content in written(out).items() if name.startswith("signals")}
    first, *others = runs.values()
    assert len(first) == 3 and all(found == first for found in others)
