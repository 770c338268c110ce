"""What keeps the package in shape: who imports whom, what importing costs, names, and sizes."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import datadiet

ROOT = Path(datadiet.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
MODULES = {
    ".".join(("datadiet", *p.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): p for p in FILES
}

HOMES = {name: module for module, names in datadiet._HOMES.items() for name in names}

FRAMEWORKS = ("torch", "torchvision", "timm", "safetensors", "accelerate", "lightning", "transformers")
HEAVY = (*FRAMEWORKS, "ray", "faiss", "sklearn", "datasets", "pandas")

# Layer -> what of datadiet its modules may import, besides themselves and the base; inside functions too. Nothing
# imports upwards: a layer names only layers above it here.
LAYERS = {
    "runtime": (),
    "geometry": (),
    "scorers": ("geometry",),
    "selectors": ("geometry",),
    "report": (),
    "data": ("runtime", "selectors"),  # vectors of a run; the one allocator
    "models": ("runtime", "data"),
    "tasks": ("data", "models", "runtime"),
    "sampling": ("runtime", "selectors", "data"),
    "table": ("runtime", "data", "sampling"),
    "signals": ("runtime", "data", "models", "tasks", "table"),
    "sparsity": ("selectors", "data", "models"),  # the one allocator
    "training": ("runtime", "data", "models", "tasks", "sampling", "sparsity"),
    # Other people's trainers and loggers: thin. Each needs a library that may not be there.
    "integrations": ("runtime", "data", "models", "tasks", "sampling", "table", "signals", "training"),
    "evaluate": ("table", "selectors", "data", "runtime"),
    "testing": ("geometry", "scorers", "selectors", "signals", "sampling"),
    "workflow": (
        "runtime",
        "geometry",
        "scorers",
        "selectors",
        "report",
        "data",
        "models",
        "tasks",
        "sampling",
        "table",
        "signals",
        "sparsity",
        "training",
        "integrations",
        "evaluate",
    ),
    # Each command imports what it needs when it runs, mostly its workflow; the others are lists and early checks.
    "cli": (
        "workflow",
        "runtime",
        "data",
        "models",
        "scorers",
        "selectors",
        "signals",
        "sampling",
        "table",
        "sparsity",
        "training",
    ),
}
BASE = (
    "errors", "randomness", "files", "attributes", "lazy", "progress", "parameters", "registry", "deprecation",
    "version", "arrays", "arrow", "working_set", "float32_precision", "devices",
)  # fmt: skip
NO_TORCH = ("table", "geometry", "scorers", "selectors", "report", "evaluate", "testing", "cli", *BASE)
# Modules of the layers with torch that must load without it: what `select`, `rescore`, `inspect` and `ls` read.
NO_TORCH_MODULES = (
    "datadiet", "datadiet.models.catalog", "datadiet.data.scheme", "datadiet.data.identity",
    "datadiet.runtime.layout", "datadiet.runtime.plan", "datadiet.signals.passes", "datadiet.signals.passes.spec",
    "datadiet.signals.passes.gradients", "datadiet.workflow.selecting.select", "datadiet.workflow.selecting.pool",
    "datadiet.workflow.scoring.requests", "datadiet.workflow.scoring.columns", "datadiet.workflow.selecting",
    "datadiet.workflow.scoring.rescore", "datadiet.workflow.selecting.inspect",
    "datadiet.workflow.selecting.suspects", "datadiet.workflow.selecting.suspected",
    "datadiet.workflow.selecting.predictions",
    "datadiet.sampling", "datadiet.sampling.epoch_sampler", "datadiet.sampling.rs2", "datadiet.sampling.shard",
    "datadiet.sampling.spec", "datadiet.sampling.subset", "datadiet.training", "datadiet.training.objective_spec",
    "datadiet.sparsity", "datadiet.sparsity.spec", "datadiet.sparsity.pace", "datadiet.sparsity.allocation",
    "datadiet.workflow.fitting.axes",
)  # fmt: skip
MAY_PRINT = ("cli",)
# A top-level module of these names would shadow Python's own; inside the package they do not.
STDLIB_NAMES = {
    "cli/select.py": "named after its command",
    "cli/inspect.py": "named after its command",
    "workflow/selecting/select.py": "named after its verb; always imported by its whole name",
    "workflow/selecting/inspect.py": "named after its verb; always imported by its whole name",
    "selectors/__init__.py": "the field's word; lives in the package so that `import selectors` stays Python's",
    "__init__.py": "every package has one",
    "__main__.py": "python -m datadiet",
}


def layer(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports_of(path, in_functions=True):
    """The modules that a file imports: not under TYPE_CHECKING, and without those in functions if they do not count."""
    return imports_in(ast.parse(path.read_text(encoding="utf-8")), in_functions)


def imports_in(tree, in_functions):
    found, todo = set(), list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "a relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            todo += node.orelse
        elif in_functions or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            todo += list(ast.iter_child_nodes(node))
    return found


def imports_when_loaded(path):
    return imports_of(path, in_functions=False)


def test_imports_are_seen_wherever_they_stand():
    """Inside functions, lambdas' defaults, classes, conditions and as the plain package."""
    source = """
import datadiet
from datadiet.table import Scores
if TYPE_CHECKING:
    from datadiet.workflow import guarded
class A:
    def f(self):
        from datadiet.cli import app
        if self:
            import datadiet.report as report
"""
    names = imports_in(ast.parse(source), True)
    assert {"datadiet", "datadiet.table", "datadiet.cli.app", "datadiet.report"} <= names
    assert not any("guarded" in name for name in names)
    assert "datadiet.cli.app" not in imports_in(ast.parse(source), False)


