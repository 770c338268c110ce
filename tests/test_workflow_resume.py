"""Killed at any moment, the same command goes on to the bytes of an undisturbed run.

A run changes its folder by renames only, so "any moment" is: just before each rename, when the new file stands there
under its temporary name. The driver imports torch once and forks a child for each attempt.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import datadiet as dd
from datadiet.cli import main
from datadiet.training import Trainer

DRIVER = """
import json, os, signal, sys
from pathlib import Path
import torch
import datadiet.training.loop, datadiet.workflow.fitting.train, datadiet.workflow.scoring.score
from datadiet.cli import main

torch.set_num_threads(1)
datadiet.training.loop._SAVE_EVERY = 0.0
datadiet.training.loop._SAVE_SHARE = float("inf")
datadiet.workflow.fitting.train.train("digits", "datadiet:mlp", steps=1)  # so that no child has anything left to import
arguments, root, every = json.loads(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

def attempt(out, kill_before=None, count=None):
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    with open(root / "output.txt", "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    renames, rename = [], os.replace
    def watched(*paths):
        if len(renames) == kill_before:
            os.kill(os.getpid(), signal.SIGKILL)
        renames.append(1)
        rename(*paths)
    os.replace = watched
    try:
        main([*arguments, "--out", str(out)])
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        import traceback
        traceback.print_exc()
        code = 99
    if count:
        Path(count).write_text(str(len(renames)))
    os._exit(code)

def files(folder):
    found = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix != ".tmp"]
    return {str(p.relative_to(folder)): p.read_bytes() for p in found}

def differences(found, wanted):
    names = [n for n in {**found, **wanted} if n != "run.json" and found.get(n) != wanted.get(n)]
    for name in [n for n in names if n == "log.jsonl" and n in found]:  # it says how long each epoch took
        plain = [[{**json.loads(line), "seconds": 0} for line in side[name].splitlines()] for side in (found, wanted)]
        names = [n for n in names if n != name or plain[0] != plain[1]]
    return names

assert attempt(root / "whole", count=root / "count") == 0, (root / "output.txt").read_text()
wanted, count = files(root / "whole"), int((root / "count").read_text())
bad = {}
for moment in range(0, count, every):
    killed = attempt(root / str(moment), moment)
    status = attempt(root / str(moment))
    bad[f"before rename {moment}"] = [killed, status, differences(files(root / str(moment)), wanted)]
statuses = [attempt(root / "often", 9) for _ in range(2)]  # twice in a row; each state is at most five renames apart
bad["twice"] = [statuses[0], attempt(root / "often"), differences(files(root / "often"), wanted)]
bad = {k: v for k, v in bad.items() if v != [9, 0, []]}
print(json.dumps({"renames": count, "files": sorted(wanted), "bad": bad}))
"""

SCORE = ["score", "digits", "--model", "datadiet:mlp", "--scorer", "el2n,forgetting,tdds", "-p", "tdds.window=3",
         "--epochs", "4", "--seeds", "2", "--set", "batch_size=512"]  # fmt: skip
TRAIN = ["train", "digits", "--model", "datadiet:mlp", "--sampler", "rs2:keep=30%",
         "--epochs", "4", "--set", "batch_size=256"]  # fmt: skip


def killed_everywhere(tmp_path, arguments, every):
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER)
    command = [sys.executable, str(driver), json.dumps(arguments), str(tmp_path), str(every)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check_score(found):
    assert "scores.parquet" in found["files"] and "checkpoints/seed-1/epoch-4.safetensors" in found["files"]
    assert "signals/train/seed-0/epoch-1/part-0-1438.parquet" in found["files"]
    assert not any(name.startswith("state/") for name in found["files"])
    assert found["renames"] > 20 and found["bad"] == {}


def test_score_killed_at_some_moments(tmp_path):
    check_score(killed_everywhere(tmp_path, SCORE, every=7))


@pytest.mark.slow
def test_score_killed_at_every_moment(tmp_path):
    check_score(killed_everywhere(tmp_path, SCORE, every=1))


def test_train_killed_at_every_moment(tmp_path):
    found = killed_everywhere(tmp_path, TRAIN, every=1)
    evaluated = "evaluation/seed-0.parquet"
    assert found["files"] == [
        "checkpoints/seed-0/epoch-4.safetensors", evaluated, "log.jsonl", "manifest.json", "run.json"
    ]  # fmt: skip
    assert found["renames"] > 8 and found["bad"] == {}


def score(out, **options):
    return dd.score(
        "digits", "datadiet:mlp", "el2n,forgetting", epochs=3, recipe={"batch_size": 512}, out=out, **options
    )


@pytest.mark.parametrize(
    "where",
    [
        "tasks.Classification.evaluate",  # after the last checkpoint and before the accuracy is written down
        "runtime.tensors.save_tensors",
        "workflow.scoring.recording_worker.measured",
        "workflow.scoring.scoring_run.compute_scores",
    ],
)
def test_stopped_between_two_steps_it_goes_on(tmp_path, monkeypatch, one_thread, contents, where):
    def stop(*args, **options):
        raise KeyboardInterrupt

    wanted = score(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(f"datadiet.{where}", stop)
        with pytest.raises(KeyboardInterrupt):
            score(tmp_path / "run")
    again = score(tmp_path / "run")
    assert again.meta == wanted.meta
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


@pytest.mark.parametrize("command", [SCORE, TRAIN])
def test_ctrl_c_is_exit_code_5_with_the_line_that_continues(tmp_path, monkeypatch, capsys, one_thread, command):
    from datadiet.training import Trainer

    monkeypatch.setattr("warnings.showwarning", None)
    epoch = Trainer._epoch

    def stop(self, bar):
        if self.clock.epoch == 2:
            raise KeyboardInterrupt
        epoch(self, bar)

    arguments = [*command, "--out", str(tmp_path / "a run")]
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_epoch", stop)
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
    out, err = capsys.readouterr()
    assert stopped.value.code == 5 and out == "" and "Traceback" not in err
    line = err.strip().splitlines()[-1]
    assert line.startswith(f"datadiet: interrupted; the same command continues: datadiet {command[0]} digits")
    import shlex

    with pytest.raises(SystemExit) as done:
        main(shlex.split(line.partition("continues: datadiet ")[2]))
    assert done.value.code == 0


@pytest.mark.parametrize("command", [SCORE, TRAIN])
@pytest.mark.parametrize("victim", ["part", "checkpoint", "rename"])
def test_a_full_disk_is_exit_code_5_and_leaves_nothing_half_written(
    tmp_path, monkeypatch, capsys, one_thread, command, victim
):
    import errno

    import safetensors
    from safetensors.torch import save_file

    if victim == "part" and command is TRAIN:
        pytest.skip("train writes no parts")
    monkeypatch.setattr("warnings.showwarning", None)

    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device", "somewhere")

    def half(tensors, path, metadata=None):
        """What safetensors does: its error is no OSError."""
        Path(path).write_bytes(b"half")
        raise safetensors.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    target, broken = {
        "part": ("pyarrow.parquet.write_table", full),
        "checkpoint": ("datadiet.runtime.tensors.save_file", half),
        "rename": ("os.replace", full),
    }[victim]
    arguments = [*command, "--out", str(tmp_path / "run")]
    with monkeypatch.context() as patch:
        patch.setattr(target, broken)
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
    _, err = capsys.readouterr()
    assert stopped.value.code == 5 and "the disk is full" in err and "the same command continues" in err
    assert not list(tmp_path.rglob("*.tmp")) and not list(tmp_path.rglob("*.safetensors"))
    assert save_file  # the real one is back
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert done.value.code == 0


class _Stop(Exception):
    pass


@pytest.fixture
def stopped(monkeypatch):
    """A function that scores and stops before a step of the training, with a state saved after every step."""
    monkeypatch.setattr("datadiet.training.loop._SAVE_EVERY", 0.0)
    monkeypatch.setattr("datadiet.training.loop._SAVE_SHARE", float("inf"))
    whole = Trainer._step

    def score(step, *args, **options):
        taken = []

        def limited(self, batch, lr):
            if len(taken) == step:
                raise _Stop
            taken.append(1)
            return whole(self, batch, lr)

        with monkeypatch.context() as patch, pytest.raises(_Stop):
            patch.setattr(Trainer, "_step", limited)
            dd.score("digits", "datadiet:mlp", *args, **options)

    return score


def test_a_run_that_was_stopped_goes_on_when_less_is_asked_for(stopped, tmp_path):
    """The state holds TDDS's shift, which the second call does not need: it goes on, and records it on."""
    stopped(30, "tdds", epochs=3, params={"tdds": {"window": 3}}, out=tmp_path / "run")
    taken = []
    whole = Trainer._step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_step", lambda *args: taken.append(1) or whole(*args))
        found = dd.score("digits", "datadiet:mlp", "aum", epochs=3, out=tmp_path / "run")
    assert len(taken) == 6, "36 steps, of which 30 were done"
    assert found["aum"].tobytes() == dd.score("digits", "datadiet:mlp", "aum", epochs=3)["aum"].tobytes()
    assert not list((tmp_path / "run").glob("state/*"))


def test_a_run_that_was_stopped_begins_again_when_more_is_asked_for(stopped, tmp_path):
    """A checkpoint that the first call did not keep, of an epoch that is over."""
    stopped(30, "aum", epochs=3, out=tmp_path / "run")
    options = {"epochs": 3, "params": {"el2n": {"at": 1}}}
    found = dd.score("digits", "datadiet:mlp", "el2n", out=tmp_path / "run", **options)
    assert found["el2n"].tobytes() == dd.score("digits", "datadiet:mlp", "el2n", **options)["el2n"].tobytes()
