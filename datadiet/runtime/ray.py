"""The executor that spreads units over the GPUs or cores of a Ray cluster. No other module of the package uses Ray.

Each worker is an actor that lives until the end, opens data and model once, and does one unit at a time. Ray restarts
an actor that dies, and its unit goes back to the queue, since any worker may do it and writes the same bytes. Ray's own
retries stay off: they would repeat errors of the data too, and run out while a machine is replaced.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from datadiet.errors import OptionError, counted, first_line, require
from datadiet.runtime.actor import Actor
from datadiet.runtime.cluster import Cluster, Share
from datadiet.runtime.folder import Sink
from datadiet.runtime.hardware import Hardware
from datadiet.runtime.plan import Plan
from datadiet.runtime.remote_worker import Job
from datadiet.runtime.unit_queue import UnitQueue
from datadiet.runtime.units import MakeWorker, Unit
from datadiet.runtime.worker_pool import WorkerPool

__all__ = ["RayExecutor", "RayFleet"]

_log = logging.getLogger("datadiet")

_STORE = 80 << 20, 2 << 30  # bytes of the object store of a Ray that is started here: at least, and enough
_LARGE = 100 << 20  # bytes: larger data should be opened by the workers
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # it would build the environment anew for every worker
}


@dataclass(frozen=True)
class RayExecutor:
    """Spreads scoring over the GPUs, or the cores, of a Ray cluster: `score(…, executor=RayExecutor(actors=8))`.

    An initialised Ray is used as it is and never shut down; otherwise Ray is started on this machine and ends with the
    call.

    Args:
        actors: how many workers; by default one per GPU, or without GPUs as many as fit.
        gpus_per_actor: GPUs per worker, at most 1, the default where there are any; 0.25 lets four workers of a small
            network share one.
        address: of a Ray cluster, such as "auto"; by default RAY_ADDRESS, and without it Ray is started here.
        patience: how many seconds to wait for a worker before giving up.
        options: further options of Ray actors, such as {"accelerator_type": "A100"}, {"memory": 16e9} or
            {"runtime_env": {"working_dir": "."}}.

    Raises:
        OptionError: a number out of range.
    """

    actors: int | None = None
    gpus_per_actor: float | None = None
    address: str | None = None
    patience: float = 600.0
    options: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.actors is not None and (not isinstance(self.actors, int) or self.actors < 1):
            raise OptionError(f"actors={self.actors!r}: give a whole number of at least 1.")
        gpus = self.gpus_per_actor
        if gpus is not None and not 0 <= gpus <= 1:
            raise OptionError(
                f"gpus_per_actor={gpus!r} (--gpus-per-actor): a worker uses one GPU at most, so give a number from 0 "
                "to 1, such as 0.25."
            )

    def opens_on(self, device: Any) -> str:
        """The CPU: what this machine has plays no part.

        Raises:
            OptionError: the device is one card of this machine.
        """
        if ":" in str(device):
            raise OptionError(
                f"device={str(device)!r} names one GPU, but Ray assigns a GPU to each worker: give cuda, cpu or auto."
            )
        return "cpu"

    @contextmanager
    def start(self, device: Any, threads: int, planned: Hardware | None) -> Iterator[RayFleet]:
        """The workers; all must have the hardware that a run was begun on, or that of the first worker.

        Args:
            device: "auto" or a type of torch device.
            threads: of each worker; 0 = its share of the cores.
            planned: what the run to continue was begun on.
        """
        device = device if planned is None else planned.device
        with _connected(self.address) as ray:
            cluster = Cluster.of(ray.nodes())
            share = cluster.share(self.actors, self._gpus(str(device)), threads)
            if not share.gpus and str(device) == "auto":
                device = "cpu"  # Ray does not hide the GPUs from a worker that asked for none
            used = threads or max(1, int(share.cpus))
            share = share.fitted(ray.available_resources().get("CPU", 0.0))
            kind = ray.remote(Actor).options(**self._actor_options(share, used))
            pool = WorkerPool(ray, lambda: kind.remote(), device, str(share), self.patience)
            try:
                yield RayFleet(ray, cluster, share, pool, planned or pool.first_hardware(share.workers))
            finally:
                pool.stop()

    def _gpus(self, device: str) -> float | None:
        """Of each worker; None = 1 where there are any."""
        if device == "auto" or (device == "cuda" and self.gpus_per_actor):
            return self.gpus_per_actor
        if self.gpus_per_actor and device != "cuda":
            raise OptionError(
                f"gpus_per_actor={self.gpus_per_actor:g} (--gpus-per-actor) with device={device!r}: leave one of them "
                "out."
            )
        if device == "cuda" and self.gpus_per_actor is not None:
            raise OptionError("gpus_per_actor=0 (--gpus-per-actor) with device='cuda': leave one of them out.")
        return float(device == "cuda")

    def _actor_options(self, share: Share, threads: int) -> dict[str, Any]:
        """Of Ray: the given ones, and those that the executor needs."""
        given = dict(self.options or {})
        environment = dict(given.pop("runtime_env", {}))
        variables = {**environment.pop("env_vars", {}), "OMP_NUM_THREADS": str(threads)}  # Ray sets it to whole cores
        return {
            **given,
            "num_cpus": share.cpus,
            "num_gpus": share.gpus,
            "max_restarts": -1,
            "max_task_retries": 0,
            "runtime_env": {**environment, "env_vars": variables},
        }


class RayFleet:
    """The workers of a cluster.

    Args:
        ray: the module.
        cluster: what there is.
        share: what each worker gets.
        pool: of them.
        hardware: that all must have; others are left out.
    """

    def __init__(self, ray: Any, cluster: Cluster, share: Share, pool: WorkerPool, hardware: Hardware) -> None:
        self.ray, self.cluster, self.share, self.pool, self.hardware = ray, cluster, share, pool, hardware

    def run(self, plan: Plan, units: Iterable[Unit], make_worker: MakeWorker, sink: Sink) -> None:
        """Do the units.

        Raises:
            OptionError: what makes the worker cannot be sent, no worker arrives at this plan, or none starts for too
                long; the message names what is missing.
        """
        queue = UnitQueue(units)
        if not queue.left:
            return
        workers = min(self.share.workers, queue.left)
        _log.info(
            "Ray: %s; %s with %s each, %s; %s of work",
            self.cluster, counted(workers, "worker"), self.share, self.hardware.model, counted(queue.left, "unit"),
        )  # fmt: skip
        with sink.probe() as probe:
            place = os.getcwd(), tuple(sys.path)
            job = Job(plan, self._packed(make_worker), place, probe, sink, queue)
            self.pool.work(job, workers, self.hardware)

    def _packed(self, make_worker: MakeWorker) -> Any:
        """What makes a worker, in the object store; the workers of a machine share its arrays."""
        dumps: Any = self.ray.cloudpickle.dumps  # it also takes functions of notebooks and of the script that runs
        buffers: list[Any] = []
        try:
            head = dumps(make_worker.elsewhere, protocol=5, buffer_callback=buffers.append)
        except Exception as error:  # of whatever the user's objects raise
            raise OptionError(
                f"the data or the model cannot be sent to the workers ({first_line(error)}): pass a spec such as "
                "py:module:attr, which each worker opens itself."
            ) from error
        arrays = [np.frombuffer(buffer.raw(), dtype=np.uint8) for buffer in buffers]
        size = (len(head) + sum(map(len, arrays))) / 1e9
        if 1e9 * size > _LARGE:
            _log.info("sending %.1f GB of data to the workers: if you pass a spec instead, they open it there", size)
        try:
            return self.ray.put((head, arrays))
        except self.ray.exceptions.RayError as error:
            raise OptionError(
                f"the data ({size:.1f} GB) does not fit into Ray's object store: pass a spec such as parquet:FILE, "
                "which each worker opens itself, or start Ray with a larger object store."
            ) from error


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """The module `ray`, connected: to the Ray that is initialised already, to an address, or to one started here.

    Args:
        address: of a cluster; None = that of RAY_ADDRESS, or start Ray on this machine, which ends with the context.

    Raises:
        MissingExtra: Ray is not installed.
        OptionError: the address cannot be used.
    """
    with _settings():
        ray: Any = require("ray", "ray")
        if ray.util.client.ray.is_connected():
            raise _of_client("the address that ray.init was given")
        there = ray.is_initialized()
        if not there:
            _begin(ray, address or os.environ.get("RAY_ADDRESS") or "local")
    try:
        yield ray
    finally:
        if not there:
            ray.shutdown()


@contextmanager
def _settings() -> Iterator[None]:
    """While Ray starts: its switches, and the handler of SIGTERM, which it replaces."""
    before = {name: os.environ.get(name) for name in _SETTINGS}
    os.environ.update({name: value for name, value in _SETTINGS.items() if before[name] is None})
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM) if main else None
    try:
        yield
    finally:
        if handler is not None:
            signal.signal(signal.SIGTERM, handler)
        for name in [name for name, value in before.items() if value is None]:
            os.environ.pop(name, None)


def _begin(ray: Any, address: str) -> None:
    """Connect to an address, or start Ray here if it is "local"."""
    if address.startswith("ray://"):
        raise _of_client(address)
    if address.startswith(("http://", "https://")):
        raise OptionError(
            f"{address} is the address of the Ray dashboard, which serves only `ray job submit`: unset RAY_ADDRESS, or "
            "give address='HOST:6379' (--address HOST:6379) or executor='local' (--executor local)."
        )
    here = address == "local"
    options: dict[str, Any] = {"object_store_memory": _store(), "include_dashboard": False} if here else {}
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR", **options)
    except Exception as error:  # of many kinds
        raise OptionError(
            f"Ray cannot be started on this machine ({first_line(error)}): check its memory, /dev/shm and /tmp, or use "
            "executor='local' (--executor local)."
            if here
            else f"no Ray cluster answers at {address} ({first_line(error)}): check the address, and what `ray status` "
            "says there."
        ) from error


def _of_client(address: str) -> OptionError:
    return OptionError(
        f"{address} is a Ray Client address, and Ray Client cannot stream results: run the command on a machine of the "
        "cluster with address='auto' (--address auto), or submit it with `ray job submit`."
    )


def _store() -> int:
    """Bytes for the object store: Ray's own choice, 30 % of the memory, is more than parts and checkpoints need."""
    least, enough = _STORE
    try:
        there = os.statvfs("/dev/shm")
    except (OSError, AttributeError):  # Windows has neither
        return enough
    return max(least, min(enough, int(0.9 * there.f_bavail * there.f_frsize)))
