"""What several test files share. They cannot import each other, so helpers are fixtures that return functions."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# Scorers that read gradients, or compare the features of two data sets: by the data alone, and with a reference.
ALONE = ("grand", "vog", "self_influence", "ekfac_self_influence")
COMPARING = ("grad_dot", "grad_cos", "trak", "datainf", "influence", "knn_shapley")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs: list[Any]) -> None:
    """Share the cores among the workers: threads of torch that wait for a core take ten times as long."""
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // len(specs))))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """torch computes in one thread while the tests of a module run."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def assert_close() -> Callable[..., None]:
    """(got, wanted): within rtol, or within a share `atol` of the largest value where a sum nearly vanishes."""

    def check(got: Any, wanted: Any, rtol: float = 1e-5, atol: float = 1e-6, name: str = "") -> None:
        np.testing.assert_allclose(got, wanted, rtol=rtol, atol=atol * float(np.abs(wanted).max()), err_msg=name)

    return check


@pytest.fixture(scope="session")
def mean_gradient() -> Callable[..., Any]:
    """(net, x, y): the gradient of the mean loss of some examples, as one vector, by plain autograd."""
    import torch
    from torch.nn import functional

    def gradient(net: Any, x: Any, y: Any) -> Any:
        found = torch.autograd.grad(functional.cross_entropy(net(x), y), list(net.parameters()))
        return torch.cat([part.flatten() for part in found]).double()

    return gradient


@pytest.fixture
def check_in_two(tmp_path: Path) -> Callable[..., None]:
    """(script, *arguments): run it as two processes of torchrun would; the output of both if one fails."""
    import datadiet

    def run(script: str, *arguments: Any) -> None:
        (tmp_path / "script.py").write_text(script + LEAVE)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        shared |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": "lo"}
        shared["PYTHONPATH"] = str(Path(datadiet.__file__).parents[1])
        command = [sys.executable, str(tmp_path / "script.py"), *map(str, arguments)]
        environments = [{**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
        logs = [tmp_path / f"rank-{rank}.log" for rank in range(2)]
        processes = []
        for environment, log in zip(environments, logs, strict=True):
            with log.open("w") as file:
                processes.append(subprocess.Popen(command, env=environment, stdout=file, stderr=file))
        try:
            codes = [process.wait(timeout=120) for process in processes]
        finally:
            for process in processes:
                process.kill()
        assert codes == [0, 0], "\n".join(log.read_text() for log in logs)

    return run


# One run in ten, torch 2.15 aborts while the interpreter winds down after DDP over gloo.
LEAVE = """
import os
torch.distributed.barrier()
os._exit(0)
"""

# The files of a run.


@pytest.fixture(scope="session")
def written() -> Callable[..., dict[str, Path]]:
    """(run, *below): relative name -> file; no more than what stands below some folders, if they are given."""

    def files(run: Path, *below: str) -> dict[str, Path]:
        found = (path for path in sorted(Path(run).rglob("*")) if path.is_file() and path.name != "run.json")
        names = {str(path.relative_to(run)): path for path in found}
        return {name: path for name, path in names.items() if not below or name.startswith(below)}

    return files


@pytest.fixture(scope="session")
def contents(written: Callable[..., dict[str, Path]]) -> Callable[..., dict[str, bytes]]:
    """(run, *below): relative name -> bytes of all files that do not tell the time."""
    return lambda run, *below: {name: path.read_bytes() for name, path in written(run, *below).items()}


@pytest.fixture(scope="session")
def stamps(written: Callable[..., dict[str, Path]]) -> Callable[[Path], dict[str, int]]:
    """(run): when each part and each file of weights was written."""
    return lambda run: {name: path.stat().st_mtime_ns for name, path in written(run).items() if "/seed-" in name}


# Small runs of the scorers that read gradients.


@pytest.fixture(params=ALONE + COMPARING)
def gradient_scorer(request: pytest.FixtureRequest) -> str:
    """Each of them."""
    return request.param


@pytest.fixture(params=COMPARING)
def comparing_scorer(request: pytest.FixtureRequest) -> str:
    """Each of those that compare with reference data."""
    return request.param


@pytest.fixture(scope="session")
def gradient_scorers() -> list[str]:
    """All of them."""
    return [*ALONE, *COMPARING]


@pytest.fixture(scope="session")
def comparing_scorers() -> list[str]:
    """Those that compare with reference data."""
    return list(COMPARING)


@pytest.fixture(scope="session")
def tiny() -> Callable[[], Any]:
    """(): a network for digits."""
    from torch import nn

    return lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))


@pytest.fixture(scope="session")
def some_digits() -> Callable[..., Any]:
    """(lo, hi): 120 digits if not told otherwise."""
    from datadiet.data import open_data

    return lambda lo=0, hi=120: open_data("digits").subset(np.arange(lo, hi))


@pytest.fixture(scope="session")
def other_digits() -> Callable[..., Any]:
    """(lo, hi): digits that no training sees, 60 if not told otherwise."""
    from datadiet.data import open_data

    return lambda lo=0, hi=60: open_data("digits", split="eval").subset(np.arange(lo, hi))


@pytest.fixture(scope="session")
def score_small(tiny: Any, some_digits: Any, other_digits: Any) -> Callable[..., Any]:
    """(out, scorers): a small run; scorers that compare get something to compare with."""
    from torch import nn

    import datadiet as dd

    def score(
        out: Any = None, scorers: Any = "grand", data: Any = None, model: Any = tiny, **options: Any
    ) -> dd.Scores:
        trained = isinstance(model, nn.Module) or "checkpoints" in options
        names = scorers.split(",") if isinstance(scorers, str) else scorers
        compared = {"reference": other_digits()} if set(map(str, names)) & set(COMPARING) else {}
        fixed = {"recipe": {"batch_size": 20}, "out": out, **({} if trained else {"epochs": 2}), **compared}
        return dd.score(some_digits() if data is None else data, model, scorers, **{**fixed, **options})

    return score


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 40 rows."""
    monkeypatch.setattr("datadiet.workflow.scoring.recording.shard_rows", lambda *sizes: 40)
