"""doctor: what is installed, what is missing for what, and what the machine offers; nothing about its user.

Of the environment it only tells whether RAY_ADDRESS is set, and of paths no folders.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from datadiet.errors import counted, named
from datadiet.version import __version__
from datadiet.workflow.diagnosing.libraries import (
    CORE,
    EXTRAS,
    import_problems,
    is_installed,
    version_of,
    without_paths,
)

__all__ = ["as_text", "diagnose"]

_GIB = 1 << 30
_IN_AN_ISSUE = ("torch", "numpy", "pandas", "pyarrow", "datasets")  # besides what is broken
_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container


def diagnose() -> dict[str, Any]:
    """All that `datadiet doctor` tells, as JSON values. A broken library is reported and stops nothing."""
    optional = {library: module for extra in EXTRAS.values() for library, module in extra.modules.items()}
    there = {lib: module for lib, module in {**CORE, **optional}.items() if is_installed(lib, module)}
    problems = import_problems(there.values())
    libraries = {
        library: {"version": version_of(library), "problem": problems[module]} for library, module in there.items()
    }
    extras = {
        name: {"for": extra.purpose, "missing": [lib for lib in extra.modules if lib not in there]}
        for name, extra in EXTRAS.items()
    }
    return {
        "datadiet": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "libraries": libraries,
        "missing": [library for library in CORE if library not in there],
        "extras": extras,
        **_torch(usable="torch" in there and not problems["torch"]),
        "cores": {"there": os.cpu_count(), "usable": _usable_cores()},
        "memory": _memory(),
        "ray": {"version": version_of("ray"), "address_set": "RAY_ADDRESS" in os.environ},
        "disk_free": _disk_free(),
        "terminal": sys.stdout.isatty(),
    }


def _torch(usable: bool) -> dict[str, Any]:
    """The accelerators, and what torch is built for; nothing without torch."""
    if not usable:
        return {"devices": [], "torch": None, "device_problem": "torch cannot be imported"}
    import torch

    devices, problem = [], ""
    with warnings.catch_warnings(record=True) as told:  # such as a driver that is too old
        warnings.simplefilter("always")
        try:
            for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
                about = torch.cuda.get_device_properties(number)
                devices.append({"device": f"cuda:{number}", "name": about.name, "memory": about.total_memory})
        except (RuntimeError, AssertionError, OSError) as error:
            problem = without_paths(named(error))
    if torch.backends.mps.is_available():
        devices.append({"device": "mps", "name": platform.processor(), "memory": None})
    problem = problem or (without_paths(str(told[0].message)) if told else "")
    about_torch = {"cuda": torch.version.cuda, "threads": torch.get_num_threads()}
    return {"devices": devices, "torch": about_torch, "device_problem": problem}


def _usable_cores() -> int | None:
    """Those that this process may run on; None where the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def _disk_free() -> int | None:
    """Bytes, in the current folder; None if it is gone or may not be looked at."""
    try:
        return shutil.disk_usage(os.curdir).free
    except OSError:
        return None


def _memory() -> dict[str, int | None]:
    """Bytes of memory, and of those that are available; None where the system does not say."""
    found: dict[str, int | None] = {"total": None, "available": None, "limit": None}
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        sizes = {line.partition(":")[0]: int(line.split()[1]) << 10 for line in lines if line.endswith("kB")}
        found |= {"total": sizes.get("MemTotal"), "available": sizes.get("MemAvailable")}
    except (OSError, ValueError):
        if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
            found["total"] = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):  # no container, or "max"
        found["limit"] = int(_LIMIT.read_text(encoding="ascii"))
    return found


def as_text(found: Mapping[str, Any]) -> str:
    """What `diagnose` found for a terminal, with a paragraph to paste into an issue at the end."""
    libraries, extras = found["libraries"], found["extras"]
    width = max(map(len, [*libraries, *extras])) + 2
    lines = ["libraries:"]
    for library, about in libraries.items():
        broken = f"  cannot be imported ({about['problem']})" if about["problem"] else ""
        lines.append(f"  {library:<{width}}{about['version'] or 'version unknown'}{broken}")
    lines += [f"  {library:<{width}}is missing, and datadiet needs it" for library in found["missing"]]
    absent = {name: about for name, about in extras.items() if about["missing"]}
    lines.append("extras that are not installed:" if absent else "all extras are installed")
    for name, about in absent.items():
        lines.append(
            f"  {name:<{width}}for {about['for']} ({', '.join(about['missing'])}): pip install 'datadiet[{name}]'"
        )
    lines += ["machine:", *(f"  {line}" for line in _machine(found))]
    return "\n".join([*lines, "", "To paste into an issue:", "", _paragraph(found)])


def _machine(found: Mapping[str, Any]) -> list[str]:
    """What it offers, a line for each kind of thing."""
    cores, memory, ray = found["cores"], found["memory"], found["ray"]
    devices = ", ".join(f"{d['device']} {d['name']}{_size(d['memory'], ' with ')}" for d in found["devices"])
    trouble = f" ({found['device_problem']})" if found["device_problem"] else ""
    threads = f", {counted(found['torch']['threads'], 'thread')} of torch" if found["torch"] else ""
    usable = "" if cores["usable"] is None else f", {cores['usable']} usable"
    address = "set" if ray["address_set"] else "not set"
    return [
        f"accelerators: {devices or 'none'}{trouble}",
        f"processor: {counted(cores['there'] or 1, 'core')}{usable}{threads}",
        f"memory:{_size(memory['total'], ' ')}{_size(memory['available'], ', available ')}"
        f"{_size(memory['limit'], ', limited to ')}",
        f"Ray: {ray['version'] or 'not installed'}, RAY_ADDRESS is {address}",
        f"disk:{_size(found['disk_free'], ' ') or ' an unknown part'} is free in this folder",
        f"output: {'a terminal' if found['terminal'] else 'not a terminal'}",
    ]


def _size(value: int | None, before: str) -> str:
    return "" if value is None else f"{before}{value / _GIB:.1f} GiB"


def _paragraph(found: Mapping[str, Any]) -> str:
    libraries = found["libraries"]
    build = f" (CUDA {found['torch']['cuda']})" if found["torch"] and found["torch"]["cuda"] else ""
    known = {name: libraries[name]["version"] for name in _IN_AN_ISSUE if name in libraries}
    versions = [f"{name} {version}{build if name == 'torch' else ''}" for name, version in known.items()]
    broken = [
        f"{name} {about['version'] or '(version unknown)'}: {about['problem']}"
        for name, about in libraries.items()
        if about["problem"]
    ]
    optional = [name for name, extra in found["extras"].items() if not extra["missing"]]
    parts = [
        f"datadiet {found['datadiet']}, Python {found['python']}, {found['system']}",
        ", ".join(versions),
        *([f"missing: {', '.join(found['missing'])}"] if found["missing"] else []),
        f"extras: {', '.join(optional) or 'none'}",
        *([f"cannot be imported: {'; '.join(broken)}"] if broken else []),
        *_machine(found),
    ]
    return ". ".join(parts) + "."
