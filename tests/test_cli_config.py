"""Options from a file, and how much a command says."""

from __future__ import annotations

import json
import os
import tomllib
import warnings
from pathlib import Path

import click
import numpy as np
import pytest

from datadiet.cli import main
from datadiet.cli.app import app
from datadiet.cli.config import ConfiguredCommand

RUN = 'model = "datadiet:mlp"\nscorer = "el2n,aum"\nepochs = 2\nset = ["batch_size=256", "lr=0.2"]\n'


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Run a command line in a folder of its own: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("warnings.showwarning", None)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)

    def run(*arguments):
        with warnings.catch_warnings(), pytest.raises(SystemExit) as stopped:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        os.environ.pop("TQDM_DISABLE", None)
        return stopped.value.code, out, err

    return run


@pytest.mark.parametrize("text", [RUN, "[score]\n" + RUN, RUN + "\n[train]\nepochs = 7\n[select]\nkeep = '10%'\n"])
def test_a_file_gives_options_and_the_command_line_wins(cli, text):
    Path("run.toml").write_text(text)
    code, out, _ = cli("score", "digits", "--config", "run.toml", "--epochs", "1", "--out", "run", "--json")
    plan = json.loads(Path("run/manifest.json").read_text())["plan"]
    assert code == 0 and set(json.loads(out)["scores"]) == {"el2n", "aum"}
    assert plan["epochs"] == 1 and plan["recipe"]["batch_size"] == 256 and plan["recipe"]["lr"] == 0.2


@pytest.mark.parametrize("name", sorted(app.commands))
def test_every_command_prints_its_options_as_such_a_file(cli, name):
    code, out, err = cli(name, "--print-config")
    assert (code, err) == (0, "") and isinstance(app.commands[name], ConfiguredCommand)
    tomllib.loads(out)
    for param in app.commands[name].params:
        longest = max((opt.lstrip("-") for opt in param.opts), key=len).replace("_", "-")
        if longest not in ("config", "print-config", "quiet", "verbose"):
            assert f"{longest} =" in out, longest


def test_what_is_printed_is_read_back(cli):
    np.save("s.npy", np.arange(20.0))
    line = ["select", "s.npy", "--method", "top_k", "-p", "prefer=hardest", "--keep", "25%", "--seed", "3"]
    code, out, _ = cli(*line, "--out", "a.parquet", "--print-config")
    assert code == 0 and not Path("a.parquet").exists()
    Path("run.toml").write_text(out)
    assert cli("select", "--config", "run.toml")[0] == 0 and Path("a.parquet").exists()
    assert cli("select", "--config", "run.toml", "--out", "b.parquet", "--keep", "n=2")[0] == 0
    assert tomllib.loads(cli("select", "--config", "run.toml", "--print-config")[1]) == tomllib.loads(out)


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (None, 3, "there is no config file run.toml"),
        ("epochs == 3", 3, "run.toml is not a TOML file"),
        ("epoch = 3", 2, "'epoch' is not an option of datadiet score: did you mean 'epochs'"),
        ("[scroe]\nepochs = 3", 2, "'scroe' is not an option of datadiet score"),
        ("epochs = [3]", 2, "epochs takes one value"),
        ("epochs = 'many'", 2, "'many' is not a valid integer"),
        ("epochs = 0", 2, "0 is not in the range"),
        ("set = 3", 2, "--set '3' has no value"),
    ],
)
def test_a_bad_file_is_one_sentence(cli, text, code, words):
    if text is not None:
        Path("run.toml").write_text(text)
    found = cli(
        "score", "digits", "--model", "datadiet:mlp", "--scorer", "el2n", "--out", "run", "--config", "run.toml"
    )
    assert found[0] == code and words in found[2] and "Traceback" not in found[2] and not Path("run").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epochs = 2.7", "run.toml: epochs takes a whole number, and 2.7 was given"),
        ("epochs = true", "run.toml: epochs takes a whole number, and true was given"),
        ("epochs = inf", "run.toml: epochs takes a whole number, and Infinity was given"),
        ("epochs = 1979-05-27", "run.toml: epochs takes a whole number"),
        ("seed = 1.9", "run.toml: seed takes a whole number, and 1.9 was given"),
        ("seed = 1e400", "run.toml: seed takes a whole number"),
        ('set = [["a"]]', 'run.toml: set takes a text or a number, and ["a"] was given'),
        ("set = [{a = 1}]", "run.toml: set takes a text or a number"),
        ("label = true", "run.toml: label takes a text or a number, and true was given"),
        ("json = 1", "run.toml: json takes true or false, and 1 was given"),
        ("json = 'yes'", "run.toml: json takes true or false"),
        ("quiet = 1", "run.toml: quiet takes true or false"),
        ("[score]\nepochs = 2.7", "run.toml: epochs takes a whole number"),
    ],
)
@pytest.mark.parametrize("how", [[], ["--print-config"]])
def test_a_value_of_another_type_is_refused_and_never_cut(cli, text, words, how):
    Path("run.toml").write_text(text)
    line = ["score", "digits", "--model", "datadiet:mlp", "--scorer", "el2n", "--out", "run"]
    code, out, err = cli(*line, "--config", "run.toml", *how)
    assert (code, out) == (2, "") and words in err and err.count("\n") == 1 and not Path("run").exists()


