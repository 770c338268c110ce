"""Build the documentation site in build/site, with the configuration in zensical.toml. Needs the extra `docs`.

The pages of docs/ stay as they are, readable as files. What a site needs beside them is made in build/docs: a page for
each part of the API, the navigation in the order of docs/README.md, and links to files that are not on the site, which
lead to the repository.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import yaml

import datadiet
from datadiet.errors import MissingExtra
from datadiet.sampling import SCHEDULES
from datadiet.scorers import SCORERS
from datadiet.selectors import SELECTORS
from datadiet.sparsity import CHANNELS, GROWTH, PRUNING

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PAGES, SITE = ROOT / "build" / "docs", ROOT / "build" / "site"
ALSO = ("CONTRIBUTING.md", "CHANGELOG.md")
PARTS = ("scorers", "selectors", "sampling", "sparsity", "integrations", "evaluate", "testing")
API = {"functions": "Functions", "classes": "Classes and errors", **{part: f"datadiet.{part}" for part in PARTS}}
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)")


def gather() -> None:
    """Write everything that the site is made of to build/docs."""
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(DOCS, PAGES, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for page in (*DOCS.rglob("*.md"), *(ROOT / name for name in ALSO)):
        target = PAGES / on_site(page)
        target.write_text(with_links(page), encoding="utf-8")
    for name, text in api_pages().items():
        target = PAGES / "reference" / "api" / f"{name}.md"
        target.parent.mkdir(exist_ok=True)
        target.write_text(text, encoding="utf-8")
    (PAGES / ".nav.yml").write_text(yaml.safe_dump({"nav": navigation()}, sort_keys=False), encoding="utf-8")


def on_site(path: Path) -> Path | None:
    """Where a file of the repository is on the site, or None."""
    if path.is_relative_to(DOCS) and path.is_file() and path.suffix != ".py":
        return path.relative_to(DOCS)
    return path.relative_to(ROOT) if str(path.relative_to(ROOT)) in ALSO else None


def with_links(page: Path) -> str:
    """The text of a page, whose relative links lead to the same files from its place on the site."""
    source = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Source"]
    place = on_site(page)
    assert place is not None, f"{page} is not a page of the site"

    def moved(link: re.Match[str]) -> str:
        target = (page.parent / link[1]).resolve()
        there = on_site(target)
        if there is None:
            return f"{source}/blob/main/{target.relative_to(ROOT)}"
        return Path(os.path.relpath(there, place.parent)).as_posix()

    return LINK.sub(moved, page.read_text(encoding="utf-8"))


def api_pages() -> dict[str, str]:
    """Name -> text of the pages whose contents mkdocstrings takes from the docstrings."""
    public = _importable(datadiet, datadiet.__all__)
    pages = {part: exported(importlib.import_module(f"datadiet.{part}")) for part in PARTS}
    pages["classes"] = {name: value for name, value in public.items() if inspect.isclass(value)}
    pages["functions"] = {name: value for name, value in public.items() if name not in pages["classes"]}
    return {name: _api(title, pages[name]) for name, title in API.items()}


def exported(module: Any) -> dict[str, Any]:
    """The functions and classes of a package: what `__all__` lists, or what it imports from its own files."""
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    found = _importable(module, sorted(names, key=str.lower))
    kinds = {name: value for name, value in found.items() if inspect.isclass(value) or inspect.isfunction(value)}
    return {name: value for name, value in kinds.items() if value.__module__.startswith(f"{module.__name__}.")}


def _importable(module: Any, names: Iterable[str]) -> dict[str, Any]:
    """Name -> object of a package; one whose library is not installed is left out, which is said."""
    found = {}
    for name in names:
        try:
            found[name] = getattr(module, name)
        except MissingExtra as error:
            print(f"{module.__name__}.{name} is left out of the site: {error}")
    return found


def _api(title: str, names: Mapping[str, Any]) -> str:
    """A page of directives; each names the file of its object, since a method's file has the method's name."""
    parts = [
        f"::: {value.__module__}.{value.__name__}\n    options:\n      heading: {name}\n      toc_label: {name}\n"
        for name, value in names.items()
    ]
    return "\n".join([f"# {title}\n", *parts])


def navigation() -> list[Any]:
    """The pages in the order of docs/README.md, then those of methods, and the API after the reference."""
    sections: dict[str, list[Any]] = {}
    for line in (DOCS / "README.md").read_text(encoding="utf-8").splitlines():
        heading = re.fullmatch(r"## (Tutorial|How-to|Reference|Explanation): .*", line)
        link = re.match(r"- \[([^]]+)\]\(([^)]+\.md)\)", line)
        if heading:
            sections[heading[1]] = []
        elif link and sections and link[2] not in ("methods/README.md", "results.md"):  # these have their own tabs
            sections[list(sections)[-1]].append({link[1]: link[2]})
    api = [{title: f"reference/api/{name}.md"} for name, title in API.items()]
    return [
        {"Start": "README.md"},
        {"Tutorial": sections["Tutorial"]},
        {"How-to": sections["How-to"]},
        {"Methods": _methods()},
        {"Reference": [*sections["Reference"], {"API": api}]},
        {"Explanation": [*sections["Explanation"], {"Contributing": "CONTRIBUTING.md"}]},
        {"Results": "results.md"},
        {"Changelog": "CHANGELOG.md"},
    ]


def _methods() -> list[Any]:
    """The pages of docs/methods by kind; a page serves all variants of a function."""
    kinds = {
        "Scorers": SCORERS,
        "Selectors": SELECTORS,
        "Schedules": SCHEDULES,
        "Pruning": {**PRUNING, **CHANNELS, **GROWTH},
    }
    left = {path.stem for path in (DOCS / "methods").glob("*.md")} - {"README"}
    grouped: list[Any] = [{"Which to use": "methods/README.md"}]
    for kind, specs in kinds.items():
        stems = sorted({spec.fn.__name__ for spec in specs.values()} | set(specs))
        grouped.append({kind: [f"methods/{stem}.md" for stem in stems if stem in left]})
        left -= set(stems)
    return [*grouped, {"More": [f"methods/{stem}.md" for stem in sorted(left)]}]


class _Loaded(HTMLParser):
    """Collects what a browser would load from other hosts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called for each element."""
        values = dict(attrs)
        links = ("stylesheet", "icon", "preconnect", "preload", "dns-prefetch", "manifest")
        address = values.get("href") if tag == "link" and values.get("rel") in links else values.get("src")
        if re.match("(https?:)?//", address or ""):
            self.found.append(str(address))


def loaded_from_elsewhere(page: Path) -> list[str]:
    """What the browser would load from other hosts to show a page or a style sheet of the site."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".css":
        return re.findall(r"""(?:url\(|@import )["']?((?:https?:)?//[^"')]+)""", text)
    parser = _Loaded()
    parser.feed(text)
    return parser.found


def main() -> None:
    """Gather the pages, build the site, and check that it needs no other host."""
    gather()
    subprocess.run([sys.executable, "-m", "zensical", "build", "--strict", "--clean"], cwd=ROOT, check=True)
    pages = [page for kind in ("*.html", "*.css") for page in SITE.rglob(kind)]
    bad = {str(page.relative_to(SITE)): found for page in pages if (found := loaded_from_elsewhere(page))}
    if bad:
        sys.exit(f"these pages load from other hosts: {bad}")


if __name__ == "__main__":
    main()
