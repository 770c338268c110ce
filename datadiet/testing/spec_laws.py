"""The laws of the record, the docstring and the cost formula of a method."""

from __future__ import annotations

import inspect
import re
import sys

from datadiet.geometry.cost import Stage
from datadiet.testing.laws import Case, expect, law, laws_in, shown
from datadiet.testing.parameter_sets import home_of

__all__ = ["SPEC_LAWS"]


@law("write the sections of the docstring, with every parameter under Args: see CONTRIBUTING.", ours=True, once=True)
def docstring(method: Case) -> None:
    """The docstring has Args, Returns, Raises and a doctest, and describes every parameter."""
    text = inspect.getdoc(method.spec.fn) or ""
    missing = [part for part in ("Args:", "Returns:", "Raises:", ">>> ") if part not in text]
    expect(not missing, "the docstring of the function", f"no {', '.join(missing)}")
    arguments = text[text.index("Args:") : text.index("Returns:")]
    names = inspect.signature(method.spec.fn).parameters
    bare = [name for name in names if not re.search(rf"\b{name}\b.*:", arguments)]
    expect(not bare, "the section Args", f"nothing about {', '.join(bare)}")


@law("give reference= in the SPEC (a paper, a book, or 'baseline'), and say in the docstring of the file what it costs "
     "and, for a published method, how it deviates.", ours=True, once=True)  # fmt: skip
def source_and_cost(method: Case) -> None:
    """A method says where it comes from, what it costs, and how a published method was changed."""
    head = getattr(sys.modules.get(home_of(method.spec.fn)), "__doc__", None) or ""
    expect(method.spec.reference, "the SPEC", "no reference")
    published = re.search(r"\d{4}", method.spec.reference)
    wanted = ("Cost:", "Deviations") if published else ("Cost:",)
    missing = [word for word in wanted if word not in head]
    expect(not missing, "the docstring of the file", f"no {' and no '.join(missing)}")


@law("say 'Nested' under Returns, or leave nested=True out of the SPEC.",
     when=lambda method: isinstance(getattr(method.spec, "nested", None), bool), ours=True, once=True)  # fmt: skip
def said_to_be_nested(method: Case) -> None:
    """The section Returns says 'Nested' if the spec has nested=True, and only then."""
    returns = (inspect.getdoc(method.spec.fn) or "").partition("Returns:")[2].partition("Raises:")[0]
    said = "Nested" in returns
    expect(
        said == method.spec.nested, f"nested={method.spec.nested}", f"Returns {'says' if said else 'does not say'} it"
    )


@law("count the stages with geometry.cost: what is read, multiplied and moved grows with n and d.",
     when=lambda method: method.spec.cost is not None)  # fmt: skip
def cost_formula(method: Case) -> None:
    """The cost formula gives stages of non-negative cost, more for more examples and no less for wider vectors."""
    plain = {key: v for key, v in method.params.items() if isinstance(v, (bool, int, float, str))}
    for k in (None, 3000):
        small, large, wide = (method.spec.cost(n, d, k, **plain) for n, d in ((10_000, 32), (40_000, 32), (10_000, 64)))
        for stages in (small, large, wide):
            expect(stages and all(isinstance(stage, Stage) for stage in stages), f"k={k}", shown(stages))
            least = min(min(s.passes, s.flops, s.moved, s.calls, s.memory) for s in stages)
            expect(least >= 0, f"k={k}", f"a stage that costs {least}")
        said = [f"{_seconds(stages):.3g} s" for stages in (small, large, wide)]
        expect(_seconds(small) < _seconds(large), "10,000 and 40,000 vectors", " and ".join(said[:2]))
        expect(_seconds(small) <= _seconds(wide), "32 and 64 numbers in each", f"{said[0]} and {said[2]}")


def _seconds(stages: list[Stage]) -> float:
    """The time on an imaginary machine."""
    return sum(stage.flops / 1e9 + stage.moved / 1e8 + stage.calls / 1e6 for stage in stages)


SPEC_LAWS = laws_in(globals())
