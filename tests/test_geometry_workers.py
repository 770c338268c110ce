"""The threads that share the tiles of a pass."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pytest
import torch

from datadiet.geometry import assign, kmeans, nearest
from datadiet.geometry.device import Device, full_precision
from datadiet.geometry.workers import Workers

CPU = Device.named("cpu")


@pytest.fixture
def threads():
    """A function that sets how many threads torch uses; the old number is restored afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def blobs(n, d):
    rng = np.random.default_rng(0)
    return (3 * rng.standard_normal((40, d)) + rng.standard_normal((n // 40, 40, d))).reshape(-1, d).astype("f4")


@pytest.mark.parametrize("spherical", [True, False])
def test_the_number_of_threads_changes_no_bit_of_clusters(threads, spherical):
    points = blobs(9000, 24)
    found = []
    for number in (1, 2, 5):
        threads(number)
        found.append((kmeans(points, 60, spherical=spherical), assign(points, points[:2500], spherical=spherical)))
    for clusters, (labels, distance) in found[1:]:
        for name in ("centroids", "labels", "distance"):
            assert (getattr(clusters, name) == getattr(found[0][0], name)).all()
        assert clusters.objective == found[0][0].objective
        assert (labels == found[0][1][0]).all() and (distance == found[0][1][1]).all()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_number_of_threads_changes_no_bit_of_neighbours(threads, metric):
    points = blobs(5000, 24)
    found = []
    for number in (1, 2, 5):
        threads(number)
        found.append(nearest(points, 7, metric=metric))
    for rows, distance in found[1:]:
        assert (rows == found[0][0]).all() and (distance == found[0][1]).all()


@pytest.mark.parametrize("number", [1, 3])
def test_results_come_in_the_order_of_the_items(threads, number):
    threads(number)
    with Workers(CPU) as workers:
        found = list(workers.in_order(lambda item: time.sleep(0.002 * (item % 4 == 0)) or item**2, range(20)))
    assert found == [(item, item**2) for item in range(20)]


def test_several_threads_work_each_with_one_of_torch_s_and_the_setting_comes_back(threads):
    threads(3)
    meet = threading.Barrier(3, timeout=20)  # broken unless three work at once

    def work(item):
        meet.wait()
        return torch.get_num_threads(), torch.is_inference_mode_enabled(), threading.get_ident()

    with Workers(CPU) as workers:
        made = [found for _, found in workers.in_order(work, range(3))]
        assert torch.get_num_threads() == 1
    assert [found[:2] for found in made] == [(1, True)] * 3
    assert len({found[2] for found in made}) == 3
    assert torch.get_num_threads() == 3


def test_an_error_comes_through_and_the_setting_comes_back(threads):
    threads(3)
    with pytest.raises(ZeroDivisionError), Workers(CPU) as workers:
        list(workers.in_order(lambda item: 1 // (item - 5), range(10)))
    assert torch.get_num_threads() == 3


def test_few_items_are_held_at_once(threads):
    threads(2)
    handed, used = [], []

    def items():
        for item in range(50):
            handed.append(item)
            assert len(handed) - len(used) <= 4
            yield item

    with Workers(CPU) as workers:
        for item, _ in workers.in_order(lambda item: item, items()):
            used.append(item)
    assert used == list(range(50))


def test_each_thread_has_buffers_of_its_own(threads):
    threads(2)
    meet = threading.Barrier(2, timeout=20)

    def work(item):
        buffer = workers.buffer(4, 3)
        buffer.fill_(item)
        meet.wait()
        assert workers.buffer(2, 3).data_ptr() == buffer.data_ptr()  # given again
        assert workers.buffer(4, 5).data_ptr() != buffer.data_ptr()
        return buffer.clone()

    with Workers(CPU) as workers:
        made = [found for _, found in workers.in_order(work, [1, 2])]
    assert [found.unique().tolist() for found in made] == [[1.0], [2.0]]


def test_another_device_uses_only_the_callers_thread():
    ident = threading.get_ident()
    with Workers(Device.named("meta")) as workers:
        assert [made for _, made in workers.in_order(lambda _: threading.get_ident(), range(3))] == [ident] * 3
        assert workers.buffer(2, 2).device.type == "meta"


def test_threads_started_meanwhile_use_the_usual_number(threads):
    threads(3)
    with Workers(CPU), ThreadPoolExecutor(1) as other:
        assert other.submit(torch.get_num_threads).result() == 3
    assert torch.get_num_threads() == 3


AFTER_THE_END = """
import atexit, threading
import numpy as np, torch
from datadiet.geometry import kmeans
torch.set_num_threads(2)
points = np.random.default_rng(0).normal(size=(5000, 4))
def work(name):
    kmeans(points, 5, iterations=2)
    print(name, flush=True)
atexit.register(work, "at exit")
threading.Thread(target=lambda: (threading.main_thread().join(), work("thread"))).start()
"""


def test_a_program_that_is_shutting_down_still_clusters():
    done = subprocess.run([sys.executable, "-c", AFTER_THE_END], capture_output=True, text=True, timeout=120)
    assert sorted(done.stdout.splitlines()) == ["at exit", "thread"], done.stderr


class Handle:
    """Rows of a file that are read by a seek followed by a read."""

    def __init__(self, array, path):
        array.tofile(path)
        self.file, self.shape, self.dtype = path.open("rb"), array.shape, array.dtype

    def __getitem__(self, rows):
        rows = np.arange(self.shape[0])[rows]
        self.file.seek(int(rows[0]) * self.shape[1] * 4)
        time.sleep(1e-4)
        data = self.file.read((int(rows[-1]) - int(rows[0]) + 1) * self.shape[1] * 4)
        return np.frombuffer(data, dtype="f4").reshape(-1, self.shape[1])[rows - rows[0]]


def test_rows_that_are_not_an_array_are_read_one_at_a_time(threads, tmp_path):
    threads(4)
    points = blobs(9000, 6)
    assert (assign(Handle(points, tmp_path / "x"), points[:9])[0] == assign(points, points[:9])[0]).all()


def test_products_are_exact_until_the_last_that_overlaps_is_done():
    torch.set_float32_matmul_precision("high")
    one, other = full_precision(), full_precision()
    with ExitStack() as last:
        with one:
            last.enter_context(other)
        assert torch.get_float32_matmul_precision() == "highest"
    assert torch.get_float32_matmul_precision() == "high"
    torch.set_float32_matmul_precision("highest")


def test_another_default_type_of_torch():
    points = blobs(2000, 5)
    want = kmeans(points, 7), nearest(points, 3)
    torch.set_default_dtype(torch.float64)
    try:
        found = kmeans(points, 7), nearest(points, 3)
    finally:
        torch.set_default_dtype(torch.float32)
    assert (found[0].labels == want[0].labels).all() and (found[1][0] == want[1][0]).all()


def test_a_few_rows_are_shared_out_too():
    workers = Workers(CPU)
    workers.threads = 4
    assert [workers.share(n, 8192, 1024) for n in (100, 4000, 4096, 8192, 10**6)] == [1024, 1024, 1024, 2048, 2048]
    assert [workers.share(n, 8192, 128) for n in (100, 1000, 8192)] == [128, 128, 2048]
