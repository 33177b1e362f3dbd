"""The docs say what is so: generated parts are current, commands, flags, files and variables exist, Python blocks run."""

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
READMES = [ROOT / "README.md", ROOT / "README.zh.md"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)|<img[^>]*src=\"([^\"]+)\"")


def blocks(page: Path, *languages: str) -> Iterator[str]:
    return (match[2] for match in FENCE.finditer(page.read_text(encoding="utf-8")) if match[1] in languages)


def shell_lines(page: Path) -> Iterator[list[str]]:
    """The words of each command in the page's shell blocks, comments off, continued lines joined."""
    for block in blocks(page, "bash", "sh", "console", ""):
        for line in block.replace("\\\n", " ").splitlines():
            command = line.removeprefix("$ ").strip()
            if re.match(r"^([A-Z_]+=\S+\s+)*(make|noria|\.venv/bin/noria)\b", command):
                words = shlex.split(command, comments=True)
                yield words[next(i for i, word in enumerate(words) if "=" not in word or not word.split("=")[0].isupper()) :]


def test_generated_parts_are_current() -> None:
    result = subprocess.run([sys.executable, ROOT / "docs/build.py", "--check"], capture_output=True, text=True, timeout=280)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = [target for match in LINK.finditer(page.read_text(encoding="utf-8")) if (target := match[1] or match[2]) and "://" not in target]
    assert not [target for target in targets if not (page.parent / target).exists()]


def test_the_map_names_every_folder_and_only_what_exists() -> None:
    text = (ROOT / "AGENTS.md").read_text(encoding="utf-8")
    named = {path.rstrip("/") for path in re.findall(r"`((?:noria|tests|docs|benchmarks)/[\w./-]*)`", text) if not re.search(r"[A-Z]{4}", path)}
    assert not [path for path in named if not (ROOT / path).exists()]
    assert {f"noria/{p.name}" for p in (ROOT / "noria").iterdir() if p.is_dir() and p.name != "__pycache__"} <= named


@pytest.mark.parametrize("page", READMES, ids=lambda p: p.name)
def test_readme_fits_a_look(page: Path) -> None:
    assert len(page.read_text(encoding="utf-8").splitlines()) <= 150


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {word for page in PAGES for words in shell_lines(page) if words[0] == "make" for word in words[1:] if "=" not in word and word[0] != "-"}
    assert named <= targets, named - targets


def test_commands_and_flags_exist() -> None:
    main = pytest.importorskip("noria.cli.main", reason="the command line is not there yet")
    import typer

    root = typer.main.get_command(main.app)
    wrong = []
    for page in PAGES:
        for words in shell_lines(page):
            if words[0] == "make":
                continue
            command, rest = root, words[1:]
            while rest and rest[0] in getattr(command, "commands", {}):
                command, rest = command.commands[rest[0]], rest[1:]
            flags = {option for c in (root, command) for p in c.params for option in (*p.opts, *p.secondary_opts)} | {"--help"}
            unknown = [word.split("=")[0] for word in rest if word.startswith("--") and word.split("=")[0] not in flags]
            if unknown or (getattr(command, "commands", {}) and rest and not rest[0].startswith("-")):
                wrong.append(f"{page.relative_to(ROOT)}: `{' '.join(words)}`: {unknown or rest[0]} is unknown")
    assert not wrong, "\n".join(wrong)


def test_every_route_is_described() -> None:
    page = (ROOT / "docs/http.md").read_text(encoding="utf-8")
    table = {match[1] for match in re.finditer(r"^\| (?:GET|POST) \| `([^`]+)`", page, re.MULTILINE)}
    prose = re.sub(r"^\|.*$", "", page, flags=re.MULTILINE)
    described = {path for path in table if path in prose or path.split("/{")[0] in prose}
    assert table
    assert table - described == set(), "say in docs/http.md what these do"


def test_docs_named_in_the_code_exist() -> None:
    folders = [(ROOT / "noria").rglob("*"), (ROOT / "tests").rglob("*"), (ROOT / "benchmarks").glob("*")]
    sources = [p for folder in folders for p in folder if p.suffix in (".py", ".toml", ".md", ".js", ".html")]
    named = {(name, path) for path in sources for name in re.findall(r"(?<![\w/])docs/[\w/-]+\.(?:md|py)\b", path.read_text(encoding="utf-8"))}
    assert not [f"{path.relative_to(ROOT)}: {name}" for name, path in named if not (ROOT / name).exists()]


def test_every_environment_variable_is_on_its_page() -> None:
    page = (ROOT / "docs/environment-variables.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `([A-Z_]+)`", page, re.MULTILINE))
    read = set()
    for path in (ROOT / "noria").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"NORIA_[A-Z_]+", node.value):
                read.add(node.value)
    assert read <= documented, f"not documented: {read - documented}"
    assert documented - read <= {"NORIA_DEMO_FLAGS"}, f"documented, but not read anywhere: {documented - read}"


@pytest.mark.parametrize("page", [p for p in PAGES if any(blocks(p, "python"))], ids=lambda p: str(p.relative_to(ROOT)))
def test_python_blocks_run(page: Path) -> None:
    """The blocks of a page run in order, in one namespace and an empty folder, as a reader would paste them."""
    namespace: dict[str, object] = {"__name__": "__docs__"}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), namespace)