@pytest.mark.parametrize("module", MODULES)
def test_nothing_imports_upwards(module):
    mine = layer(module)
    if mine in ("", "__main__"):
        allowed = {"cli"} if mine else {"lazy", "version"}
    else:
        allowed = {*LAYERS.get(mine, ()), mine, *BASE}
    names = {name for name in imports_of(MODULES[module]) if name.split(".")[0] == "datadiet"}
    if mine:
        assert "datadiet" not in names, f"{module} imports the whole package"
    theirs = {layer(name) for name in names}
    assert theirs <= allowed, f"{module} imports {sorted(theirs - allowed)}"


def test_no_modules_import_each_other():
    """Directly or in a round, also inside functions."""
    graph = {module: imports_of(path) & set(MODULES) - {module} for module, path in MODULES.items()}

    def reaches(start, goal):
        seen, todo = set(), [start]
        while todo:
            for after in graph[todo.pop()] - seen:
                if after == goal:
                    return True
                seen.add(after)
                todo.append(after)
        return False

    assert [(a, b) for a in graph for b in graph[a] if a < b and reaches(b, a)] == []


def test_names_that_are_loaded_on_first_use_are_not_names_of_modules():
    """A module that is imported by its own name would stand in the place of the function."""
    for module, path in MODULES.items():
        if path.name == "__init__.py" and "lazy(" in path.read_text(encoding="utf-8"):
            found = importlib.import_module(module)
            exported = set(getattr(found, "__all__", ()))
            assert not exported & {p.stem for p in path.parent.glob("*.py")}, module


def test_every_layer_has_a_rule():
    assert {layer(m) for m in MODULES} - {"", "__main__", *BASE} == set(LAYERS)
    order = [*BASE, *LAYERS]
    assert all(order.index(below) < order.index(name) for name, others in LAYERS.items() for below in others)


@pytest.mark.parametrize("module", [m for m in MODULES if layer(m) in NO_TORCH or m in NO_TORCH_MODULES])
def test_light_modules_name_no_framework(module):
    roots = {name.split(".")[0] for name in imports_when_loaded(MODULES[module])}
    assert not roots & set(HEAVY), module


def test_nobody_but_the_ray_executor_and_the_integrations_knows_ray():
    for module, path in MODULES.items():
        if module != "datadiet.runtime.ray" and layer(module) != "integrations":
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
            assert "ray" not in {name.split(".")[0] for name in names}, module