@pytest.mark.parametrize(
    ("text", "line", "kept"),
    [
        ("keep = 0.5", ["--prune", "20%"], 16),
        ("prune = 0.5", ["--keep", "n=4"], 4),
        ("[select]\nprune = '90%'", ["--keep", "25%"], 5),
    ],
)
def test_an_option_of_the_command_line_replaces_what_it_excludes(cli, text, line, kept):
    np.save("s.npy", np.arange(20.0))
    Path("run.toml").write_text(text)
    line = ["select", "s.npy", "--method", "random", "--config", "run.toml", *line]
    code, out, err = cli(*line)
    assert code == 0 and out.startswith(f"kept {kept} of 20") and "does not count, since --" in err
    assert f"# {text.split()[-3]} =" in cli(*line, "--print-config")[1]


@pytest.mark.parametrize(
    ("command", "text", "line", "dropped"),
    [
        ("train", "epochs = 3\nmatch = 'full-steps'", ["--steps", "2"], ["epochs", "match"]),
        ("train", "steps = 3", ["--epochs", "2"], ["steps"]),
        ("train", "selection = 'a.parquet'", ["--sampler", "rs2:keep=10%"], ["selection"]),
        ("score", "epochs = 3\nseeds = 2", ["--checkpoints", "*.pt"], ["epochs", "seeds"]),
        ("plan", "method = 'dbp'", ["--scorer", "el2n"], ["method"]),
    ],
)
def test_every_pair_of_options_that_exclude_each_other(cli, command, text, line, dropped):
    Path("run.toml").write_text(text)
    code, out, err = cli(command, "digits", "--config", "run.toml", *line, "--print-config")
    assert code == 0 and not set(dropped) & {key for key, value in tomllib.loads(out).items() if value != 1}
    assert err.count("\n") == len(dropped) and all(f"run.toml: {name} does not count" in err for name in dropped)


@pytest.mark.parametrize(
    ("text", "line", "keys"),
    [
        ("epochs = 'many'", [], "epochs"),
        ("epochs = 0", [], "epochs"),
        ("on-error = 'ignore'", [], "on-error"),
        ("set = ['lr=fast']", [], "set"),
        ("set = ['rate=1']", [], "set"),
        ("eval = '300%'", [], "eval"),
        ("p = ['el2n.every=2']", [], "p"),
        ("model = 'datadiet:mpl'\nseed = 1", [], "model"),
    ],
)
def test_a_wrong_value_names_the_file_and_the_key(cli, text, line, keys):
    Path("run.toml").write_text(text)
    model = [] if "model" in text else ["--model", "datadiet:mlp"]
    line = ["score", "digits", "--scorer", "el2n", "--out", "run", "--config", "run.toml", *model, *line]
    code, _, err = cli(*line)
    assert code == 2 and f"(run.toml gives {keys})" in err and not Path("run").exists()


@pytest.mark.parametrize("line", [["--method", "random", "--keep", "lots"], ["--method", "randon"]])
def test_a_wrong_value_of_the_command_line_does_not_name_the_file(cli, line):
    np.save("s.npy", np.arange(20.0))
    Path("run.toml").write_text("keep = '10%'\nseed = 1")
    code, _, err = cli("select", "s.npy", *line, "--config", "run.toml")
    assert code == 2 and "run.toml" not in err


