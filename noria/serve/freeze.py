"""The parts of a release that stand in the project folder, frozen as artifacts; and the first release of a project.

In: prompts with `[agent]`, tools and knowledge as they are now. Out: hashes for `Release.artifacts`. The same files give the same hashes and
are not copied twice. Tools are frozen as the model sees them (their schemas); their code stays the project's, so that a repaired function needs no
release.
"""

import json
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock

from noria.agent import AgentConfig, Toolbox
from noria.agent.config import load_prompt
from noria.config import Project
from noria.engine import EngineConfig, readable_base
from noria.knowledge import KnowledgeBase
from noria.model import ModelConfig
from noria.schema import Release
from noria.store import ArtifactStore, Releases, file_hash

log = logging.getLogger("noria.serve")
TOOLS_FILE = "tools.py"
KNOWLEDGE_DIR = "knowledge"
KNOWLEDGE_FILE = "knowledge.db"
SPECS_FILE = "tools.json"
AGENT_FILE = "agent.json"
WAIT_SECONDS = 120.0


def freeze(project: Project, store: ArtifactStore) -> dict[str, str]:
    """Artifacts of the project as its folder stands now, with the base model as engine. Raises ConfigError for a broken project."""
    return {
        "engine": project.section("model", ModelConfig).base,
        "prompts": _freeze_prompts(project, store),
        "tools": _freeze_tools(project, store),
        "knowledge": _freeze_knowledge(project, store),
    }


def first_release(project: Project, releases: Releases, store: ArtifactStore) -> Release:
    """The live release; where the project has none yet, r1 is made from its base model and goes live."""
    with FileLock(project.state_dir / "first-release.lock", timeout=WAIT_SECONDS):
        live = releases.live()
        if live is not None:
            return live
        never_live = releases.list()
        if not never_live and project.section("engine", EngineConfig).kind != "remote":
            readable_base(project)  # weights that are not there, or that the engine does not read, are told before r1 is made of them
        first = never_live[0] if never_live else releases.add(freeze(project, store), notes={"origin": "base model"})
        return releases.move(first.id, "live", "the first release of the project: its base model as it came")


def changed_parts(project: Project, store: ArtifactStore, release: Release) -> list[str]:
    """Parts of the project folder that are no longer as the release froze them; they go live with the next release."""
    now = freeze(project, store)
    return [part for part in ("prompts", "tools", "knowledge") if part in release.artifacts and release.artifacts[part] != now[part]]


def _freeze_prompts(project: Project, store: ArtifactStore) -> str:
    config = project.section("agent", AgentConfig)
    load_prompt(project.root, config)  # a release without its prompt could never be loaded
    files = _files(project.root, [project.root / "prompts", project.root / config.prompt])
    settings = config.model_dump(mode="json")

    def copy(folder: Path) -> dict[str, int]:
        for relative in files:
            target = folder / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(project.root / relative, target)
        (folder / AGENT_FILE).write_text(json.dumps(settings, indent=1), encoding="utf-8")
        return {"num_files": len(files)}

    return store.build("release", files, {"part": "prompts", "agent": settings}, 0, copy, WAIT_SECONDS).hash


def frozen_agent(project: Project, prompts: Path) -> AgentConfig:
    """`[agent]` as it stood when the release was made; of releases from before it was kept, as it stands now."""
    path = prompts / AGENT_FILE
    return AgentConfig.model_validate_json(path.read_bytes()) if path.is_file() else project.section("agent", AgentConfig)


def _freeze_tools(project: Project, store: ArtifactStore) -> str:
    path = project.root / TOOLS_FILE
    specs = [spec.model_dump() for spec in Toolbox.load(path).specs] if path.is_file() else []

    def write(folder: Path) -> dict[str, int]:
        (folder / SPECS_FILE).write_text(json.dumps(specs, ensure_ascii=False, indent=1), encoding="utf-8")
        return {"num_tools": len(specs)}

    return store.build("release", {}, {"part": "tools", "specs": specs}, 0, write, WAIT_SECONDS).hash


def _freeze_knowledge(project: Project, store: ArtifactStore) -> str:
    files = _files(project.root, [project.root / KNOWLEDGE_DIR])

    def index(folder: Path) -> dict[str, int]:
        path = folder / KNOWLEDGE_FILE
        path.unlink(missing_ok=True)
        knowledge = KnowledgeBase(path, project.root)
        try:
            failed = knowledge.add([project.root / KNOWLEDGE_DIR]).failed if files else {}
        finally:
            knowledge.close()
        for document, reason in failed.items():
            log.warning("'%s' is not in the knowledge index: %s", document, reason)
        return {"num_documents": len(files) - len(failed)}

    return store.build("index", files, {"part": "knowledge"}, 0, index, WAIT_SECONDS).hash


def _files(root: Path, places: Iterable[Path]) -> dict[str, str]:
    """Every file below the places, by its path from `root`, with its hash; hidden ones do not count."""
    found: dict[str, str] = {}
    for place in places:
        for path in [place] if place.is_file() else sorted(place.rglob("*")):
            relative = path.relative_to(root)
            if path.is_file() and not any(part.startswith(".") for part in relative.parts):
                found[relative.as_posix()] = file_hash(path)
    return found
