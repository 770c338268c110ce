"""The threads that share the tiles of a pass."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch

from datadiet.geometry import assign, kmeans, nearest
from datadiet.geometry.workers import Workers

CPU = torch.device("cpu")


@pytest.fixture
def threads():
    """A function that sets how many threads torch uses; afterwards it is what it was."""
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
def test_what_is_made_comes_in_the_order_of_the_items(threads, number):
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


def test_another_device_has_the_caller_alone():
    ident = threading.get_ident()
    with Workers(torch.device("meta")) as workers:
        assert [made for _, made in workers.in_order(lambda _: threading.get_ident(), range(3))] == [ident] * 3
        assert workers.buffer(2, 2).device.type == "meta"
