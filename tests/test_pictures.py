"""The pictures of methods are those that the code draws now, and their pages show them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from xml.etree import ElementTree

import pytest

DOCS = Path(__file__).parents[1] / "docs"
_spec = importlib.util.spec_from_file_location("generate_pictures", DOCS / "generate_pictures.py")
assert _spec is not None and _spec.loader is not None
generate = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generate)


@pytest.fixture(scope="module")
def drawn() -> dict[str, str]:
    return dict(generate.pictures())


def test_the_pictures_are_current(drawn: dict[str, str]) -> None:
    stored = {path.stem: path.read_text(encoding="utf-8") for path in generate.FOLDER.glob("*.svg")}
    stale = [name for name in drawn | stored if drawn.get(name) != stored.get(name)]
    assert not stale, "run python docs/generate_pictures.py"


def test_the_page_of_a_method_shows_its_picture(drawn: dict[str, str]) -> None:
    for name in drawn:
        assert f"](../figures/methods/{name}.svg)" in (DOCS / "methods" / f"{name}.md").read_text(encoding="utf-8")


def test_a_picture_has_a_name_and_every_point(drawn: dict[str, str]) -> None:
    n = len(generate.read_toy().labels)
    for name, text in drawn.items():
        root = ElementTree.fromstring(text)
        marks = [path for path in root.iterfind(".//{*}path") if path.get("stroke") is None]
        assert root.get("aria-label") and root.findtext("{*}title") == root.get("aria-label")
        assert sum(path.get("d", "").count("M") for path in marks) == n, name
