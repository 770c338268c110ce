"""`score(logits=…)`: what is stored, and a student that learns from it as from the network itself."""

from __future__ import annotations

import logging
import shutil

import numpy as np
import pytest
import torch
from torch import nn

import datadiet as dd
from datadiet.data import open_data
from datadiet.errors import DataError, OptionError
from datadiet.runtime.vectors import parts_of
from datadiet.training import loop as loop_module
from datadiet.workflow.fitting import teachers
from datadiet.workflow.planning.costs import plan

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = {"lr": 0.03, "augment": "translate:1"}
SHIFTED = {**RECIPE, "views": 3}


def score(out, recipe=RECIPE, scorers="el2n", logits=None, **options):
    return dd.score("digits", "datadiet:mlp", scorers, epochs=2, recipe=recipe, out=out, logits=logits, **options)


def train(teacher, recipe=SHIFTED, **options):
    return dd.train(
        "digits", "datadiet:mlp", **{"teacher": teacher, "epochs": 4, "recipe": recipe, "seed": 5, **options}
    )


def weights_of(result):
    return torch.cat([p.detach().flatten() for p in result.model.parameters()])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A network that was asked for three shifted views of all the digits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("logits") / "run"
    score(out, logits={"views": 3})
    torch.set_num_threads(threads)
    return out


def folder(run, name="logits@views=3"):
    return run / f"embeddings/{name}/seed-0/epoch-2"


@pytest.fixture
def losses(monkeypatch):
    """The losses of each step of the trainings in a test."""
    found = []

    class Noting(loop_module.Trainer):
        def _backward(self, part, share):
            step = super()._backward(part, share)
            found.append(step.losses.clone())
            return step

    monkeypatch.setattr("datadiet.workflow.fitting.training_job.Trainer", Noting)
    return found


