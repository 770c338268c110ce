"""Write docs/reference/cli.md from the real --help texts; with --check, fail if the page is stale."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from datadiet.cli.app import app

PAGE = Path(__file__).parent / "reference" / "cli.md"
ORDER = ("score", "rescore", "embed", "select", "train", "export", "inspect", "ls", "demo")
HEAD = """# Command line

Generated from `--help` by `python docs/generate_cli.py`; a test fails when it is stale.

Results go to stdout (as JSON with `--json`), notes and progress bars to stderr. Exit codes: 0 done, 2 usage, 3 data or
scores that do not fit or a bad file, 4 a missing extra, 5 interrupted and resumable (see [files](files.md#exit-codes)).
A traceback is shown only with `datadiet --debug …`. Data specs, models and recipe fields are described in
[data and models](data-and-models.md), scorers and selectors in [methods](../methods/README.md).
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
