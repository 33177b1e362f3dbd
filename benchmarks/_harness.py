"""What all benchmarks share: rivals in virtual environments of their own, what the machine is, and the file with the figures.

    from _harness import rival_python, write_results

A benchmark is one script: `python benchmarks/NAME.py`. It measures Noria and its rivals side by side in one run, prints ratios, and writes
`benchmarks/results/NAME.json`, from which `docs/results.md` is made.
"""

import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VENVS_DIR = ROOT / "benchmarks" / ".venvs"
RESULTS_DIR = ROOT / "benchmarks" / "results"
NORIA = [sys.executable, "-m", "noria.cli.main"]
"""The command of this checkout."""


def noria(*arguments: str) -> dict[str, Any]:
    """What a command prints as JSON."""
    return json.loads(subprocess.run([*NORIA, *arguments, "--json"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout)


def rival_python(name: str, *requirements: str, options: tuple[str, ...] = ()) -> Path:
    """The Python of the virtual environment `benchmarks/.venvs/NAME` with `requirements` installed; made on first use.

    Args:
        options: further options of `pip install`, such as `--no-deps`.
    """
    folder = VENVS_DIR / name
    python = folder / "bin" / "python"
    mark = folder / ".installed"
    wanted = hashlib.sha256(" ".join((*options, *requirements)).encode()).hexdigest()
    if mark.is_file() and mark.read_text() == wanted:
        return python
    print(f"installing {', '.join(requirements)} into {folder.relative_to(ROOT)}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *options, *requirements], check=True)
    mark.write_text(wanted)
    return python


def machine() -> str:
    """One line: processor, cores, the vector instructions that matter, memory, Python."""
    model, flags = platform.processor() or platform.machine(), set[str]()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                model = value.strip()
            elif key.strip() == "flags":
                flags = set(value.split())
    isa = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16") if flag in flags]
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores ({', '.join(isa) or 'no vector flags'}), {memory_gb:.0f} GB, Python {platform.python_version()}"


def commit() -> str:
    """The commit measured, with `+` behind it if files differ from it."""
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    changed = subprocess.run(["git", "status", "--porcelain", "--", "noria"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    return f"{head}+" if changed else head


COMMIT = commit()
"""As the script began: what is committed while it runs is not what it measures."""


def write_results(name: str, figures: Mapping[str, float | int | str | bool | None], command: str | None = None) -> Path:
    """Write `benchmarks/results/NAME.json`; the command is the one that runs now, if none is given."""
    record = {
        "command": command or shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "commit": COMMIT,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "figures": dict(figures),
    }
    RESULTS_DIR.mkdir(parents=True, exist_ok=True)
    path = RESULTS_DIR / f"{name}.json"
    path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def earlier(path: Path, command_of: Callable[[Mapping[str, float]], str], at_commit: str) -> dict[str, float]:
    """The figures that an earlier part wrote to `path`: of the same commit and options, so that they belong to one table.

    A commit with changes on it (`+`) is not the same as another such one.

    Args:
        command_of: the one command that makes figures with the options of now, in however many parts they were made.
    """
    if not path.is_file() or at_commit.endswith("+"):
        return {}
    record = json.loads(path.read_text(encoding="utf-8"))
    same = record["commit"] == at_commit and record["command"] == command_of(record["figures"])
    if not same:
        print(f"{path.name} is of {record['commit']}, or of other options: what it holds will be replaced.", file=sys.stderr)
    return record["figures"] if same else {}


def peak_gigabytes() -> float:
    """The most memory that this process has held; `ru_maxrss` begins with what the parent held when it started this one."""
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")) / 2**20


def print_figures(figures: Mapping[str, float | int | str | bool | None]) -> None:
    """One figure a line."""
    for name, value in figures.items():
        print(f"{name:48} {value:.4g}" if isinstance(value, float) else f"{name:48} {value}")