def test_the_integrations_are_loaded_by_who_uses_them():
    """Each imports one library, when it is loaded; that of another is not needed."""
    libraries = {"transformers", "lightning", "accelerate", "torchdata", "tensorboard", "wandb", "pytorch_lightning"}
    for module, path in MODULES.items():
        roots = {name.split(".")[0] for name in imports_when_loaded(path)}
        assert not roots & libraries, f"{module}: import it through errors.require, which names the extra"
    code = "from datadiet.integrations import Dynamics; import datadiet; datadiet.integrations.__all__"
    done = subprocess.run([sys.executable, "-c", LOADED.format(code=code)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not set(json.loads(done.stdout.splitlines()[-1])) & libraries


def test_the_command_line_reaches_the_workflow_inside_functions_only():
    for module, path in MODULES.items():
        if layer(module) == "cli":
            roots = {layer(n) for n in imports_when_loaded(path) if n.startswith("datadiet.")}
            assert roots <= {"cli", "errors", "version"}, module


LOADED = "import json, sys\n{code}\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"

SELECTING = """
import numpy as np
from datadiet.selectors import band, ccs, random, top_k
values = np.random.default_rng(0).random(200)
rng = np.random.default_rng
top_k(values, 20, prefer="hardest", rng=rng(0)); band(values, 20, rng=rng(0)); random(200, 20, rng=rng(0))
ccs(values, 20, rng=rng(0), cutoff_scores=values, beta=0.1)
from datadiet import scorers
correct = values.reshape(1, 4, 50) > 0.5
scorers.forgetting(correct); scorers.el2n(values[None]); scorers.aum(values.reshape(1, 4, 50))
import datadiet
datadiet.select(values, "top_k", keep=0.3, prefer="hardest")
"""

WEIGHTS = {
    "import datadiet": set(HEAVY),
    "import datadiet, datadiet.cli, datadiet.table, datadiet.scorers, datadiet.selectors": set(HEAVY),
    "from datadiet.workflow.selecting import select, inspect; from datadiet.workflow.scoring import rescore": set(
        HEAVY
    ),
    "import datadiet; [getattr(datadiet, n) for n in ('select', 'rescore', 'Scores', 'Selection', 'OptionError')]": set(
        HEAVY
    ),
    "import datadiet.sampling; datadiet.sampling.RS2Sampler(9, 3)": set(HEAVY),
    "import datadiet.testing": {*HEAVY, "pytest", "hypothesis"},
    SELECTING: set(HEAVY) - {"pandas"},  # which pyarrow loads when it looks at arrays
    # torch itself is needed here, but none of the rest
    "from datadiet import score, train, Recorder": {
        "torchvision",
        "timm",
        "ray",
        "faiss",
        "sklearn",
        "datasets",
        "transformers",
    },
}


@pytest.mark.parametrize("code", WEIGHTS, ids=lambda code: code.strip().splitlines()[0][:60])
def test_importing_costs_little(code):
    done = subprocess.run([sys.executable, "-c", LOADED.format(code=code)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not set(json.loads(done.stdout.splitlines()[-1])) & WEIGHTS[code]


def test_names_are_what_they_should_be_after_everything_is_imported():
    """No submodule may hide a function of the same name: `datadiet.train` stays callable."""
    for module in MODULES:
        if not module.endswith("__main__"):
            importlib.import_module(module)
    functions = {
        "compare",
        "embed",
        "export",
        "grad_norms",
        "kmeans",
        "make_report",
        "open_data",
        "open_vectors",
        "plan",
        "recover",
        "rescore",
        "score",
        "select",
        "shard",
        "sparsify",
        "suspects",
        "train",
        "train_grid",
    }
    for name in datadiet.__all__:
        value = getattr(datadiet, name)
        assert callable(value) and not inspect.ismodule(value), name
        assert inspect.isfunction(value) if name in functions else inspect.isclass(value), name
        home = importlib.import_module(f"datadiet.{HOMES[name]}")
        assert value is getattr(home, name) and value.__module__.startswith("datadiet."), name
    for package in ("scorers", "selectors"):
        home = importlib.import_module(f"datadiet.{package}")
        methods = {spec.fn.__name__ for spec in (home.SCORERS if package == "scorers" else home.SELECTORS).values()}
        for name in methods & set(vars(home)):
            assert callable(getattr(home, name)) and not inspect.ismodule(getattr(home, name)), f"{package}.{name}"


def test_every_listed_name_exists_and_lists_agree():
    assert datadiet.__all__ == sorted(datadiet.__all__) and set(datadiet.__all__) == set(HOMES)
    assert set(datadiet.__all__) <= set(dir(datadiet))
    for module in MODULES:
        if not module.endswith("__main__"):
            found = importlib.import_module(module)
            for name in getattr(found, "__all__", ()):
                assert hasattr(found, name), f"{module}.{name}"
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = datadiet.nothing


def test_what_the_registries_name_is_exported_and_has_a_page():
    from datadiet.sampling import SCHEDULES
    from datadiet.scorers import SCORERS
    from datadiet.selectors import SELECTORS
    from datadiet.sparsity import CHANNELS, PRUNING

    docs = Path(__file__).parents[1] / "docs" / "methods"
    for registry in (SCORERS, SELECTORS, SCHEDULES, PRUNING, CHANNELS):
        for name, spec in registry.items():
            assert (docs / f"{name}.md").exists() or (docs / f"{spec.fn.__name__}.md").exists(), name
            assert inspect.getmodule(spec.fn).__doc__ and spec.reference, name


def test_no_module_is_named_like_one_of_python():
    named = {str(p.relative_to(ROOT)) for p in FILES if p.stem in sys.stdlib_module_names}
    named |= {
        str(p.relative_to(ROOT)) for p in FILES if p.name == "__init__.py" and p.parent.name in sys.stdlib_module_names
    }
    assert named - set(STDLIB_NAMES) == set()
    assert {name for name in STDLIB_NAMES if not (ROOT / name).exists()} == set()


def test_no_subpackage_is_named_like_a_public_function():
    folders = {p.name for p in ROOT.iterdir() if p.is_dir()} | {p.stem for p in ROOT.glob("*.py")}
    assert not folders & set(datadiet.__all__)


def code_lines(node, text):
    """The lines of a function that hold code: no docstring, no comment, no blank."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    first = body[0].lineno if body else node.end_lineno
    lines = [*range(node.lineno, node.body[0].lineno), *range(first, node.end_lineno + 1)]
    return sum(1 for i in sorted(set(lines)) if text[i - 1].strip() and not text[i - 1].strip().startswith("#"))


FUNCTIONS = [
    (path, node)
    for path in FILES
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
]


def test_no_file_is_longer_than_300_lines():
    long = {str(p.relative_to(ROOT)): n for p in FILES if (n := len(p.read_text(encoding="utf-8").splitlines())) > 300}
    assert long == {}


def test_no_function_is_longer_than_60_lines():
    text = {path: path.read_text(encoding="utf-8").splitlines() for path in FILES}
    long = {f"{p.relative_to(ROOT)}:{n.name}": c for p, n in FUNCTIONS if (c := code_lines(n, text[p])) > 60}
    assert long == {}


def test_code_lines_are_counted():
    source = 'def f(\n    a,\n):\n    """Text.\n\n    More.\n    """\n    # why\n    b = a\n\n    return b\n'
    assert code_lines(ast.parse(source).body[0], source.splitlines()) == 5


def public(node):
    return not node.name.startswith("_")


@pytest.mark.parametrize("module", MODULES)
def test_public_names_are_documented(module):
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{module} has no docstring"
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    named = [node for node in tree.body if isinstance(node, kinds) and public(node)]
    classes = {n.name: [m for m in n.body if isinstance(m, kinds)] for n in named if isinstance(n, ast.ClassDef)}
    protocols = {n.name for n in named if n.name in classes and "Protocol" in map(ast.unparse, n.bases)}
    promised = {method.name for name in protocols for method in classes[name]}  # what the protocol says once
    assert [node.name for node in named if not ast.get_docstring(node)] == []
    for name, methods in classes.items():
        bare = {m.name for m in methods if public(m) and not ast.get_docstring(m)}
        assert bare <= promised, f"{module}.{name}"


def test_only_the_command_line_prints():
    for path in FILES:
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        prints = [n for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "print"]
        assert not prints or path.relative_to(ROOT).parts[0] in MAY_PRINT, path


def test_nothing_draws_from_a_global_random_state():
    """Law 4. torch.manual_seed is called where fork_rng puts the state back."""
    seeded = {"datadiet.models.spec", "datadiet.training.loop"}
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            legacy = name.startswith(("np.random.", "random.")) and name.split(".")[-1] not in (
                "Generator",
                "PCG64",
                "SeedSequence",
            )
            assert not (legacy or name == "hash"), f"{module}: {name}"
            assert name != "torch.manual_seed" or module in seeded, module


def test_no_pickle():
    """Law 7: torch.load reads weights only, numpy reads no objects, pickle only passes between processes of a run."""
    for module, path in MODULES.items():
        for node in (n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)):
            name, options = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            assert not name.startswith("pickle.") or module == "datadiet.runtime.actor", module
            assert name != "torch.load" or options.get("weights_only") == "True", module
            assert name != "np.load" or options.get("allow_pickle") == "False", module


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "py.typed").exists()
