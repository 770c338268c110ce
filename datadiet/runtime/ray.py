"""The executor that spreads units over the GPUs or cores of a Ray cluster. No other module of the package uses Ray.

Each worker is an actor that lives until the end, opens data and model once, and does one unit at a time. Ray restarts
an actor that dies, and its unit goes back to the queue, since any worker may do it and writes the same bytes. Ray's own
retries stay off: they would repeat errors of the data too, and run out while a machine is replaced.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from datadiet.errors import OptionError, first_line, require
from datadiet.runtime.actor import Actor
from datadiet.runtime.cluster import Cluster, Share
from datadiet.runtime.crew import Crew
from datadiet.runtime.folder import Sink
from datadiet.runtime.hardware import Hardware
from datadiet.runtime.member import Job
from datadiet.runtime.plan import Plan
from datadiet.runtime.unit_queue import UnitQueue
from datadiet.runtime.units import MakeWorker, Unit

__all__ = ["RayExecutor", "RayFleet"]

_log = logging.getLogger("datadiet")

_STORE = 80 << 20, 2 << 30  # bytes of the object store of a Ray that is started here: at least, and enough
_LARGE = 100 << 20  # bytes of data that had better be read by the workers
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
        actors: how many workers; by default one per GPU, or without GPUs as many as there is room for.
        gpus_per_actor: 1 where there are GPUs by default; 0.25 lets four share one, for small networks.
        address: of a cluster, such as "auto"; by default RAY_ADDRESS, if it is set.
        patience: seconds without a worker after which to give up.

    Raises:
        OptionError: a number that makes no sense.
    """

    actors: int | None = None
    gpus_per_actor: float | None = None
    address: str | None = None
    patience: float = 600.0

    def __post_init__(self) -> None:
        if self.actors is not None and (not isinstance(self.actors, int) or self.actors < 1):
            raise OptionError(f"actors={self.actors!r}: give a whole number of at least 1.")
        gpus = self.gpus_per_actor
        if gpus is not None and not (0 <= gpus <= 1 or (gpus > 0 and float(gpus).is_integer())):
            raise OptionError(f"gpus_per_actor={gpus!r}: give a share of a GPU, such as 0.25, or a whole number.")

    def opens_on(self, device: Any) -> str:
        """The CPU: what this machine has plays no part.

        Raises:
            OptionError: the device is one card of this machine.
        """
        if ":" in str(device):
            raise OptionError(
                f"device={str(device)!r} is one card of one machine, and Ray gives each worker its own: give cuda, cpu "
                "or auto."
            )
        return "cpu"

    @contextmanager
    def start(self, device: Any, threads: int) -> Iterator[RayFleet]:
        """The workers; the first of them says what hardware all must have.

        Args:
            device: "auto" or a type of torch device.
            threads: of each worker; 0 = its share of the cores.
        """
        wanted = 0.0 if str(device) == "cpu" else self.gpus_per_actor
        if wanted is None and str(device) != "auto":
            wanted = 1.0
        with _connected(self.address, self.actors) as ray:
            cluster = Cluster.of(ray.nodes())
            share = cluster.share(self.actors, wanted, threads)
            fleet = RayFleet(ray, cluster, share, device, threads, self.patience)
            try:
                fleet.hardware = fleet.crew.first_hardware()
                yield fleet
            finally:
                fleet.crew.dismiss()


class RayFleet:
    """The workers of a cluster.

    Attributes:
        hardware: of the first one; workers on other hardware are left out.
    """

    hardware: Hardware

    def __init__(self, ray: Any, cluster: Cluster, share: Share, device: Any, threads: int, patience: float) -> None:
        self.ray, self.cluster, self.share = ray, cluster, share
        used = str(threads or max(1, int(share.cpus)))
        options = {
            "num_cpus": share.cpus,
            "num_gpus": share.gpus,
            "max_restarts": -1,
            "max_task_retries": 0,
            "runtime_env": {"env_vars": {"OMP_NUM_THREADS": used}},  # Ray sets the number of whole cores, at least 1
        }
        kind = ray.remote(Actor).options(**options)
        self.crew = Crew(ray, lambda: kind.remote(), device, str(share), patience)

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
            "Ray: %s; %d %s with %s each, %s; %s of work",
            self.cluster, workers, "worker" if workers == 1 else "workers", self.share, self.hardware.model,
            "1 unit" if queue.left == 1 else f"{queue.left} units",
        )  # fmt: skip
        with sink.probe() as probe:
            place = os.getcwd(), tuple(sys.path)
            job = Job(plan, self._packed(make_worker), place, probe, sink, queue)
            self.crew.work(job, workers, self.hardware)

    def _packed(self, make_worker: MakeWorker) -> Any:
        """What makes a worker, in the object store."""
        dumps: Any = self.ray.cloudpickle.dumps  # it also takes functions of notebooks and of the script that runs
        try:
            packed = np.frombuffer(dumps(make_worker.elsewhere), dtype=np.uint8)
        except Exception as error:  # of whatever the user's objects raise
            raise OptionError(
                f"the data or the model cannot be sent to the workers ({first_line(error)}): name it by a spec such as "
                "py:module:attr, which they open themselves."
            ) from error
        if len(packed) > _LARGE:
            _log.info("%.1f GB are sent to the workers: data given by a spec is opened there", len(packed) / 1e9)
        try:
            return self.ray.put(packed)
        except self.ray.exceptions.RayError as error:
            raise OptionError(
                f"the data, {len(packed) / 1e9:.1f} GB, does not fit into Ray's object store: give it by a spec such "
                "as parquet:FILE, or give Ray a larger object store."
            ) from error


@contextmanager
def _connected(address: str | None, workers: int | None) -> Iterator[Any]:
    """The module `ray`, connected: to the Ray that is initialised already, to an address, or to one started here.

    Args:
        address: of a cluster; None = that of RAY_ADDRESS, or start Ray on this machine, which ends with the context.
        workers: that must have a core each where Ray is started here.

    Raises:
        MissingExtra: Ray is not installed.
        OptionError: the address cannot be used.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    ray: Any = require("ray", "ray")
    if ray.is_initialized():
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if address.startswith("ray://"):
        raise OptionError(
            f"{address} is an address of Ray Client, which cannot stream results: run on a machine of the cluster with "
            "address='auto' (--address auto), or submit it by `ray job submit`."
        )
    options: dict[str, Any] = {}
    if address == "local":
        cores = max(os.cpu_count() or 1, workers or 1)
        options = {"num_cpus": cores, "object_store_memory": _store(), "include_dashboard": False}
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR", **options)
    except Exception as error:  # of many kinds
        problem = "Ray cannot be started here" if options else f"no Ray cluster answers at {address}"
        raise OptionError(f"{problem} ({first_line(error)}): see what `ray status` says.") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _store() -> int:
    """Bytes for the object store: Ray's own choice, 30 % of the memory, is more than parts and checkpoints need."""
    least, enough = _STORE
    try:
        there = os.statvfs("/dev/shm")
    except OSError:
        return enough
    return max(least, min(enough, int(0.9 * there.f_bavail * there.f_frsize)))
