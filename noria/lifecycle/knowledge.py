"""Documents of a project: what `noria knowledge` does.

In: paths, or a query. Documents live in the project's `knowledge/`; the index over them is an artifact that is made anew when they change, and a
release keeps the one it was made with.
"""

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

from noria.config import Project
from noria.errors import DataError
from noria.knowledge import KnowledgeBase
from noria.lifecycle.releases import Records
from noria.schema import Passage
from noria.serve.freeze import KNOWLEDGE_DIR, KNOWLEDGE_FILE, freeze


def add_documents(project: Project, paths: list[Path]) -> dict[str, Any]:
    """Copy documents and folders into `knowledge/` and index them. Raises DataError for a path that is not there, before anything is copied."""
    sources = [path.expanduser().resolve() for path in paths]
    target = project.root / KNOWLEDGE_DIR
    for source in sources:
        if not source.exists():
            raise DataError(f"'{source}' does not exist. Name documents or folders of documents.")
        if target == source or target in source.parents:
            continue
        if source in target.parents:
            raise DataError(f"'{source}' holds the project itself. Name the documents, or a folder of them outside the project.")
    for source in sources:
        if target != source and target not in source.parents:
            target.mkdir(exist_ok=True)
            shutil.copytree(source, target / source.name, dirs_exist_ok=True) if source.is_dir() else shutil.copy2(source, target / source.name)
    with Records.open(project) as records, closing(_index(records)) as knowledge:
        report = knowledge.check()
    return {"documents": report.num_documents, "passages": report.num_chunks, "failed": report.failed}


def search_documents(project: Project, text: str, num_results: int) -> list[Passage]:
    """Best passages of the documents as they are now."""
    with Records.open(project) as records, closing(_index(records)) as knowledge:
        return knowledge.search(text, num_results)


def check_documents(project: Project) -> list[str]:
    """One sentence for each document that cannot be used."""
    with Records.open(project) as records, closing(_index(records)) as knowledge:
        return [f"'{path}': {reason}" for path, reason in sorted(knowledge.check().failed.items())]


def _index(records: Records) -> KnowledgeBase:
    parts = freeze(records.project, records.artifacts)
    return KnowledgeBase(records.artifacts.get(parts["knowledge"]).path / KNOWLEDGE_FILE)