def test_a_file_with_a_byte_order_mark_is_read(cli):
    np.save("s.npy", np.arange(20.0))
    Path("run.toml").write_bytes(b"\xef\xbb\xbfkeep = '10%'\r\nmethod = 'random'\r\n")
    assert cli("select", "s.npy", "--config", "run.toml")[1].startswith("kept 2 of 20")


def test_only_small_regular_files_are_read(cli):
    os.mkfifo("fifo")
    Path("large.toml").write_text("#" * (1 << 20) + "\n")
    for name, words in [
        ("fifo", "a device, a pipe"), ("/dev/zero", "a device, a pipe"), ("large.toml", "larger than 1 MiB"),
        (".", "is a folder"), ("n" * 300, "no config file"),
    ]:  # fmt: skip
        code, _, err = cli("score", "--config", name)
        assert code == 3 and words in err and err.count("\n") == 1, name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nonsense"], "No such option"),
        (["--epochs", "abc"], "'abc' is not a valid integer"),
        (["--epochs", "0"], "0 is not in the range"),
        (["--config", "run.toml"], "epochs takes one value"),
        (["digits", "more"], "unexpected extra argument"),
    ],
)
def test_what_is_printed_hides_no_error(cli, arguments, words):
    Path("run.toml").write_text("[epochs]\na = 1\n")
    code, out, err = cli("score", *arguments, "--print-config")
    assert (code, out) == (2, "") and words in err
    assert "Missing" in cli("score")[2]  # what is required still is


def test_defaults_that_the_help_names_are_printed_as_comments(cli):
    assert "# epochs = 10 (default)" in cli("score", "--print-config")[1]
    assert "# higher-is = harder (default)" in cli("select", "--print-config")[1]


def test_how_much_is_said_may_stand_in_a_file(cli):
    Path("s.csv").write_text("s\n1\n2\n")
    line = ["select", "s.csv", "--method", "random", "--keep", "n=1", "--overwrite", "--config", "run.toml"]
    for text, notes in [("quiet = true", False), ("verbose = true", True), ("quiet = false", True)]:
        Path("run.toml").write_text(text)
        code, _, err = cli(*line)
        assert code == 0 and ("note: s.csv" in err) == notes, text


def test_quiet_says_errors_alone_and_verbose_more(cli):
    Path("s.csv").write_text("s\n" + "\n".join(map(str, range(20))) + "\n")
    line = ["select", "s.csv", "--method", "ccs", "--keep", "50%", "--overwrite", "--out", "c.parquet"]
    assert "note: s.csv has no column 'index'" in cli(*line)[2]
    for flag in ("-q", "--quiet"):
        code, out, err = cli(*line, flag)
        assert (code, err) == (0, "") and out.startswith("kept 10 of 20")
    assert cli("select", "nothing.csv", *line[2:], "-q")[2].startswith("datadiet: nothing.csv does not exist")
    run = ["score", "digits", "--model", "datadiet:mlp", "--scorer", "el2n", "--epochs", "1"]
    assert "1438 examples" in cli(*run, "--out", "a")[2] and cli(*run, "--out", "b", "-q")[2] == ""
    said = cli(*line, "-v")[2].splitlines()
    assert "datadiet: reading s.csv" in said and "datadiet: wrote c.parquet" in said
    said = cli(*run, "--out", "c", "-v")[2]
    assert "datadiet: c has the plan " in said and "datadiet: did train 0 in " in said
    assert "datadiet: wrote c/scores.parquet" in said and "1438 examples" in said


def test_notes_follow_the_stream_of_the_moment(cli):
    """The handler of an earlier call in the same process must not keep a closed stream."""
    Path("s.csv").write_text("s\n1\n2\n")
    for _ in range(2):
        assert "note: s.csv" in cli("select", "s.csv", "--method", "random", "--keep", "n=1", "--overwrite")[2]


def test_no_option_of_a_command_hides_one_that_all_have():
    for command in app.commands.values():
        options = [option for param in command.params if isinstance(param, click.Option) for option in param.opts]
        assert len(options) == len(set(options)), command.name
