"""Make `.venv` from a bare Python and install what is locked; run by `make install` (demo) and `make install-dev` (demo and test).

Comes in: requirements/*.txt and pyproject.toml. Goes out: `.venv` with the project installed in place, and a stamp `.venv/.installed-SET` that
holds the hash of what was installed, so that a second run does nothing. Uses the standard library only. It does not choose versions: `lock.py` does.

    python3 requirements/install.py demo|dev
"""

import hashlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
ALONE = ROOT / "requirements" / "no-deps.txt"
OLDEST = (3, 11)
SETS = {"demo": ["demo.txt"], "dev": ["demo.txt", "dev.txt"]}


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1] not in SETS:
        return refuse(f"Usage: python3 requirements/install.py {'|'.join(SETS)}", 2)
    if sys.version_info < OLDEST:
        return refuse(f"Python {sys.version.split()[0]} is too old: 3.11 or newer is needed. Name one with `make install PYTHON=python3.12`.", 2)
    wanted = sys.argv[1]
    stamp, digest = VENV / f".installed-{wanted}", fingerprint(wanted)
    if stamp.exists() and stamp.read_text() == digest and PYTHON.exists():
        return 0
    started = time.monotonic()
    if not PYTHON.exists() and not make_venv():
        return 1
    locked = [ROOT / "requirements" / name for name in SETS[wanted]]
    steps = [
        ("libraries", [f"--requirement={path}" for path in locked], sum(count(path) for path in locked)),
        ("default weights and what comes without its dependencies", ["--no-deps", f"--requirement={ALONE}"], count(ALONE)),
        ("noria", ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)], 1),
    ]
    for what, arguments, num_packages in steps:
        if not install(what, arguments, num_packages):
            return 1
    stamp.write_text(digest)
    print(f"Installed into .venv in {time.monotonic() - started:.0f} s.", file=sys.stderr)
    return 0


def fingerprint(wanted: str) -> str:
    """Hash of everything that decides what is installed, the interpreter included."""
    names = [ROOT / "requirements" / name for name in (*SETS[wanted], ALONE.name, "install.py")]
    content = b"".join(path.read_bytes() for path in (*names, ROOT / "pyproject.toml"))
    return hashlib.sha256(content + sys.version.encode() + str(VENV).encode()).hexdigest()


def make_venv() -> bool:
    print("Making .venv ...", file=sys.stderr)
    done = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True, check=False)
    if done.returncode:
        refuse(f"{done.stdout}{done.stderr}\n`{sys.executable} -m venv` failed. On Debian and Ubuntu run `apt-get install python3-venv` first.")
    return done.returncode == 0


def count(path: Path) -> int:
    return sum(1 for line in path.read_text().splitlines() if "==" in line and not line.startswith("#"))


def install(what: str, arguments: list[str], num_packages: int) -> bool:
    """Run pip, showing one line of progress; its full output is printed only if it fails."""
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", *arguments]
    output: list[str] = []
    num_seen = 0
    done = threading.Event()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            output.append(line)
            if line.startswith(("Collecting ", "Requirement already satisfied: ")):
                num_seen += 1
                show(f"{what}: found {min(num_seen, num_packages)} of {num_packages}")
            elif line.startswith("Installing collected packages"):
                threading.Thread(target=watch, args=(what, num_packages, done), daemon=True).start()
    done.set()
    print(f"\r\033[K{what}: done" if sys.stderr.isatty() else f"{what}: done", file=sys.stderr)
    if pip.returncode:
        refuse("".join(output[-40:]) + f"\npip could not install the {what} (above: its last lines). Check the package index, then run this again.")
    return pip.returncode == 0


def refuse(message: str, status: int = 1) -> int:
    print(message, file=sys.stderr)
    return status


def watch(what: str, num_packages: int, done: threading.Event) -> None:
    """pip is silent while it unpacks: count what has arrived."""
    before = sum(1 for _ in VENV.glob("lib/python*/site-packages/*.dist-info"))
    while not done.wait(0.5):
        arrived = sum(1 for _ in VENV.glob("lib/python*/site-packages/*.dist-info")) - before
        show(f"{what}: installed {min(max(arrived, 0), num_packages)} of {num_packages}")


def show(text: str) -> None:
    """One line that renews itself; a log file gets only the line that says a part is done."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
