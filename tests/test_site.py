"""The documentation site holds every page and every public name, and needs no other host."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import datadiet
from datadiet import evaluate, scorers, selectors, testing

ROOT = Path(__file__).parents[1]


def script(name: str) -> Any:
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build_site = script("build_site")


def test_the_api_has_every_public_name() -> None:
    listed = {name: set(re.findall(r"heading: (\w+)", text)) for name, text in build_site.api_pages().items()}
    assert listed["functions"] | listed["classes"] == set(datadiet.__all__)
    assert listed["evaluate"] == set(evaluate.__all__) and listed["testing"] == set(testing.__all__)
    assert {name for name in scorers.SCORERS if hasattr(scorers, name)} <= listed["scorers"]
    assert set(selectors.SELECTORS) <= listed["selectors"]


def test_a_name_whose_library_is_missing_is_left_out_and_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = "datadiet.integrations.transformers"
    monkeypatch.delitem(sys.modules, adapter, raising=False)
    monkeypatch.setitem(sys.modules, "transformers", None)  # as if it were not installed
    page = build_site.api_pages()["integrations"]
    assert "heading: Attached\n" in page and "heading: attach\n" not in page
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1 and said[0].startswith("datadiet.integrations.attach is left out of the site: transformers ")
    sys.modules.pop(adapter, None)


def test_the_api_names_the_object_and_not_the_file_of_the_same_name() -> None:
    assert "::: datadiet.selectors.ccs.ccs\n" in build_site.api_pages()["selectors"]


def test_every_page_is_in_the_navigation_once() -> None:
    def pages(part: Any) -> Iterator[str]:
        if isinstance(part, str):
            yield part
        else:
            for one in part.values() if isinstance(part, dict) else part:
                yield from pages(one)

    found = [page for page in pages(build_site.navigation()) if not page.startswith("reference/api/")]
    docs = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(found) == sorted([*docs, *build_site.ALSO])


def test_links_lead_to_the_same_files_from_the_site() -> None:
    assert "](../CONTRIBUTING.md)" in build_site.with_links(ROOT / "docs" / "explanation" / "house-style.md")
    assert "](explanation/house-style.md)" in build_site.with_links(ROOT / "CONTRIBUTING.md")
    assert "](methods/ccs.md)" in build_site.with_links(ROOT / "docs" / "README.md")
    assert "](../figures/methods/ccs.svg)" in build_site.with_links(ROOT / "docs" / "methods" / "ccs.md")
    assert re.search(r"\]\(https://\S+/blob/main/examples\)", build_site.with_links(ROOT / "docs" / "README.md"))


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.html", '<script src="https://a.org/x.js"></script>', ["https://a.org/x.js"]),
        ("a.html", '<link rel="stylesheet" href="//a.org/x.css">', ["//a.org/x.css"]),
        ("a.html", '<img src="http://a.org/x.png">', ["http://a.org/x.png"]),
        ("a.html", '<a href="https://a.org">a</a><link rel="canonical" href="https://a.org"><img src="x.svg">', []),
        ("a.css", "@font-face{src:url(https://a.org/f.woff2)}", ["https://a.org/f.woff2"]),
        ("a.css", '@import "https://a.org/x.css"; p{background:url("x.png")}', ["https://a.org/x.css"]),
    ],
)
def test_what_loads_from_other_hosts_is_found(tmp_path: Path, name: str, text: str, found: list[str]) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert build_site.loaded_from_elsewhere(tmp_path / name) == found
