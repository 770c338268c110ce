"""`score(against=…)`: a pass that sees two networks, whose parts belong to both."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import datadiet as dd
from datadiet.cli import main
from datadiet.data import open_data
from datadiet.errors import DataError, MissingSignal, OptionError
from datadiet.models import load_checkpoint, open_model
from datadiet.scorers import Need, ScorerSpec
from datadiet.signals.passes import PASSES
from datadiet.workflow.scoring import scoring_run
from datadiet.workflow.scoring.recording_worker import RecordingWorker, recording_worker

pytestmark = pytest.mark.usefixtures("one_thread")

FAST = {"batch_size": 64, "lr": 0.03}


@pytest.fixture(scope="module")
def digits():
    return open_data("digits").subset(np.arange(120))


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """A dense network, and two others."""
    folder = tmp_path_factory.mktemp("networks")
    for name, epochs, seed in (("dense", 4, 0), ("pruned", 2, 1), ("other", 1, 2)):
        with torch.random.fork_rng():
            dd.train("digits", "datadiet:mlp", epochs=epochs, seed=seed, recipe=FAST, out=folder / name)
    return folder


def network(folder):
    (path,) = (folder / "checkpoints/seed-0").glob("*") if (folder / "checkpoints/seed-0").exists() else _only(folder)
    return load_checkpoint(open_model("datadiet:mlp", (1, 8, 8), 10).fresh(0), path).eval()


def _only(folder):
    return list((folder / "checkpoints").glob("*/*"))


def score(digits, networks, against="pruned", scorers="divergence", **options):
    against = against if isinstance(against, nn.Module) else networks / against  # an absolute path stays as it is
    options = {"checkpoints": networks / "dense", **options}
    return dd.score(digits, options.pop("model", "datadiet:mlp"), scorers, against=against, **options)


def test_oracle_both_networks_run_by_hand(digits, networks):
    from datadiet.workflow.job_spec import JobSpec
    from datadiet.workflow.session import open_session

    session = open_session(JobSpec(digits, "datadiet:mlp", checkpoints=(_only(networks / "dense")[-1],)))
    found = score(digits, networks)
    (batch,) = session.feed.batches(np.arange(120), 120)
    with torch.no_grad():
        p, q = (network(networks / name)(batch.inputs).double().softmax(1) for name in ("dense", "pruned"))
    m = (p + q) / 2
    wanted = ((p * (p / m).log()).sum(1) + (q * (q / m).log()).sum(1)) / 2
    np.testing.assert_allclose(found["divergence"], wanted.numpy(), rtol=1e-4, atol=1e-7)
    assert found["divergence.predicted"].tolist() == p.argmax(1).tolist()
    assert found.names == ("divergence",) and (found.hardness("divergence") == found["divergence"]).all()
    assert (found["divergence"] > 0).all() and found["divergence"].max() <= np.float32(np.log(2))


def test_a_network_is_at_0_from_itself_through_every_door(digits, networks, tmp_path):
    same = network(networks / "dense")
    torch.save(same.state_dict(), tmp_path / "weights.pt")
    doors = (networks / "dense", _only(networks / "dense")[-1], tmp_path / "weights.pt")
    for door in doors:
        assert not score(digits, networks, against=door)["divergence"].any()
    assert not dd.score(digits, same, "divergence", against=copy.deepcopy(same))["divergence"].any()
    assert not dd.score(digits, same, "divergence", against=tmp_path / "weights.pt")["divergence"].any()


def test_the_modes_of_the_users_networks_are_restored(digits, networks):
    dense, pruned = (network(networks / name).train() for name in ("dense", "pruned"))
    dd.score(digits, dense, "divergence", against=pruned)
    assert dense.training and pruned.training


def test_inputs_are_normalised_as_in_the_run_of_each(digits, networks, tmp_path):
    """The same network trained on brighter images: its run says how they were scaled."""
    bright = torch.utils.data.TensorDataset(digits.take(np.arange(120)) // 2 + 100, torch.from_numpy(digits.labels))
    dd.train(bright, "datadiet:mlp", epochs=1, recipe=FAST, out=tmp_path / "bright")
    found = score(digits, networks, against=tmp_path / "bright")["divergence"]
    alone = score(digits, networks, against=network(tmp_path / "bright"))["divergence"]
    assert not np.array_equal(found, alone), "a network without a run takes the inputs of the other"


def test_every_other_network_has_parts_of_its_own(digits, networks, tmp_path, contents, stamps):
    run = tmp_path / "run"
    first = score(digits, networks, out=run)
    before, when = contents(run, "signals"), stamps(run)
    with pytest.raises(OptionError, match=r"'divergence' exists with other parameters.*--as NAME"):
        score(digits, networks, "other", out=run)
    both = score(digits, networks, "other", out=run, save_as="further")
    alone = score(digits, networks, "other")
    assert np.array_equal(both["further"], alone["divergence"])
    assert np.array_equal(both["divergence"], first["divergence"])
    assert not np.array_equal(both["further"], first["divergence"])
    assert contents(run).items() >= before.items() and stamps(run).items() >= when.items()
    assert len(list((run / "signals").iterdir())) == 2
    assert (
        both.meta["columns"]["further"]["needs"][0]["against"]
        != both.meta["columns"]["divergence"]["needs"][0]["against"]
    )


def test_the_same_weights_are_the_same_parts_however_they_are_given(digits, networks, tmp_path, stamps):
    run = tmp_path / "run"
    score(digits, networks, out=run)
    before = stamps(run)
    score(digits, networks, against=_only(networks / "pruned")[-1], out=run)
    assert stamps(run) == before


def test_a_killed_run_goes_on_with_the_parts_of_its_own_network(digits, networks, tmp_path, contents, monkeypatch):
    monkeypatch.setattr("datadiet.workflow.scoring.recording.shard_rows", lambda *sizes: 40)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    score(digits, networks, out=whole)
    measure, calls = RecordingWorker._measure, []

    def stops(self, unit, emit):
        calls.append(unit)
        if len(calls) == 2:
            raise KeyboardInterrupt
        measure(self, unit, emit)

    with monkeypatch.context() as patch:
        patch.setattr(RecordingWorker, "_measure", stops)
        with pytest.raises(KeyboardInterrupt):
            score(digits, networks, out=cut)
    other = score(digits, networks, "other", out=cut, save_as="further")
    assert np.array_equal(other["further"], score(digits, networks, "other")["divergence"])
    score(digits, networks, out=cut)
    name = next((whole / "signals").iterdir()).name
    assert contents(cut, f"signals/{name}") == contents(whole, f"signals/{name}")
    assert len(contents(cut, f"signals/{name}")) == 3


def test_it_shares_a_forward_pass_and_writes_the_same_bytes(digits, networks, tmp_path, contents):
    """With the output signals and the features, whose files do not depend on what was asked for together."""
    together, apart = tmp_path / "together", tmp_path / "apart"
    scorers = ("divergence", "loss", "prototypes")
    score(digits, networks, scorers=",".join(scorers), out=together)
    log = json.loads((together / "run.json").read_text())
    assert len([key for key in log if "divergence" in key and "+" not in key]) <= 1
    score(digits, networks, scorers="divergence", out=apart)
    for scorer in scorers[1:]:
        dd.score(digits, "datadiet:mlp", scorer, checkpoints=networks / "dense", out=apart)
    below = ("signals", "embeddings")
    found = contents(together, *below)
    assert found == contents(apart, *below) and len(found) == 4
    columns = dd.table.Signals.open(together, 120).columns("eval", 4)
    assert "loss" in columns and "divergence" not in columns


def test_rescoring_reads_what_was_recorded(digits, networks, tmp_path):
    run = tmp_path / "run"
    first = score(digits, networks, out=run)
    dd.score(digits, "datadiet:mlp", "loss", checkpoints=networks / "dense", out=run)
    again = dd.rescore(run, "divergence", save_as="again")
    assert np.array_equal(again["again"], first["divergence"])
    dd.score(digits, "datadiet:mlp", "loss", checkpoints=networks / "dense", out=tmp_path / "without")
    with pytest.raises(MissingSignal, match=r"not compared with another network: .*--against RUN"):
        dd.rescore(tmp_path / "without", "divergence")


def test_networks_trained_here_are_compared_with_it_too(digits, networks):
    found = dd.score(digits, "datadiet:mlp", "divergence", epochs=2, seeds=2, recipe=FAST, against=networks / "pruned")
    assert {"divergence", "divergence.std", "divergence.predicted"} == set(found.columns), "a class has no spread"
    assert "divergence" in found.meta["stability"] and "divergence.predicted" not in found.meta["stability"]


def test_a_worker_elsewhere_measures_the_same(digits, networks, tmp_path, contents, monkeypatch):
    jobs, build = [], RecordingWorker.__init__

    def watched(self, recording, path):
        jobs.append(recording.job)
        build(self, recording, path)

    with monkeypatch.context() as patch:
        patch.setattr(scoring_run.RecordingWorker, "__init__", watched)
        score(digits, networks, against=network(networks / "pruned"), out=tmp_path / "run")
    job = replace(jobs[0], spec=jobs[0].spec.elsewhere())
    worker = recording_worker(pickle.loads(pickle.dumps(job)), tmp_path / "other")
    from datadiet.runtime import RunFolder, Sink

    folder = RunFolder.open(tmp_path / "other", worker.plan)
    for unit in worker.recording.pending(folder):
        worker.run(unit, Sink(folder).write)
    worker.close()
    assert contents(tmp_path / "other", "signals") == contents(tmp_path / "run", "signals") != {}
    moved = replace(job, spec=replace(job.spec, against=network(networks / "other")))
    with pytest.raises(DataError, match="holds another network on this machine"):
        recording_worker(moved, tmp_path / "third")


class Drawing(nn.Module):
    def forward(self, x):
        return torch.rand(len(x), 10)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"against": None}, OptionError, r"divergence compares the model with another network.*--against RUN"),
        ({"scorers": "loss"}, OptionError, r"against= \(--against\) is for scorers that compare two networks"),
        ({"against": None, "scorers": "loss", "against_model": "datadiet:mlp"}, OptionError, "against_model=.*both"),
        ({"against": "nowhere"}, DataError, "there is no checkpoint nowhere"),
        ({"against": "datadiet:mlp"}, OptionError, r"against='datadiet:mlp' is a network without trained weights"),
        ({"against": nn.Sequential(nn.Flatten(), nn.Linear(64, 9))}, OptionError,
         r"the network to compare with, an instance of Sequential gives outputs of shape \(2, 9\)"),
        ({"against": Drawing()}, OptionError, "draws random numbers in evaluation mode"),
        ({"against": {"weight": torch.zeros(1)}}, OptionError, "against= is a table of weights"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused_before_any_work(digits, networks, tmp_path, options, error, match):
    options = {"scorers": "divergence", "against": networks / "pruned", **options}
    with pytest.raises(error, match=match):
        dd.score(digits, "datadiet:mlp", checkpoints=networks / "dense", out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_weights_that_do_not_fit_or_cannot_be_read(digits, networks, tmp_path):
    (tmp_path / "damaged.safetensors").write_bytes(b"no weights")
    with pytest.raises(DataError, match="damaged"):
        score(digits, networks, against=tmp_path / "damaged.safetensors")
    torch.save(nn.Linear(3, 3).state_dict(), tmp_path / "small.pt")
    with pytest.raises(DataError, match=r"taken to be that of model=, datadiet:mlp: name another with against_model="):
        score(digits, networks, against=tmp_path / "small.pt")
    torch.save(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).state_dict(), tmp_path / "linear.pt")
    linear = {
        "against": tmp_path / "linear.pt",
        "against_model": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),
    }
    assert score(digits, networks, **linear)["divergence"].any()


def test_a_file_does_not_decide_what_code_runs(digits, networks, tmp_path, monkeypatch):
    (tmp_path / "nets.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    dd.train("digits", "py:nets:make", epochs=1, recipe=FAST, out=tmp_path / "own")
    with pytest.raises(OptionError, match=r"must not decide what code runs: .*against_model='py:nets:make'"):
        score(digits, networks, against=tmp_path / "own")
    assert score(digits, networks, against=tmp_path / "own", against_model="py:nets:make")["divergence"].any()
    same = score(digits, networks, against=tmp_path / "own", model="py:nets:make", checkpoints=tmp_path / "own")
    assert not same["divergence"].any(), "the user named the code with model="


def test_a_scorer_of_the_user_may_read_the_pass(digits, networks):
    def twice(divergence):
        return 2 * divergence.mean(axis=0)

    own = ScorerSpec(twice, (Need("divergence", "divergence"),))
    assert np.array_equal(score(digits, networks, scorers=own)["twice"], 2 * score(digits, networks)["divergence"])


def test_planning_counts_both_networks(networks):
    options = {"model": "datadiet:mlp", "epochs": 2}
    both = dd.plan("digits", scorers="divergence", against=networks / "pruned", **options)
    one = dd.plan("digits", scorers="loss", **options)
    flops = {line.name: line.flops for line in (*both.lines, *one.lines)}
    assert flops["divergence, epoch 2"] == 2 * flops["eval, epoch 2"]
    shared = dd.plan("digits", scorers="loss,divergence", against=networks / "pruned", **options)
    assert {line.name: line.flops for line in shared.lines}["eval + divergence, epoch 2"] == 2 * flops["eval, epoch 2"]
    with pytest.raises(OptionError, match="--against RUN"):
        dd.plan("digits", scorers="divergence", **options)


def test_the_command_line(networks, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        return (stopped.value.code, *capsys.readouterr())

    line = ["score", "digits", "--model", "datadiet:mlp", "--checkpoints", networks / "dense", "--out", "run"]
    code, out, err = run(*line, "--scorer", "divergence", "--against", networks / "pruned", "--json")
    assert code == 0 and list(json.loads(out)["scores"]) == ["divergence"], err
    code, out, err = run(*line, "--scorer", "divergence")
    assert code == 2 and "--against RUN" in err and len(err.strip().splitlines()) == 1
    code, out, err = run(*line, "--scorer", "divergence", "--against", networks / "pruned", "--against-model", "mlp")
    assert code == 2 and "has no scheme" in err
    code, out, err = run("ls", "divergence")
    assert code == 0 and "reads divergence (last epoch), predicted (divergence, last epoch)" in " ".join(out.split())


def test_the_pass_is_one_record():
    assert PASSES["divergence"].against and not any(one.against for name, one in PASSES.items() if name != "divergence")


def test_paser_selects_from_such_a_run(digits, networks, tmp_path):
    """By its own features, or by those that `embed` made; the predicted classes are its concepts."""
    run = tmp_path / "run"
    scores = score(digits, networks, scorers="divergence,prototypes", out=run)
    dd.embed(digits, "datadiet:mlp", checkpoint=_only(networks / "dense")[-1], out=tmp_path / "vectors")
    for embeddings in ({}, {"embeddings": tmp_path / "vectors"}):
        chosen = dd.select(run, "paser", keep="10%", score="divergence", **embeddings)
        assert len(chosen) == 12 and chosen.meta["vectors"] == f"features/seed-0/epoch-{1 if embeddings else 4}"
        assert chosen.meta["columns"] == {"degradation": "divergence", "concepts": "divergence.predicted"}
        assert dd.select(run, "paser", keep="10%", **embeddings).ranked.tolist() == chosen.ranked.tolist()
    features = np.load(next(run.glob("embeddings/features/seed-0/epoch-4/part-0-120.npy")))
    concepts = np.stack([digits.labels, scores["divergence.predicted"].astype(int)], 1)
    from datadiet.randomness import Keys
    from datadiet.selectors import paser

    keys = Keys(0, "select.paser", 120)
    plain = paser(features, 12, degradation=scores["divergence"], concepts=concepts, keys=keys)
    assert dd.select(run, "paser", keep="10%").ranked.tolist() == plain.tolist()
