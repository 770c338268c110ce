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
    assert cli(*line, "-v")[0] == 0


def test_notes_follow_the_stream_of_the_moment(cli):
    """The handler of an earlier call in the same process must not keep a closed stream."""
    Path("s.csv").write_text("s\n1\n2\n")
    for _ in range(2):
        assert "note: s.csv" in cli("select", "s.csv", "--method", "random", "--keep", "n=1", "--overwrite")[2]


def test_no_option_of_a_command_hides_one_that_all_have():
    for command in app.commands.values():
        options = [option for param in command.params if isinstance(param, click.Option) for option in param.opts]
        assert len(options) == len(set(options)), command.name