def test_a_stored_teacher_gives_the_losses_of_the_network_up_to_float16(run, losses, monkeypatch):
    stored = train(run)
    first, losses[:] = list(losses), []
    monkeypatch.setattr(teachers, "stored_logits", lambda given, session: None)
    beside = train(run)
    assert len(first) == len(losses) == stored.steps > 4
    torch.testing.assert_close(torch.cat(first), torch.cat(losses), rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(weights_of(stored), weights_of(beside), rtol=1e-2, atol=2e-3)
    assert not torch.equal(weights_of(stored), weights_of(beside))  # the logits really were rounded


def test_the_vectors_are_the_outputs_on_each_view(run):
    """Each view of an example is a function of (seed, view, example), whatever batch it is in."""
    from datadiet.data import Feed, measure_normalisation
    from datadiet.models import load_checkpoint, open_model

    digits = open_data("digits")
    network = load_checkpoint(
        open_model("datadiet:mlp", (1, 8, 8), 10).fresh(0), run / "checkpoints/seed-0/epoch-2.safetensors"
    )
    network.eval()
    feed = Feed(digits, measure_normalisation(digits), torch.device("cpu"), "translate:1")
    rows, stored = np.array([1000, 3, 77]), parts_of(folder(run))
    assert stored.shape == (1438, 30) and stored.dtype == np.float16
    with torch.no_grad():
        wanted = torch.cat([network(next(feed.batches(rows, 3, view)).inputs) for view in (1, 2, 3)], dim=1)
    np.testing.assert_allclose(stored[rows], wanted.numpy(), rtol=2e-3, atol=2e-3)


def test_few_bytes_teach_nearly_the_same(run, tmp_path, losses):
    score(tmp_path / "top", logits={"views": 3, "top": 4})
    assert parts_of(folder(tmp_path / "top", "logits@top=4@views=3")).shape == (1438, 3 * 16)
    whole, first = train(run), list(losses)
    losses.clear()
    few = train(tmp_path / "top")
    torch.testing.assert_close(torch.cat(losses[:12]), torch.cat(first[:12]), rtol=0.1, atol=0.1)
    assert abs(few.accuracy - whole.accuracy) < 0.1


class Counting(nn.Module):
    """A linear network that counts the examples it sees."""

    def __init__(self):
        super().__init__()
        self.head, self.seen = nn.Linear(64, 10, bias=False), 0
        with torch.no_grad():
            self.head.weight.copy_(torch.linspace(-1, 1, 640).view(10, 64) / 8)

    def forward(self, x):
        self.seen += len(x)
        return self.head(x.flatten(1))


def test_scores_vectors_and_logits_come_from_one_forward_pass(tmp_path):
    """Nothing is augmented, so the clean view is all there is. Each alone gives the same bytes."""
    seen = []
    for name, scorers, logits in (
        ("all", "el2n,prototypes", True),
        ("eval", "el2n", False),
        ("features", "prototypes", False),
    ):
        network = Counting()
        dd.score("digits", network, scorers, recipe={"batch_size": 64}, logits=logits, out=tmp_path / name)
        seen.append(network.seen)
    assert seen[0] - 1438 < 50 and seen[1] - 1438 < 50  # a few for checks
    for part in (
        "signals/eval/seed-0/epoch-1/part-0-1438.parquet",
        "embeddings/features/seed-0/epoch-1/part-0-1438.npy",
    ):
        alone = tmp_path / ("eval" if "eval" in part else "features") / part
        assert (tmp_path / "all" / part).read_bytes() == alone.read_bytes()
    assert parts_of(tmp_path / "all/embeddings/logits/seed-0/epoch-1").shape == (1438, 10)


def test_what_is_missing_of_a_shared_pass_is_made_again(tmp_path):
    def scored():
        return dd.score("digits", Counting(), "el2n,prototypes", logits=True, out=tmp_path / "run")

    scored()
    files = {path: path.read_bytes() for path in tmp_path.rglob("part-*")}
    assert len(files) == 3
    for path in files:
        path.unlink()
        scored()
        assert {path: path.read_bytes() for path in tmp_path.rglob("part-*")} == files


def test_the_plan_tells_the_bytes_of_the_logits(run, tmp_path):
    for logits, path in (({"views": 3}, folder(run)), (True, None), ({"views": 3, "top": 4}, None)):
        found = plan("digits", model="datadiet:mlp", scorers="el2n", epochs=2, recipe=RECIPE, logits=logits).disk[
            "logits"
        ]
        if path is not None:
            assert found == parts_of(path).shape[0] * 30 * 2
        else:
            assert found == 1438 * (8 * 10 * 2 if logits is True else 3 * 16)


@pytest.mark.parametrize(
    ("recipe", "why"),
    [
        (RECIPE, "they are of 3 views, and the student sees a new one every epoch.*--set views=3"),
        ({**RECIPE, "views": 4}, "they are of 3 views, and the student sees 4"),
        ({**SHIFTED, "augment_seed": 1}, "augment_seed=0, and the student's is 1"),
        ({**SHIFTED, "augment": "translate:2"}, "augment = translate:1, and the student sees augment = translate:2"),
    ],
)
def test_logits_that_do_not_fit_give_way_to_the_network_and_are_refused_without_one(run, tmp_path, caplog, recipe, why):
    caplog.set_level(logging.INFO, "datadiet")
    train(run, recipe, epochs=1)
    assert "are not used" in caplog.text and "datadiet:mlp of" in caplog.text
    alone = tmp_path / "alone"
    shutil.copytree(run, alone)
    shutil.rmtree(alone / "checkpoints")
    with pytest.raises(DataError, match=f"cannot teach here: .*{why}"):
        train(alone, recipe, out=tmp_path / "student")
    assert not (tmp_path / "student").exists()
    assert train(alone, epochs=1).steps


def test_logits_of_other_data_or_of_an_unfinished_run_are_refused(run, tmp_path):
    alone = tmp_path / "alone"
    shutil.copytree(run, alone)
    shutil.rmtree(alone / "checkpoints")
    other = (np.zeros((20, 1, 8, 8), dtype=np.uint8), np.arange(20) % 10)
    with pytest.raises(DataError, match="of other data"):
        dd.train(other, "datadiet:mlp", teacher=alone, epochs=1, recipe=SHIFTED)
    with pytest.raises(DataError, match="not of all the examples"):
        train(_scored_in_part(tmp_path / "part"))
    (alone / "scores.parquet").unlink()
    with pytest.raises(DataError, match="not finished"):
        train(alone)


def _scored_in_part(out):
    """The logits of nine tenths of the digits, without the network."""
    score(out, logits={"views": 3}, eval="10%")
    shutil.rmtree(out / "checkpoints")
    return out


def test_a_share_of_the_data_is_taught_by_the_logits_of_all(run):
    """The student holds a tenth back: its rows are others, its examples the same."""
    assert train(run, eval="10%", epochs=1).steps


@pytest.mark.parametrize(
    ("logits", "why"),
    [({"view": 3}, "views"), ({"views": 0}, "views=0"), ({"top": 10}, "top=10 of 10 classes"), ({"top": -1}, "top=-1")],
)
def test_options_that_cannot_be(logits, why, tmp_path):
    with pytest.raises(OptionError, match=why):
        score(tmp_path / "run", logits=logits)
    assert not (tmp_path / "run").exists()
