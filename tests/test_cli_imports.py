"""What the command line must not load: torch and its like, for help, light commands and mistakes."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import datadiet as dd

HEAVY = ("torch", "ray", "faiss", "sklearn", "datasets", "torchvision", "timm", "transformers")

DRIVER = f"""
import contextlib, io, json, sys
from datadiet.cli import main

found = []
for arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as stop:
            code = stop.code
    found.append([arguments, code, out.getvalue(), err.getvalue(), [m for m in {HEAVY!r} if m in sys.modules]])
print(json.dumps(found))
"""

COMMANDS = [
    "score",
    "rescore",
    "embed",
    "select",
    "train",
    "suspects",
    "report",
    "export",
    "inspect",
    "ls",
    "doctor",
    "demo",
]


def run(folder, *lines):
    """What each command line gave: arguments, exit code, stdout, stderr, heavy modules loaded by then."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(lines)],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run that a Recorder's signals gave, bare scores, and a selection."""
    import torch

    folder = tmp_path_factory.mktemp("light")
    rng = np.random.default_rng(0)
    np.save(folder / "scores.npy", rng.random(500))
    dd.select(rng.random(500), "top_k", keep=0.3, prefer="hardest").write(folder / "kept.parquet")
    dd.score("digits", "datadiet:mlp", "aum", epochs=2, recipe={"batch_size": 512}, out=folder / "run")
    assert torch.get_num_threads() >= 1
    return folder


def test_help_and_light_commands_load_nothing_heavy(folder):
    lines = [
        ["--help"],
        ["--version"],
        *([name, "--help"] for name in COMMANDS),
        ["ls"],
        ["ls", "--json"],
        ["ls", "rs2"],
    ]
    lines += [
        ["select", "scores.npy", "--method", "top_k", "-p", "prefer=hardest", "--keep", "30%", "--out", "a.parquet"],
        ["select", "run", "--method", "ccs", "--keep", "30%", "--out", "b.parquet"],
        ["select", "run", "--method", "random", "--by-class", "--keep", "n=50", "--out", "c.parquet"],
        ["select", "scores.npy", "--method", "band", "--keep", "0.3", "--out", "d.parquet"],
        ["inspect", "run"],
        ["inspect", "kept.parquet", "--json"],
        ["rescore", "run", "--scorer", "forgetting,cartography"],
        ["suspects", "run", "--top", "5"],
        ["report", "run", "--out", "run.html"],
        ["report", "c.parquet", "--scores", "run", "--out", "c.html", "--json"],
        ["suspects", "run", "--top", "5", "--score", "aum", "--out", "f.parquet", "--json"],
    ]
    for arguments, code, _, err, heavy in run(folder, *lines):
        assert (code, heavy) == (0, []), (arguments, err)


