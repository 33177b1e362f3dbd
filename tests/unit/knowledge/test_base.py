"""The index in a real SQLite file: incremental, honest about files it cannot read, deaf to hostile queries."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from noria.errors import DataError, StoreError
from noria.knowledge import KnowledgeBase
from noria.schema import Retriever

PAGES = {
    "en/breakfast.md": "# Breakfast\n\nBreakfast is served from 7 to 10 in the garden room.\n\n## Sundays\n\nOn Sundays until 11.",
    "en/wifi.md": "# Wireless network\n\nThe WiFi is called Guest. The password hangs in your room.",
    "zh/早餐.md": "# 早餐\n\n早餐时间是早上七点到十点，在花园厅。",
    "zh/停车.md": "# 停车\n\n酒店后面有免费停车场，限高两米。",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in PAGES.items():
        path = tmp_path / "knowledge" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def knowledge(project: Path) -> Iterator[KnowledgeBase]:
    made = KnowledgeBase(project / ".noria" / "noria.db")
    made.add([project / "knowledge"])
    yield made
    made.close()


@pytest.mark.parametrize(
    ("query", "document"),
    [
        ("When is breakfast?", "knowledge/en/breakfast.md"),
        ("wifi passwords", "knowledge/en/wifi.md"),
        ("早餐是几点？", "knowledge/zh/早餐.md"),
        ("可以停车吗", "knowledge/zh/停车.md"),
        ("WiFi密码 password", "knowledge/en/wifi.md"),
    ],
)
def test_the_right_page_comes_first(knowledge: KnowledgeBase, query: str, document: str) -> None:
    retriever: Retriever = knowledge
    assert retriever.search(query)[0].document == document


def test_passages_can_be_cited(knowledge: KnowledgeBase) -> None:
    passage = knowledge.search("Sundays")[0]
    assert (passage.document, passage.title, passage.text) == ("knowledge/en/breakfast.md", "Breakfast > Sundays", "On Sundays until 11.")
    assert [p.score for p in knowledge.search("breakfast room")] == sorted((p.score for p in knowledge.search("breakfast room")), reverse=True)
    assert len(knowledge.search("breakfast room", num_results=1)) == 1


HOSTILE = [
    *("", " ", '"', "'", "*", "a AND", "NEAR(", "title:x", "x OR OR y", "-", "^breakfast", "🙂🙂", "\x00", "\ud800"),
    *("'; DROP TABLE knowledge_chunks; --", "(" * 500, "x" * 100_000, "早" * 5000),
]


@pytest.mark.parametrize("query", HOSTILE)
def test_no_query_raises(knowledge: KnowledgeBase, query: str) -> None:
    knowledge.search(query)
    assert knowledge.search("breakfast")


def test_add_reads_only_what_changed(project: Path, knowledge: KnowledgeBase) -> None:
    folder = project / "knowledge"
    assert knowledge.add([folder]).num_unchanged == 4
    before = knowledge.hash
    (folder / "en/wifi.md").write_text("# Wireless network\n\nThe WiFi is called Lobby now.")
    (folder / "zh/停车.md").unlink()
    (folder / "en/pool.md").write_text("The pool opens at nine.")
    check = knowledge.check()
    assert (check.changed, check.gone, check.unindexed) == (["knowledge/en/wifi.md"], ["knowledge/zh/停车.md"], ["knowledge/en/pool.md"])
    assert not check.is_current
    report = knowledge.add([folder])
    assert (report.added, report.updated, report.removed, report.num_unchanged) == (check.unindexed, check.changed, check.gone, 2)
    assert knowledge.check().is_current
    assert knowledge.hash != before
    assert "Lobby" in knowledge.search("wifi")[0].text
    assert knowledge.search("停车") == []
    assert knowledge.search("pool")[0].title == "pool"


def test_files_that_cannot_be_read_are_set_aside_with_a_reason(project: Path, knowledge: KnowledgeBase) -> None:
    folder = project / "knowledge"
    (folder / "broken.md").write_bytes(b"abc\xff\xfe\x00")
    (folder / "empty.txt").write_text("")
    (folder / "photo.png").write_bytes(b"\x89PNG")
    (folder / ".hidden.md").write_text("secret")
    report = knowledge.add([folder])
    assert set(report.failed) == {"knowledge/broken.md", "knowledge/empty.txt", "knowledge/photo.png"}
    assert report.added == []
    assert knowledge.check().failed == report.failed
    assert (knowledge.check().num_documents, knowledge.search("secret")) == (4, [])
    (folder / "broken.md").write_text("Now it can be read: umbrellas.")
    assert knowledge.add([folder]).updated == ["knowledge/broken.md"]
    assert knowledge.search("umbrella")[0].document == "knowledge/broken.md"


def test_single_files_and_folders_that_vanish(project: Path, knowledge: KnowledgeBase) -> None:
    extra = project.parent / f"{project.name}-extra.txt"
    extra.write_text("The gym is open all night.")
    assert knowledge.add([extra]).added == [extra.as_posix()]
    extra.unlink()
    assert knowledge.add([extra]).removed == [extra.as_posix()]
    with pytest.raises(DataError, match="does not exist"):
        knowledge.add([extra])
    assert knowledge.check().is_current


def test_a_second_process_sees_the_same_index(project: Path, knowledge: KnowledgeBase) -> None:
    with closing(KnowledgeBase(project / ".noria" / "noria.db")) as other:
        assert other.search("breakfast") == knowledge.search("breakfast")


def test_threads_share_it(knowledge: KnowledgeBase) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(knowledge.search("wifi")[0].document)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["knowledge/en/wifi.md"] * 8


def test_a_corrupt_file_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "noria.db").write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match="cannot be used: file is not a database"):
        KnowledgeBase(tmp_path / "noria.db")


def test_it_shares_the_file_with_the_projects_tables(project: Path, knowledge: KnowledgeBase) -> None:
    with closing(sqlite3.connect(project / ".noria" / "noria.db")) as other:
        other.execute("CREATE TABLE mine (x)")
    assert knowledge.search("breakfast")
