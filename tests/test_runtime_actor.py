"""What a worker in another process says and sends, without Ray."""

from __future__ import annotations

import io
import logging
import os
import pickle
import shutil

import numpy as np
import pytest
import torch

from datadiet.errors import DataError
from datadiet.files.writing import temporary_name
from datadiet.runtime import Plan, RunFolder, Sink, transfer
from datadiet.runtime.actor import Actor, Failure, Note, ProcessFailed, Restarted, Started, Written, _sees
from datadiet.runtime.transfer import Arrivals, Departures, Piece, pieces_of
from datadiet.runtime.units import Cost, Product, Unit


@pytest.fixture(autouse=True)
def _level():
    """An actor has a process of its own, and makes its log quiet."""
    log = logging.getLogger("datadiet")
    before, handlers = log.level, [*log.handlers]
    yield
    log.setLevel(before)
    log.handlers = handlers


READS = frozenset({"state/seed-0"})


class Writing:
    """A worker that makes one product of every kind."""

    def __init__(self, plan, path):
        self.plan, self.path = plan, path

    def run(self, unit, emit):
        if unit.kind == "fail":
            raise DataError("the example 'x' is damaged.")
        if unit.kind == "odd":
            raise RuntimeError(lambda: 1)
        if unit.kind == "gpu":
            raise DataError("the network fails.") from torch.AcceleratorError("an illegal memory access")
        if unit.kind == "label":
            raise DataError("the network fails.") from torch.AcceleratorError(
                "CUDA error: device-side assert triggered"
            )
        if unit.kind == "warn":
            logging.getLogger("datadiet").warning("the weights of %s are rounded", unit.kind)
        emit(Product("embeddings/x/seed-0/epoch-1/part-0-2.npy", np.arange(2), examples=2))
        emit(Product("state/seed-0", "text"))
        emit(Product("run.json", {"a": 1}))
        emit(Product("run.json", Cost("x", 2.0)))
        emit(Product("state/seed-0", None))

    def close(self):
        pass


def begun(tmp_path, token=None):
    plan = Plan({"a": 1})
    sink = Sink(RunFolder(tmp_path, plan))
    made = (pickle.dumps(Made(plan)), [])
    actor = Actor()
    with sink.probe() as (path, content):
        answer = actor.begin(made, (os.getcwd(), ()), plan, tmp_path, (path, token or content), READS)
    return actor, answer


class Made:
    def __init__(self, plan):
        self.plan = plan

    def __call__(self, path):
        return Writing(self.plan, path)


def test_an_actor_that_sees_the_folder_writes_files_and_returns_what_belongs_into_json(tmp_path):
    actor, answer = begun(tmp_path)
    assert answer == (True, "")
    messages = list(actor.run(Unit("measure", ("x", 0, 1))))
    assert messages == [
        Started(),
        Written("embeddings/x/seed-0/epoch-1/part-0-2.npy", 2), Written("state/seed-0", 0),
        Product("run.json", {"a": 1}), Product("run.json", Cost("x", 2.0)),
    ]  # fmt: skip
    assert np.load(tmp_path / "embeddings/x/seed-0/epoch-1/part-0-2.npy").tolist() == [0, 1]
    assert not (tmp_path / "state/seed-0").exists() and not (tmp_path / "run.json").exists()


def test_an_actor_that_does_not_see_the_folder_returns_the_files(tmp_path):
    actor, answer = begun(tmp_path, token="another")
    assert answer == (False, "")
    sent = actor.run(Unit("measure", ("x", 0, 1)))
    assert next(sent) == Started()
    piece, folder = next(sent), actor._temporary
    assert piece.last and np.load(io.BytesIO(piece.data.tobytes())).tolist() == [0, 1]
    messages = list(sent)
    assert [type(message) for message in messages] == [Written, Piece, Written, Product, Product, Product]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["manifest.json"], "of the probe"
    assert not [*folder.rglob("part-*")], "what is sent and not read again is removed"
    actor.close()
    assert not folder.exists()


def test_an_error_in_a_unit_is_returned_as_it_is(tmp_path):
    actor, _ = begun(tmp_path)
    _, failure = actor.run(Unit("fail", (0,)))
    assert isinstance(failure, Failure) and isinstance(failure.error, DataError)
    assert str(failure.error) == "the example 'x' is damaged." and "in run" in failure.trace
    _, odd = actor.run(Unit("odd", (0,)))
    assert isinstance(odd.error, RuntimeError), "one that cannot be pickled is returned as text"