MISTAKES = [
    [],
    ["scoer"],
    ["select", "scores.npy"],
    ["select", "scores.npy", "--method", "topk", "--keep", "30%", "--out", "x.parquet"],
    ["select", "scores.npy", "--method", "top_k", "--keep", "30", "--out", "x.parquet"],
    ["select", "nothing.npy", "--method", "random", "--keep", "30%", "--out", "x.parquet"],
    ["rescore", "run", "--scorer", "el2m"],
    ["rescore", "scores.npy", "--scorer", "el2n"],
    ["inspect", "nothing"],
    ["suspects", "nothing", "--out", "x.csv"],
    ["suspects", "run", "--top", "1439", "--out", "x.csv"],
    ["suspects", "run", "--score", "amu", "--out", "x.csv"],
    ["suspects", "run", "--out", "x.txt"],
    ["suspects", "run", "--label", "y", "--out", "x.csv"],
    ["report", "nothing", "--out", "x.html"],
    ["report", "run", "--out", "x.pdf"],
    ["report", "run", "--score", "amu", "--out", "x.html"],
    ["report", "run", "--scores", "run", "--out", "x.html"],
    ["report", "run", "--data", "nosuch:x", "--out", "x.html"],
    ["suspects", "run", "--data", "nosuch:x", "--out", "x.csv"],
    ["ls", "scorer"],
    ["score", "digits"],
    ["score", "digits", "--model", "datadiet:mlp", "--scorer", "el2m", "--out", "x"],
    ["score", "digits", "--model", "datadiet:mlp", "--scorer", "el2n", "-p", "at=3", "--out", "x"],
    ["score", "digits", "--model", "datadiet:mlp", "--scorer", "el2n", "--epochs", "many", "--out", "x"],
    ["score", "digits", "--model", "datadiet:mlp", "--scorer", "el2n", "--epochs", "0", "--out", "x"],
    ["score", "digits", "--model", "mlp", "--scorer", "el2n", "--out", "x"],
    ["score", "digits", "--model", "datadiet:mpl", "--scorer", "el2n", "--out", "x"],
    ["score", "digits", "--model", "datadiet:mlp", "--scorer", "el2n", "--set", "lr", "--out", "x"],
    ["score", "nosuch:x", "--model", "datadiet:mlp", "--scorer", "el2n", "--out", "x"],
    ["embed", "digits", "--model", "mlp", "--out", "x"],
    ["embed", "digits", "--model", "htf:folder", "--out", "x"],
    ["embed", "digits", "--model", "hf:folder", "--pool", "max", "--out", "x"],
    ["train", "digits", "--model", "datadiet:mlp", "--out", "x"],
    ["train", "digits", "--model", "datadiet:mlp", "--epochs", "1", "--steps", "1", "--out", "x"],
    ["train", "digits", "--model", "datadiet:mlp", "--epochs", "1", "--selection", "a", "--sampler", "b", "--out", "x"],
    ["train", "digits", "--model", "datadiet:mlp", "--epochs", "1", "--sampler", "rs3:keep=10%", "--out", "x"],
    ["train", "digits", "--model", "datadiet:mlp", "--epochs", "1", "--sampler", "rs2:kep=10%", "--out", "x"],
    ["train", "digits", "--model", "datadiet:mlp", "--epochs", "1", "--objective", "selective", "--out", "x"],
    ["train", "digits", "--model", "datadiet:mlp", "--epochs", "1", "--match", "steps", "--out", "x"],
    ["export", "kept.parquet", "x", "--data", "digits", "--to", "parket"],
]


@pytest.fixture(scope="module")
def mistakes(folder):
    return {json.dumps(MISTAKES[i]): entry for i, entry in enumerate(run_apart(folder))}


def run_apart(folder):
    """Each mistake in a process of its own: what one loads must not be blamed on the next."""
    script = DRIVER.replace("for arguments in", "import os\nfor arguments in").replace(
        "    out, err =",
        "    child = os.fork()\n    if child:\n        os.waitpid(child, 0)\n        continue\n    out, err =",
        1,
    )
    script = (
        script.replace("print(json.dumps(found))", "")
        .replace("    found.append([", "    open(f'{sys.argv[2]}/{os.getpid()}.entry', 'w').write(json.dumps([")
        .replace("if m in sys.modules]])", "if m in sys.modules]]))\n    os._exit(0)")
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(MISTAKES), str(folder)],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    entries = {json.dumps(e[0]): e for e in (json.loads(p.read_text()) for p in folder.glob("*.entry"))}
    return [entries[json.dumps(m)] for m in MISTAKES]


@pytest.mark.parametrize("line", MISTAKES, ids=lambda line: " ".join(line)[:70] or "nothing")
def test_a_mistake_is_told_without_loading_torch(mistakes, line):
    arguments, code, _out, err, heavy = mistakes[json.dumps(line)]
    assert code in (2, 3), err
    assert "Traceback" not in err and err.strip(), arguments
    assert heavy == [], (arguments, err)


def test_no_mistake_wrote_anything(folder, mistakes):
    assert not list(folder.glob("x*"))


def test_starting_is_quick():
    """Under 0.25 s as a whole process; here only what is loaded is counted, since the machine may be busy."""
    code = "import sys, datadiet.cli; print(len({'numpy', 'pyarrow', 'torch', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 0
