"""What stands in the way of running a project: weights, libraries, disk, memory, project files, database, artifacts, releases.

In: a project folder, or nothing (then only the machine is examined). Out: findings, each with what to do. Nothing is changed.
"""

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

import psutil

from noria.agent import AgentConfig, Toolbox
from noria.agent.config import load_prompt
from noria.config import FILE_NAME, Project, home_dir
from noria.engine import EngineConfig, readable_base
from noria.errors import NoriaError
from noria.evaluate.gate import GateConfig
from noria.evaluate.paired import smallest_suite
from noria.evaluate.suites import load_suite, suite_paths
from noria.lifecycle.environments import has_environment, load_environment
from noria.lifecycle.improve import RUN_FILE
from noria.lifecycle.releases import Records, verify_parts
from noria.lifecycle.sections import check_values
from noria.model import DEFAULT_BASE, ModelConfig, resolve
from noria.schema import Record
from noria.serve.freeze import TOOLS_FILE

MIN_DISK_GB, MIN_MEMORY_GB = 5, 4


class Finding(Record):
    """One thing that was looked at. `do` is the next action where there is one."""

    state: Literal["ok", "advice", "fault"]
    what: str
    found: str
    do: str = ""


def examine(folder: Path | None = None) -> list[Finding]:
    """Look at the machine, and at the project in `folder` or around the working directory if there is one. Raises ConfigError for a bad `folder`."""
    project: Project | None = None
    findings: list[Finding] = []
    try:
        project = Project.load(folder.resolve()) if folder is not None else Project.find()
    except NoriaError as error:
        if folder is not None or (Path.cwd() / FILE_NAME).exists():
            raise
        findings.append(Finding(state="advice", what="project", found="none here", do=str(error)))
    findings += _machine(project)
    if project is not None:
        findings += _project(project)
        findings += _records(project)
    return findings


def _machine(project: Project | None) -> Iterator[Finding]:
    cores, memory = os.cpu_count() or 1, psutil.virtual_memory()
    yield Finding(state="ok", what="processor", found=f"{cores} cores")
    free = memory.available / 2**30
    do = "" if free >= MIN_MEMORY_GB else f"Training the default model takes about {MIN_MEMORY_GB} GB; close other programs."
    yield Finding(state="advice" if do else "ok", what="memory", found=f"{free:.1f} of {memory.total / 2**30:.1f} GB free", do=do)
    place = project.root if project else Path.cwd()
    disk = shutil.disk_usage(place).free / 2**30
    do = "" if disk >= MIN_DISK_GB else f"An improvement writes a few GB; free some until {MIN_DISK_GB} GB are left."
    yield Finding(state="advice" if do else "ok", what="disk", found=f"{disk:.1f} GB free at '{place}'", do=do)
    yield Finding(state="ok", what="home", found=f"'{home_dir()}' (NORIA_HOME)")
    yield _library("openvino_genai", "serving")
    for name in ("torch", "transformers", "peft"):
        yield _library(name, "training", needed=False)

    def weights() -> str:
        name = project.section("model", ModelConfig).base if project else DEFAULT_BASE
        return f"{name} at '{(readable_base(project) if project else resolve(name)).path}'"

    yield _tried("weights", weights)


def _library(name: str, purpose: str, needed: bool = True) -> Finding:
    if importlib.util.find_spec(name) is not None:
        return Finding(state="ok", what=name, found=f"installed, for {purpose}")
    do = "Run `make install` in the clone of Noria."
    return Finding(state="fault" if needed else "advice", what=name, found=f"not installed; it is needed for {purpose}", do=do)


def _tried(what: str, look: Callable[[], str]) -> Finding:
    """What `look` found, or its error as a fault; the error says what to do."""
    try:
        return Finding(state="ok", what=what, found=look())
    except NoriaError as error:
        return Finding(state="fault", what=what, found=str(error))


def _project(project: Project) -> Iterator[Finding]:
    def sections() -> str:
        check_values(project)
        return "every section and field is known"

    yield _tried("noria.toml", sections)
    yield from _language(project)
    yield _tried("prompt", lambda: f"{len(load_prompt(project.root, project.section('agent', AgentConfig)))} characters")
    if (project.root / TOOLS_FILE).is_file():
        yield _tried("tools", lambda: f"{len(Toolbox.load(project.root / TOOLS_FILE).specs)} tools in `{TOOLS_FILE}`")
    else:
        yield Finding(state="advice", what="tools", found=f"no `{TOOLS_FILE}`", do="Without tools the agent can only talk.")
    if has_environment(project):
        yield _tried("environment", lambda: f"`{load_environment(project).name}`")
    try:
        config = project.section("gate", GateConfig)
    except NoriaError:  # told with noria.toml
        config = GateConfig()
    paths = suite_paths(project.root / "evals")
    for name in sorted(set(config.margins) - {path.stem for path in paths}):
        do = f"Correct the name in `[gate] margins`, or write `evals/{name}.jsonl`."
        yield Finding(state="fault", what="gate", found=f"a margin for {name!r}, which is no suite of `evals/`", do=do)
    for path in paths:
        yield _suite(path, config)
    if not paths:
        yield Finding(
            state="advice", what="evals", found="no protected suite", do="Put what must never get worse into `evals/NAME.jsonl`; the gate checks it."
        )


def _language(project: Project) -> Iterator[Finding]:
    try:
        own = project.section("engine", EngineConfig).kind != "remote"
        mute = own and project.about.language == "zh" and project.section("model", ModelConfig).base == DEFAULT_BASE
    except NoriaError:  # told with noria.toml
        return
    if mute:
        do = "Name weights that speak Chinese before the first release: `noria.toml` says how beside `[model] base`."
        yield Finding(state="advice", what="language", found=f"the project is Chinese, and `{DEFAULT_BASE}` speaks English only", do=do)


def _suite(path: Path, config: GateConfig) -> Finding:
    what = f"suite {path.stem}"
    found = _tried(what, lambda: f"{len(load_suite(path).items)} items")
    margin = config.margins.get(path.stem, config.margin)
    if (
        found.state == "ok"
        and (suite := load_suite(path)).kind == "pass"
        and len(suite.items) < (least := smallest_suite(margin, config.protected_alpha))
    ):
        do = f"With the margin {margin:g} it needs {least} items; add some, or widen `[gate.margins] {path.stem}`."
        return Finding(state="fault", what=what, found=f"{len(suite.items)} items are too few: the gate refuses every candidate", do=do)
    return found


def _records(project: Project) -> Iterator[Finding]:
    try:
        records = Records.open(project)
    except NoriaError as error:
        yield Finding(state="fault", what="database", found=str(error))
        return
    with records:

        def database() -> str:
            records.database.check()
            return unquote(records.database.url.render_as_string(hide_password=True))  # a path as one can copy it

        yield _tried("database", database)
        for release in records.releases.list():
            if release.state in ("live", "retired", "canary"):

                def parts(release: object = release) -> str:
                    verify_parts(records, release)  # type: ignore[arg-type]
                    return "every part is as it was written"

                yield _tried(f"release r{release.number} ({release.state})", parts)
        unfinished = project.state_dir / RUN_FILE
        if unfinished.is_file():
            yield Finding(state="advice", what="improve", found="one is unfinished", do="Run `noria improve` as before; it goes on where it was.")
