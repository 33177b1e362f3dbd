"""What a result was made with: versions of the libraries that matter and the machine, read without importing any of them."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from noria import __version__

_PACKAGES = ("torch", "transformers", "peft", "openvino", "openvino-genai", "numpy")


def versions() -> dict[str, str]:
    """Noria, Python and the installed libraries that a number may depend on."""
    found = {"noria": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """`cpus` this process may use, `machine`, `system` and `memory_bytes` (None where the system does not tell)."""
    affinity = getattr(os, "sched_getaffinity", None)
    try:
        memory: int | None = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        memory = None
    cpus = len(affinity(0)) if affinity is not None else os.cpu_count()
    return {"cpus": cpus, "machine": platform.machine(), "system": platform.system(), "memory_bytes": memory}
