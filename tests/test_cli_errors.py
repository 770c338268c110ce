"""Mistakes: one sentence on stderr, the right exit code, no traceback, nothing written."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import datadiet as dd
from datadiet.cli import main
from datadiet.data import open_data


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Run a command line in a folder of its own: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with warnings.catch_warnings(), pytest.raises(SystemExit) as stopped:
            warnings.simplefilter("default")  # as outside the tests, where main shows them as notes
            main([str(a) for a in arguments])
        return (stopped.value.code, *capsys.readouterr())

    return run


def check_refused(result, code, *words):
    """One sentence with those words on stderr, and nothing on stdout."""
    found, out, err = result
    lines = [line for line in err.strip().splitlines() if not line.startswith("datadiet: note:")]
    assert found == code, err
    assert out == "" and "Traceback" not in err and lines
    for word in words:
        assert word in err, err


def table(n=100, **columns):
    source = {
        "index": np.arange(n),
        "id": [f"e{i}" for i in range(n)],
        "score": np.random.default_rng(0).random(n, dtype=np.float32),
    }
    return pa.table({**source, **columns})


SELECT = ["--method", "top_k", "-p", "prefer=hardest", "--out", "out.parquet"]
MLP = ["score", "digits", "--model", "datadiet:mlp", "--out", "x", "--scorer"]


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        ("30", "could be a percentage or a count: write 30% or n=30"),
        ("100", "write 100% or n=100"),
        ("0", "between 1 and 200"),
        ("0%", "is not a fraction in (0, 1]"),
        ("n=0", "between 1 and 200"),
        ("n=201", "asks for 201 of 200 examples"),
        ("201", "asks for 201 of 200 examples"),
        ("101%", "is not a fraction in (0, 1]"),
        ("-5%", "is not a fraction in (0, 1]"),
        ("nan", "no"),
        ("many", "write 30%, 0.3 or n=500"),
        ("0.1%", "asks for 0 of 200"),
        ("", "write 30%, 0.3 or n=500"),
    ],
)
def test_budgets_that_mean_nothing(cli, keep, words):
    np.save("s.npy", np.arange(200.0))
    check_refused(cli("select", "s.npy", "--keep", keep, *SELECT), 2, words)
    assert [p.name for p in Path().iterdir()] == ["s.npy"]


@pytest.mark.parametrize("prune", ["100%", "1.0", "-1%", "70", "all"])
def test_prunings_that_mean_nothing(cli, prune):
    np.save("s.npy", np.arange(200.0))
    check_refused(cli("select", "s.npy", "--prune", prune, *SELECT), 2)


@pytest.mark.parametrize("options", [[], ["--keep", "30%", "--prune", "70%"]])
def test_exactly_one_of_keep_and_prune(cli, options):
    np.save("s.npy", np.arange(200.0))
    check_refused(
        cli("select", "s.npy", *options, *SELECT), 2, "how much to keep", "--keep 30% (or n=500)", "--prune 70%"
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["--method", "topk"], "'topk' is not a selection method: did you mean 'top_k'"),
        (["--method", "zzzzzz"], "there are band, beta, ccs"),
        (["--method", "top_k"], "top_k needs prefer, which has no default"),
        (["--method", "top_k", "-p", "prefer=hard"], "hard"),
        (["--method", "top_k", "-p", "prefers=hardest"], "did you mean 'prefer'"),
        (["--method", "top_k", "-p", "prefer"], "-p 'prefer' has no value"),
        (["--method", "top_k", "-p", "prefer=hardest", "--score", "scor"], "did you mean 'score'"),
        (["--method", "random", "-p", "seed=3"], "'seed'"),
        (["--method", "random", "-p", "keep=3"], "'keep'"),
        (["--method", "random", "-p", "by_class=true"], "'by_class'"),
        (["--method", "random", "-p", "n=3"], "'n'"),
        (["--method", "top_k", "-p", "prefer=hardest", "-p", "k=3"], "'k'"),
        (["--method", "ccs", "-p", "beta=2"], "beta"),
        (["--method", "ccs", "-p", "strata=0"], "strata"),
        (["--method", "ccs", "-p", "beta=much"], "beta"),
        (["--method", "band", "--column", "cutoff_scores=score"], "cutoff_scores"),
        (["--method", "ccs", "--column", "cutoff_scores=aum"], "the column 'aum', which is not there"),
        (["--method", "beta"], "reads p_mean from the column 'dual.p_mean', which is not there"),
        (["--method", "class_quota"], "these scores have no labels"),
        (["--method", "py:nosuch:fn"], "nosuch cannot be imported"),
        (["--method", "random", "--higher-is", "better"], "'better' is not one of 'harder', 'easier'"),
        (["--method", "random", "--higher-is", "=easier"], "write --higher-is easier"),
        (["--method", "random", "--higher-is", "score=better"], "'better' is not one of 'harder', 'easier'"),
        (["--method", "random", "--higher-is", "easier", "--higher-is", "score=easier"], "says one thing of all"),
        (["--method", "random", "--higher-is", "scoer=easier"], "did you mean 'score'"),
        (["--method", "random", "--id", "name"], "'name' is not a column of this table"),
        (["--method", "random", "--index", "row", "--text", "t"], "--index is for a table of scores"),
        (["--method", "random", "--seed", "x"], "'x' is not a valid integer"),
    ],
)
def test_select_options_that_mean_nothing(cli, line, words):
    np.save("s.npy", np.arange(200.0))
    result = cli("select", "s.npy", "--keep", "n=20", "--out", "out.parquet", *line)
    check_refused(result, result[0] if result[0] in (2, 3) else 2, words)
    assert [p.name for p in Path().iterdir()] == ["s.npy"]


def corrupt_footer(path):
    pq.write_table(table(), path)
    path.write_bytes(path.read_bytes()[:-30])


def corrupt_data(path):
    pq.write_table(table(2000), path)
    data = bytearray(path.read_bytes())
    data[100:3000] = bytes(2900)
    path.write_bytes(bytes(data))


FILES = {
    "missing": (lambda path: None, "does not exist"),
    "empty": (lambda path: path.write_bytes(b""), "is not a complete Parquet file"),
    "text": (lambda path: path.write_text("hello"), "is not a complete Parquet file"),
    "truncated": (corrupt_footer, "is not a complete Parquet file"),
    "damaged": (corrupt_data, "is not a complete Parquet file"),
    "foreign": (lambda path: pq.write_table(pa.table({"a": ["x"]}), path), "holds no numbers"),
    "gaps": (lambda path: pq.write_table(table(3, index=[0, 2, 3]).drop(["id"]), path), "does not number the examples"),
    "duplicate ids": (lambda path: pq.write_table(table(3, id=["a", "b", "a"]), path), "'a' is in rows 0 and 2"),
    "repeated": (lambda path: pq.write_table(table(3, index=[0, 2, 2]), path), "'index' holds 2 twice"),
    "no rows": (lambda path: pq.write_table(table().slice(0, 0), path), "has no rows"),
    "no score": (lambda path: pq.write_table(table().drop(["score"]), path), "has no score column"),
    "text score": (lambda path: pq.write_table(table(2, score=["x", "y"]), path), "holds string: give real numbers"),
    "text index": (lambda path: pq.write_table(table(2, index=["x", "y"]), path), "holds string: give whole numbers"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_bad_score_file(cli, kind):
    make, words = FILES[kind]
    make(Path("bad.parquet"))
    before = sorted(p.name for p in Path().iterdir())
    check_refused(cli("select", "bad.parquet", "--keep", "n=1", *SELECT), 3, words, "bad.parquet")
    assert sorted(p.name for p in Path().iterdir()) == before


@pytest.mark.parametrize("name", ["bad.npy", "bad.npz", "bad.csv", "bad.json"])
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01", b"{", b"a,b\n1", b"PK\x03\x04zzz"])
def test_bad_scores_from_elsewhere(cli, name, content):
    Path(name).write_bytes(content)
    found = cli("select", name, "--keep", "n=1", *SELECT)
    check_refused(found, 3 if found[0] == 3 else 2, name)
    assert [p.name for p in Path().iterdir()] == [name]


def test_pickled_arrays_are_refused(cli):
    np.save("bad.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    check_refused(cli("select", "bad.npy", "--keep", "n=1", *SELECT), 3, "bad.npy is not a complete .npy file")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0.0, 1.0, np.nan, 2.0], "NaN"),
        ([0.5] * 4, "all 4 values of 'score' are 0.5 in float32, so they rank nothing: use method random"),
        ([[1.0, 2.0], [3.0, 4.0]], "give one number per example, shape (n,)"),
        ([], ""),
    ],
)
@pytest.mark.parametrize("method", ["top_k", "ccs", "band"])
def test_scores_that_rank_nothing(cli, values, words, method):
    np.save("s.npy", np.array(values))
    options = ["-p", "prefer=hardest"] if method == "top_k" else []
    result = cli("select", "s.npy", "--keep", "n=2", "--method", method, *options, "--out", "out.parquet")
    check_refused(result, 3 if result[0] == 3 else 2, words)
    assert [p.name for p in Path().iterdir()] == ["s.npy"]


def bad_row(value):
    def write(vectors):
        vectors[31] = value
        np.save("v.npy", vectors)

    return write


def truncated(vectors):
    np.save("v.npy", vectors)
    Path("v.npy").write_bytes(Path("v.npy").read_bytes()[:-100])


def whole(vectors):
    np.save("v.npy", vectors)


def with_reference(vectors):
    np.save("v.npy", vectors)
    np.save("r.npy", np.ones((4, 5), dtype=np.float32))


EPSILON, HALF = ["-p", "epsilon=0.1"], ["--keep", "50%"]


@pytest.mark.parametrize(
    ("write", "line", "code", "words"),
    [
        (bad_row(0), ["semdedup", *EPSILON], 3, ["example '31' is all zeros"]),
        (bad_row(0), ["k_center", *HALF, "-p", "metric=cosine"], 3, ["example '31' is all zeros"]),
        (bad_row(np.nan), ["semdedup", *EPSILON], 3, ["example '31' is not finite"]),
        (bad_row(np.nan), ["k_center", *HALF], 3, ["example '31' is not finite"]),
        (truncated, ["semdedup", *EPSILON], 3, ["v.npy is not a complete .npy file"]),
        (whole, ["semdedup", "-p", "epsilon=2.5"], 2, ["epsilon=2.5", "from 0 to below 2"]),
        (whole, ["semdedup", "-p", "epsilon=-1"], 2, ["epsilon=-1", "from 0 to below 2"]),
        (with_reference, ["decontaminate", "-p", "reference=v.npy", "-p", "epsilon=2.5"], 2, ["epsilon=2.5"]),
        (whole, ["semdedup", *HALF, "-p", "clusters=61"], 2, ["clusters=61 of 60"]),
        (whole, ["dbp", *HALF, "-p", "clusters=61"], 2, ["clusters=61 of 60"]),
        (whole, ["semdedup", *HALF, *EPSILON], 2, ["epsilon", "both decide how much is kept"]),
        (with_reference, ["decontaminate", "-p", "reference=r.npy", *EPSILON], 2, ["of 8 numbers", "of 5"]),
        (with_reference, ["decontaminate", "-p", "reference=r.npy", *HALF], 2, ["of 8 numbers", "of 5"]),
    ],
)
def test_vectors_that_cannot_be_selected_by(cli, write, line, code, words):
    write(np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32))
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    result = cli("select", "v.npy", "--method", *line, "--out", "out.parquet")
    check_refused(result, code, *words)
    assert len([line for line in result[2].strip().splitlines() if not line.startswith("datadiet: note:")]) == 1
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


@pytest.mark.parametrize("out", ["s.json", "s.npy", "s"])
def test_a_selection_is_not_written_where_it_could_not_be_read(cli, out):
    np.save("scores.npy", np.arange(9.0))
    result = cli("select", "scores.npy", "--method", "random", "--keep", "n=2", "--out", out)
    if result[0] == 0:
        assert len(dd.Selection.read(out)) == 2
    else:
        check_refused(result, 2, ".parquet")
        assert [p.name for p in Path().iterdir()] == ["scores.npy"]


def test_scores_are_not_overwritten_by_their_selection(cli):
    pq.write_table(table(), "scores.parquet")
    before = Path("scores.parquet").read_bytes()
    result = cli("select", "scores.parquet", "--method", "random", "--keep", "n=2", "--out", "scores.parquet")
    assert result[0] == 2 and Path("scores.parquet").read_bytes() == before


def test_a_place_that_cannot_be_written_to(cli):
    np.save("scores.npy", np.arange(9.0))
    Path("a").write_text("file")
    check_refused(cli("select", "scores.npy", "--method", "random", "--keep", "n=2", "--out", "a/s.parquet"), 3)
    Path("dir.parquet").mkdir()
    check_refused(cli("select", "scores.npy", "--method", "random", "--keep", "n=2", "--out", "dir.parquet"), 3)
    assert sorted(p.name for p in Path().iterdir()) == ["a", "dir.parquet", "scores.npy"]


def full(*args, **options):
    raise OSError(errno.ENOSPC, "No space left on device", "/somewhere")


@pytest.mark.parametrize("target", ["pyarrow.parquet.write_table", "os.replace"])
def test_a_full_disk_while_selecting(cli, monkeypatch, target):
    np.save("scores.npy", np.arange(9.0))
    line = ["select", "scores.npy", "--method", "random", "--keep", "n=2", "--out", "s.parquet"]
    with monkeypatch.context() as patch:
        patch.setattr(target, full)
        check_refused(cli(*line), 5, "the disk is full", "the same command continues: datadiet select scores.npy")
    assert [p.name for p in Path().iterdir()] == ["scores.npy"]
    assert cli(*line)[0] == 0


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (["rescore", "nothing", "--scorer", "el2n"], 3, "not a run folder"),
        (["rescore", ".", "--scorer", "el2n"], 3, "not a run folder (it has no manifest.json)"),
        (["rescore", ".", "--scorer", "el2m"], 2, "did you mean 'el2n'"),
        (["inspect", "nothing"], 3, "does not exist"),
        (["inspect", "."], 3, "not a run folder"),
        (["ls", "scorer"], 2, "'scorer' is not a kind or method: did you mean 'scorers'"),
        (["scores"], 2, "No such command 'scores'"),
        (
            ["train", "digits", "--model", "datadiet:mlp", "--out", "x"],
            2,
            "give exactly one of --epochs E and --steps S",
        ),
        (
            ["train", "digits", "--model", "datadiet:mlp", "--epochs", "1", "--selection", "no.parquet", "--out", "x"],
            3,
            "does not exist",
        ),
        (["train", "digits", "--model", "mlp", "--epochs", "1", "--out", "x"], 2, "datadiet:mlp"),
        (
            ["train", "digits", "--model", "datadiet:mlp", "--epochs", "1", "--set", "lr=fast", "--out", "x"],
            2,
            "recipe.lr='fast' is not a number",
        ),
        (
            ["train", "digits", "--model", "datadiet:mlp", "--epochs", "1", "--set", "batchsize=3", "--out", "x"],
            2,
            "did you mean 'batch_size'",
        ),
        (
            ["train", "digits", "--model", "datadiet:mlp", "--epochs", "1", "--set", "label_smoothing=2", "--out", "x"],
            2,
            "label_smoothing",
        ),
        (["train", "digits", "--model", "datadiet:mlp", "--epochs", "1", "--eval", "ten%", "--out", "x"], 2, "ten%"),
        (
            ["score", "digits", "--model", "datadiet:mlp", "--scorer", "el2n", "-p", "at=3", "--out", "x"],
            2,
            "name the scorer too",
        ),
        (
            ["score", "digits", "--split", "test", "--model", "datadiet:mlp", "--scorer", "el2n", "--out", "x"],
            2,
            "digits has no split 'test'",
        ),
        (
            ["score", "nothing.parquet", "--model", "datadiet:mlp", "--scorer", "el2n", "--out", "x"],
            2,
            "parquet:nothing.parquet",
        ),
        (["score", "parquet:nothing*", "--model", "datadiet:mlp", "--scorer", "el2n", "--out", "x"], 3, "nothing"),
        (["score", "imagefolder:nothing", "--model", "datadiet:mlp", "--scorer", "el2n", "--out", "x"], 3, "nothing"),
        (
            ["score", "digits", "--model", "datadiet:mlp", "--scorer", "loss", "--checkpoints", "no*", "--out", "x"],
            3,
            "no checkpoint matches no*",
        ),
        (
            ["score", "digits", "--model", "datadiet:mlp", "--scorer", "aum", "--checkpoints", "w.pt", "--out", "x"],
            2,
            "during training",
        ),
        (
            ["score", "digits", "--model", "datadiet:mlp", "--scorer", "loss", "--checkpoints", "w.pt", "--out", "x"],
            3,
            "is not a readable file of weights",
        ),
        (["export", "no.parquet", "x", "--data", "digits", "--to", "parquet"], 3, "does not exist"),
        ([*MLP, "grad_dot"], 2, "grad_dot compares with reference examples: name them with reference= (--reference"),
        ([*MLP, "grad_dot", "--reference", "digits"], 3, "also the training data: name other data, its split (--refer"),
        ([*MLP, "grad_dot", "--reference", "no.parquet"], 2, "parquet:no.parquet"),
        ([*MLP, "grad_dot", "--reference", "200%"], 2, "reference='200%'"),
        ([*MLP, "grad_dot", "--reference-split", "eval"], 2, "--reference-split says which split of --reference DATA"),
        ([*MLP, "grand", "--fallback", "autograd"], 2, "'autograd' is not 'vmap'"),
        ([*MLP, "grand", "-p", "grand.per_layer=maybe"], 2, "grand: per_layer='maybe': give true or false"),
        ([*MLP, "trak", "--reference", "10%", "-p", "trak.dims=64"], 2, "did you mean 'dim'"),
        ([*MLP, "vog", "--epochs", "1"], 2, "vog compares checkpoints"),
    ],
)
def test_other_mistakes(cli, line, code, words):
    Path("w.pt").write_bytes(b"no weights")
    check_refused(cli(*line), code, words)
    assert [p.name for p in Path().iterdir()] == ["w.pt"]


@pytest.mark.parametrize("debug", [["--debug"], []])
def test_a_traceback_with_debug_only(capsys, debug, tmp_path):
    from datadiet.errors import DataError

    line = [*debug, "inspect", str(tmp_path / "nothing")]
    with pytest.raises(DataError if debug else SystemExit):
        main(line)
    assert "Traceback" not in capsys.readouterr().err


def test_an_unforeseen_error_is_not_hidden(monkeypatch):
    """A bug of ours must be reportable."""
    monkeypatch.setattr("datadiet.workflow.selecting.inspect.inspect", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["inspect", "x"])


@pytest.fixture(scope="module")
def selection(tmp_path_factory):
    """Half of the digits."""
    path, source = tmp_path_factory.mktemp("kept") / "kept.parquet", open_data("digits")
    scores = dd.Scores(
        source.index,
        {"s": np.arange(1438, dtype=np.float32)},
        source.ids,
        source.labels,
        {"columns": {"s": {"hardness": 1}}, "data": source.identity()},
    )
    return dd.select(scores, "random", keep=0.5).write(path)


def test_a_selection_of_other_data(cli, selection):
    np.savez("a.npz", x=np.random.default_rng(0).random((30, 5), dtype=np.float32), y=np.arange(30) % 3)
    words = "belongs to another data set: they differ in the number of examples (1438 there, 30 in the data at hand)"
    check_refused(cli("export", selection, "x.npy", "--data", "npz:a.npz", "--to", "indices"), 3, words)
    check_refused(
        cli("train", "npz:a.npz", "--model", "datadiet:mlp", "--epochs", "1", "--selection", selection, "--out", "x"),
        3,
        words,
    )
    assert [p.name for p in Path().iterdir()] == ["a.npz"]


@pytest.mark.parametrize("change", ["keep", "rank"])
def test_a_selection_file_that_contradicts_itself(cli, selection, change):
    rows = pq.read_table(selection)
    column = {"keep": np.ones(1438, bool), "rank": np.zeros(1438, np.int64)}[change]
    pq.write_table(rows.set_column(rows.column_names.index(change), change, pa.array(column)), "bad.parquet")
    check_refused(
        cli("export", "bad.parquet", "x.npy", "--data", "digits", "--to", "indices"),
        3,
        "'keep' and 'rank' contradict each other",
    )
    assert [p.name for p in Path().iterdir()] == ["bad.parquet"]


def test_scores_are_no_selection(cli):
    pq.write_table(table(), "scores.parquet")
    check_refused(
        cli("export", "scores.parquet", "x.npy", "--data", "digits", "--to", "indices"),
        3,
        "has no column 'keep', so it is not a selection file",
    )


def test_what_exists_is_not_exported_over(cli, selection):
    Path("mine.npy").write_text("mine")
    check_refused(cli("export", selection, "mine.npy", "--data", "digits", "--to", "indices"), 2, "mine.npy")
    assert Path("mine.npy").read_text() == "mine"


@pytest.mark.parametrize(
    ("missing", "model", "extra"),
    [("torchvision.models", "torchvision:resnet18", "vision"), ("timm", "timm:resnet18", "timm")],
)
def test_a_missing_extra_is_exit_code_4(cli, monkeypatch, missing, model, extra):
    monkeypatch.setitem(sys.modules, missing, None)
    result = cli("score", "digits", "--model", model, "--scorer", "el2n", "--out", "x")
    check_refused(result, 4, f"{missing} is needed here", f"pip install 'datadiet[{extra}]'")
    assert not Path("x").exists()


def test_a_model_that_cannot_take_the_data(cli):
    """A network for colour images and grey ones: one sentence instead of torch's."""
    check_refused(
        cli("score", "digits", "--model", "torchvision:resnet18", "--scorer", "el2n", "--epochs", "1", "--out", "x"), 2
    )
    assert not Path("x").exists()


def test_notes_go_to_stderr_and_json_stays_json(cli):
    pq.write_table(table(), "scores.parquet")  # has no description
    code, out, err = cli("select", "scores.parquet", "--keep", "50%", *SELECT, "--json")
    assert code == 0 and json.loads(out)["k"] == 50
    assert "datadiet: note: scores.parquet has no description" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_that_is_interrupted_again_and_again_ends_with_5(tmp_path, number):
    command = [sys.executable, "-m", "datadiet", "score", "digits", "--model", "datadiet:mlp", "--scorer", "el2n",
               "--epochs", "500", "--out", str(tmp_path / "run")]  # fmt: skip
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    ) as process:  # fmt: skip
        process.stderr.readline()  # the first note: from here on there is something to interrupt
        while process.poll() is None:
            process.send_signal(number)
            time.sleep(0.001)
        lines = process.stderr.read().splitlines()
    assert process.returncode == 5, lines
    assert sum("interrupted; the same command continues: datadiet score digits" in line for line in lines) == 1, lines
