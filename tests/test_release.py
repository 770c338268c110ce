"""What names the version agrees: the package, the changelog and the citation file; and so do the addresses."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

from datadiet import __version__, deprecation

ROOT = Path(__file__).parents[1]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
RELEASES = re.findall(
    r"^## (\d+\.\d+\.\d+) - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
)


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def test_the_version_is_that_of_the_latest_release() -> None:
    assert (CITATION["version"], CITATION["date-released"]) == RELEASES[0]
    assert __version__ == RELEASES[0][0]


def test_releases_are_listed_from_the_latest_to_the_first() -> None:
    assert [(numbers(version), date) for version, date in RELEASES] == sorted(
        ((numbers(version), date) for version, date in RELEASES), reverse=True
    )
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(headings) - len(RELEASES) == headings.count("Unreleased") <= 1


def test_old_names_have_not_outlived_their_version() -> None:
    assert numbers(__version__) < numbers(deprecation._REMOVED_IN)


def test_addresses_are_the_same_everywhere() -> None:
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    assert (CITATION["repository-code"], CITATION["url"]) == (urls["Source"], urls["Documentation"])
    assert urls["Issues"].startswith(urls["Source"]) and urls["Changelog"].startswith(urls["Source"])