def test_an_actor_tells_what_only_its_process_cannot_do(tmp_path):
    """An idle one that was restarted has opened nothing; a GPU that failed stays so; its own disk may be full."""
    (message,) = Actor().run(Unit("measure", ("x", 0, 1)))
    assert message == Restarted()
    actor, _ = begun(tmp_path, token="another")
    _, message = actor.run(Unit("gpu", (0,)))
    assert isinstance(message, ProcessFailed) and "an illegal memory access" in message.reason
    _, message = actor.run(Unit("label", (0,)))
    assert isinstance(message, Failure), "which a label that is too large gives on every GPU"
    shutil.rmtree(actor._temporary)
    actor._temporary.write_text("in the way")
    _, message = actor.run(Unit("measure", ("x", 0, 1)))
    assert isinstance(message, ProcessFailed)
    actor._temporary.unlink()


def test_the_warnings_of_a_worker_reach_the_driver(tmp_path):
    actor, _ = begun(tmp_path)
    assert list(actor.run(Unit("warn", (0,))))[-1] == Note("the weights of warn are rounded")


def test_a_folder_that_a_worker_cannot_write_is_not_shared(tmp_path, monkeypatch):
    path = tmp_path / "probe"
    path.write_text("token")
    assert _sees(path, "token") and not _sees(path, "other") and not _sees(tmp_path / "no", "token")
    assert [p.name for p in tmp_path.iterdir()] == ["probe"]

    def refused(self, *_, **__):
        raise PermissionError("read-only")

    monkeypatch.setattr(type(path), "write_text", refused)
    assert not _sees(path, "token")


def test_a_file_arrives_as_it_was_sent(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "PIECE", 1000)
    (tmp_path / "from" / "a").mkdir(parents=True)
    arrivals = Arrivals(tmp_path / "to")
    for size in (0, 1, 1000, 1001, 12345):
        content = np.random.default_rng(size).bytes(size)
        (tmp_path / "from" / "a" / "f").write_bytes(content)
        pieces = list(pieces_of(tmp_path / "from", "a/f"))
        assert len(pieces) == max(1, -(-size // 1000))
        assert [arrivals.add(pickle.loads(pickle.dumps(piece))) for piece in pieces] == [piece.last for piece in pieces]
        assert (tmp_path / "to" / "a" / "f").read_bytes() == content


def test_the_pieces_of_a_file_are_stored_once_until_it_changes(tmp_path):
    stored = []
    departures = Departures(lambda piece: stored.append(piece) or len(stored))
    (tmp_path / "f").write_bytes(b"old")
    assert departures.of(tmp_path, "f") == departures.of(tmp_path, "f") == [1]
    (tmp_path / "f").write_bytes(b"new")
    os.utime(tmp_path / "f", ns=(1, 1))
    assert departures.of(tmp_path, "f") == [2] and bytes(stored[1].data) == b"new"
    for name in "abcd":
        (tmp_path / name).write_bytes(b"")
        departures.of(tmp_path, name)
    assert departures.of(tmp_path, "f") == [7], "only the latest are kept"


def test_a_file_whose_sender_is_lost_leaves_nothing(tmp_path):
    arrivals = Arrivals(tmp_path)
    assert not arrivals.add(Piece("a/f", np.ones(10, dtype=np.uint8), last=False))
    arrivals.drop()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert arrivals.add(Piece("a/f", np.zeros(3, dtype=np.uint8), last=True))
    assert (tmp_path / "a" / "f").read_bytes() == b"\0\0\0"


def test_an_actor_whose_own_disk_fails_says_so_and_the_next_one_tidies_up(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    actor, answer = begun(tmp_path, token="another")
    assert isinstance(answer, ProcessFailed) and "FileNotFoundError" in answer.reason
    (tmp_path / "tmp").mkdir()
    dead = temporary_name(tmp_path / "tmp" / "datadiet").name.replace(str(os.getpid()), "999999999")
    (tmp_path / "tmp" / dead).mkdir()
    actor, answer = begun(tmp_path, token="another")
    assert answer == (False, "") and [*(tmp_path / "tmp").iterdir()] == [actor._temporary]
