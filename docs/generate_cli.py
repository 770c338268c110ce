"""Write docs/reference/cli.md from the real --help texts; with --check, fail if the page is stale."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from datadiet.cli.app import app

PAGE = Path(__file__).parent / "reference" / "cli.md"
ORDER = ("score", "rescore", "embed", "select", "train", "suspects", "export", "inspect", "ls", "doctor", "demo")
HEAD = """# Command line

Generated from `--help` by `python docs/generate_cli.py`; a test fails when it is stale.

Results go to stdout (as JSON with `--json`), notes and progress bars to stderr. Exit codes: 0 done, 2 usage, 3 data or
scores that do not fit or a bad file, 4 a missing extra, 5 interrupted and resumable (see [files](files.md#exit-codes)).
A traceback is shown only with `datadiet --debug …`. Data specs, models and recipe fields are described in
[data and models](data-and-models.md), scorers and selectors in [methods](../methods/README.md).

`-q` leaves out notes and progress bars, so that only results and errors remain. `-v` also says which
files are read and written, which plan a run has, and how long each of its steps took. Ctrl-C and SIGTERM end a command
with exit code 5.

## Options in a file

`--config run.toml` reads options from a TOML file, under their long names, and `--print-config`
prints all options of a command in that form and runs nothing. What you type wins over the file, also
over an option that excludes yours: `--prune 20%` replaces a `keep`, which a note says. Options that may be given
several times are lists. A file can serve several commands: options under `[score]` are for `score` only, and
those under no heading for every command that reads the file. An option that a command does not have is refused.

```toml
# run.toml
[score]
data = "digits"
model = "datadiet:mlp"
scorer = "el2n,aum"
epochs = 20
set = ["batch_size=64"]
out = "runs/digits"

[select]
keep = "30%"
```

`datadiet score --config run.toml --epochs 10` then scores with 10 epochs, and
`datadiet select runs/digits --config run.toml` selects.

## Overwriting

Nothing is overwritten unless you say so. `select`, `suspects` and `export` refuse a target that exists. `--overwrite`
replaces it, a whole folder too. `score`, `train` and `embed` continue the run in their folder, and refuse the folder of
another.

## Completion in the shell

Add one line to the file that your shell reads at its start:

```text
bash  ~/.bashrc                                  eval "$(_DATADIET_COMPLETE=bash_source datadiet)"
zsh   ~/.zshrc                                   eval "$(_DATADIET_COMPLETE=zsh_source datadiet)"
fish  ~/.config/fish/completions/datadiet.fish   _DATADIET_COMPLETE=fish_source datadiet | source
```

The tab key then completes commands, options, and values that are a fixed choice. We have tried this in bash 5.2. The
script for bash needs version 4.4 or later.
"""


def page() -> str:
    """The text of the page."""
    group = click.Context(app, info_name="datadiet", terminal_width=100, **app.context_settings)
    commands = sorted(app.commands, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    parts = [HEAD, _section(group)]
    parts += [_section(click.Context(app.commands[c], group, c, terminal_width=100)) for c in commands]
    return "\n".join(parts)


def _section(context: click.Context) -> str:
    help_text = "\n".join(line.rstrip() for line in context.get_help().splitlines())
    return f"## {context.command_path}\n\n```text\n{help_text}\n```\n"


if __name__ == "__main__":
    if "--check" not in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
        sys.exit(f"{PAGE} is stale: run python docs/generate_cli.py")
