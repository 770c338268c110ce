"""The documentation does what it says: its blocks and examples run, its links lead somewhere, its reference is whole.

A `python`, `console` or `bash` block runs unless `<!-- not run: reason -->` stands before it. The blocks of a page
share one namespace and one working directory, in order. A Python block whose first line is a comment with a file name
is also written to that file. In a `console` block the lines after `$ datadiet …`, and an `output` block after a
Python block, are compared with what was printed: numbers, hashes and white space may differ, and a line … stands for
any lines.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import runpy
import shlex
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

import datadiet
from datadiet import evaluate, testing
from datadiet.cli import main
from datadiet.sampling import SCHEDULES
from datadiet.scorers import SCORERS
from datadiet.selectors import SELECTORS
from datadiet.sparsity import CHANNELS, GROWTH, PRUNING
from datadiet.training import OBJECTIVES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), ROOT / "README.md"]
INSTALLS = "python3 -m venv "  # continuous integration runs these lines, in a fresh environment
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


class Block(NamedTuple):
    kind: str
    text: str
    line: int
    exempt: str | None


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page; `exempt` is the reason not to run one."""
    lines = page.read_text(encoding="utf-8").splitlines()
    reason, at = None, 0
    while at < len(lines):
        comment = re.fullmatch(r"\s*<!-- not run:(.*)-->\s*", lines[at])
        fence = re.match(r"(\s*)```(\w*)", lines[at])
        if fence:
            end = next(i for i in range(at + 1, len(lines)) if lines[i].strip() == "```")
            text = "\n".join(line.removeprefix(fence[1]) for line in lines[at + 1 : end])
            yield Block(fence[2], text, at + 1, reason)
            at = end
        if comment or lines[at].strip():
            reason = comment[1].strip() if comment else None
        at += 1


@pytest.fixture(autouse=True)
def _quiet_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    if "accelerate" in sys.modules:  # whose state is one for the process
        sys.modules["accelerate"].state.AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_run(page: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed = None
    if page == ROOT / "README.md":
        make_photos(Path("photos"))
    for block in blocks(page):
        where = f"{page.relative_to(ROOT)}:{block.line}"
        if block.exempt is not None:
            assert block.exempt, f"{where}: say why the block is not run"
        elif block.kind == "python":
            printed = run_python(block, namespace, where)
        elif block.kind == "output":
            assert printed is not None and fits(block.text, printed), f"{where}: it printed\n{printed}"
        elif block.kind in ("console", "bash", "sh"):
            run_shell(block, where)


def make_photos(folder: Path) -> None:
    """The photographs that the README speaks of: one folder per class."""
    rng = np.random.default_rng(0)
    for number in range(90):
        path = folder / f"class{number % 3}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(80 * (number % 3), 80 * (number % 3) + 90, (16, 16, 3), dtype=np.uint8)).save(path)


def run_python(block: Block, namespace: dict[str, Any], where: str) -> str:
    name = re.match(r"# (\w+\.py)\n", block.text)
    if name:
        Path(name[1]).write_text(block.text, encoding="utf-8")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), warnings.catch_warnings():
        exec(compile(block.text, where, "exec"), namespace)
    return printed.getvalue()


def run_shell(block: Block, where: str) -> None:
    console = block.kind == "console"
    text = block.text.replace("\\\n", " ")
    commands: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if console and not line.startswith("$ "):
            assert commands, f"{where}: a console block begins with a line '$ datadiet …'"
            commands[-1][1].append(line)
        elif line.strip() and not line.startswith("#") and not line.startswith(INSTALLS):
            commands.append((line.removeprefix("$ "), []))
    for command, expected in commands:
        assert command.startswith("datadiet "), f"{where}: {command!r} is not run here: mark the block as not run"
        printed, code = run_command(command)
        wanted = re.search(r"# exits with (\d)$", command)
        assert code == int(wanted[1] if wanted else 0), f"{where}: {command}\nexit code {code}\n{printed}"
        if expected:
            assert fits("\n".join(expected), printed), f"{where}: {command}\nprinted\n{printed}"


def run_command(command: str) -> tuple[str, int]:
    printed = io.StringIO()
    with (
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        warnings.catch_warnings(),
        pytest.raises(SystemExit) as stopped,
    ):
        warnings.simplefilter("default")
        main(shlex.split(command, comments=True)[1:])
    return printed.getvalue(), int(stopped.value.code or 0)


# What score and train tell of what they resolved; pages do not repeat it.
RESOLVED = (
    "datadiet: note: inputs are normalised",
    "datadiet: note: working on",
    "datadiet: note: classes:",
    *(f"datadiet: note: {digit}" for digit in "123456789"),
)


def fits(expected: str, printed: str) -> bool:
    lines = [masked(line) for line in expected.strip().splitlines()]
    pattern = "".join(r"(?:.*\n)*" if line == "…" else re.escape(line) + r"\n" for line in lines)
    shown = [line for line in printed.strip().splitlines() if not line.startswith(RESOLVED)]
    found = "".join(masked(line) + "\n" for line in shown)
    return re.fullmatch(pattern, found) is not None


def masked(line: str) -> str:
    """A line without what differs between machines: numbers, hashes, times, white space and drawn lines."""
    line = re.sub(r"\b[0-9a-f]{32}\b", "HASH", line)
    line = re.sub(r"-?\d[\d,.]*(e-?\d+)?(?<![,.])", "#", line)
    return " ".join(re.sub(r"[━─┏┓┗┛└┘┡┩╇┳┴├┤]+", "", line).split())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_run(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(example.read_text(encoding="utf-8").splitlines()) < 60
    runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out.strip(), "an example shows something"


@pytest.mark.parametrize("name", [*SCORERS, *SELECTORS, *SCHEDULES, *OBJECTIVES, *PRUNING, *CHANNELS, *GROWTH])
def test_every_method_has_a_page(name: str) -> None:
    page = DOCS / "methods" / f"{name}.md"
    spec = {**SCORERS, **SELECTORS, **SCHEDULES, **OBJECTIVES, **PRUNING, **CHANNELS, **GROWTH}[name]
    page = page if page.exists() else page.with_stem(spec.fn.__name__)  # one page for the variants of a function
    text = page.read_text(encoding="utf-8")
    needed = {"Formula", "Source", "Parameters", "When it fails", "Use"}
    assert needed <= set(re.findall(r"^## (.+)$", text, re.MULTILINE)) and f"`{name}`" in text.splitlines()[0]
    described = text[text.index("## Parameters") :].partition("\n## ")[0]
    assert not [key for key in spec.parameters if f"`{key}`" not in described]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        # The measured results are generated from the benchmarks and may not be there yet.
        assert found.exists() or found == DOCS / "results.md", f"{page.name} links to {target}"
        if anchor and found.suffix == ".md" and found.exists():
            assert anchor in anchors(found), f"{page.name} links to {target}"


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_index() -> None:
    """The pages of methods are found by their names: see docs/methods/README.md."""
    index = (DOCS / "README.md").read_text(encoding="utf-8") + (DOCS / "methods" / "README.md").read_text("utf-8")
    found_by_name = {f"{name}.md" for name in (*SCORERS, *SELECTORS, *SCHEDULES, *OBJECTIVES, *PRUNING, *CHANNELS)}
    for page in DOCS.rglob("*.md"):
        if page != DOCS / "README.md" and not (page.parent.name == "methods" and page.name in found_by_name):
            assert f"{page.name})" in index, f"{page.relative_to(ROOT)} is in no index"


def test_the_command_line_reference_is_current() -> None:
    spec = importlib.util.spec_from_file_location("generate_cli", DOCS / "generate_cli.py")
    assert spec is not None and spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert generate.PAGE.read_text(encoding="utf-8") == generate.page(), "run python docs/generate_cli.py"


def test_every_public_name_is_described() -> None:
    text = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    headings = " ".join(re.findall(r"^### (.+)$", text, re.MULTILINE))
    missing = [name for name in datadiet.__all__ if f"`{name}`" not in headings and f"`{name}(" not in headings]
    assert not missing
    for name in (*evaluate.__all__, *testing.__all__):
        assert f"`{name}`" in text or f"`{name}(" in text, name
