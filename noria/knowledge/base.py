"""The knowledge of a project: its documents in chunks, in full-text tables of the project's SQLite file.

    knowledge = KnowledgeBase(root / ".noria" / "noria.db")
    knowledge.add([root / "knowledge"])
    for passage in knowledge.search("When is breakfast?"): ...

`add` is incremental: a file is parsed again only when its content changed, a file that is gone vanishes from the index, and one that cannot be
read is set aside with the reason. Ranking is BM25 over words (English) and character bigrams (Chinese), titles counting more. Not covered here:
vectors, reranking.
"""

import hashlib
import sqlite3
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from noria.data.parser import Parser
from noria.errors import DataError, NoriaError, StoreError
from noria.knowledge.chunk import chunks
from noria.knowledge.words import query_words, words
from noria.schema import Passage

TITLE_WEIGHT = 1.5
"""How much more a word in the title or headings counts than one in the text; measured in benchmarks/retrieval.py."""
FORMAT = "1"
"""Part of each file's hash: raised when parsing, chunking or words change, so that everything is indexed anew."""
BATCH_FILES = 64

_SCHEMA = """
CREATE TABLE IF NOT EXISTS knowledge_roots (path TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS knowledge_documents (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, hash TEXT NOT NULL, title TEXT NOT NULL, reason TEXT);
CREATE TABLE IF NOT EXISTS knowledge_chunks (
    id INTEGER PRIMARY KEY, document_id INTEGER NOT NULL, position INTEGER NOT NULL, title TEXT NOT NULL, text TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS knowledge_chunks_document ON knowledge_chunks (document_id);
CREATE VIRTUAL TABLE IF NOT EXISTS knowledge_words USING fts5(title, body, tokenize = 'porter unicode61 remove_diacritics 2');
"""


@dataclass
class AddReport:
    """What `add` did, by document path."""

    added: list[str] = field(default_factory=list[str])
    updated: list[str] = field(default_factory=list[str])
    removed: list[str] = field(default_factory=list[str])
    failed: dict[str, str] = field(default_factory=dict[str, str])
    """Path to reason."""
    num_unchanged: int = 0


@dataclass
class CheckReport:
    """How the index stands to the files."""

    num_documents: int
    num_chunks: int
    unindexed: list[str] = field(default_factory=list[str])
    """New since the last `add`."""
    changed: list[str] = field(default_factory=list[str])
    gone: list[str] = field(default_factory=list[str])
    failed: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def is_current(self) -> bool:
        return not (self.unindexed or self.changed or self.gone)


class KnowledgeBase:
    """Documents of a project, searchable; implements `Retriever`. Threads share it."""

    def __init__(self, db_path: Path, root: Path | None = None) -> None:
        """
        Args:
            db_path: the SQLite file; its tables are made on first use.
            root: documents below it are known by their path from it; by default the project, two folders above the file.
        """
        self._db_path = Path(db_path)
        self._root = (root or self._db_path.resolve().parent.parent).resolve()
        self._idle: deque[sqlite3.Connection] = deque()
        with self._connection() as connection:
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'knowledge_words'").fetchone() is None:
                connection.executescript(_SCHEMA)  # a finished index may stand where nothing can be written

    def add(self, paths: Iterable[Path]) -> AddReport:
        """Bring the index in line with the files and folders at `paths`. Raises DataError for a path that never was."""
        report = AddReport()
        with Parser() as parser:
            for path in paths:
                self._add_root(Path(path).resolve(), report, parser)
        return report

    def search(self, query: str, num_results: int = 3) -> list[Passage]:
        """Best passages first; empty when nothing matches. Any text is a query: nothing in it is read as syntax."""
        telling = query_words(query)
        if not telling or num_results < 1:
            return []
        match = " OR ".join(f'"{word}"' for word in telling)  # words hold letters and digits only
        statement = (
            "SELECT c.id, d.path, c.title, c.text, -found.score FROM (SELECT rowid AS id, bm25(knowledge_words, ?, 1.0) AS score FROM knowledge_words"
            " WHERE knowledge_words MATCH ? ORDER BY score, rowid LIMIT ?) found"
            " JOIN knowledge_chunks c ON c.id = found.id JOIN knowledge_documents d ON d.id = c.document_id ORDER BY found.score, c.id"
        )
        with self._connection() as connection:
            rows = connection.execute(statement, (TITLE_WEIGHT, match, num_results)).fetchall()
        return [Passage(id=str(id_), document=path, title=title, text=text, score=score) for id_, path, title, text, score in rows]

    def check(self) -> CheckReport:
        """Compare the index with the files of all paths ever added."""
        with self._connection() as connection:
            known = {path: (digest, reason) for path, digest, reason in connection.execute("SELECT path, hash, reason FROM knowledge_documents")}
            num_chunks = connection.execute("SELECT count(*) FROM knowledge_chunks").fetchone()[0]
            roots = [path for (path,) in connection.execute("SELECT path FROM knowledge_roots")]
        report = CheckReport(num_documents=sum(reason is None for _, reason in known.values()), num_chunks=num_chunks)
        report.failed = {path: reason for path, (_, reason) in known.items() if reason is not None}
        files = {self._name(file): file for root in roots for file in _files(self._path(root))}
        report.unindexed = sorted(set(files) - set(known))
        report.gone = sorted(set(known) - set(files))
        report.changed = sorted(name for name in set(files) & set(known) if _digest(files[name])[0] != known[name][0])
        return report

    @property
    def hash(self) -> str:
        """Content address of all indexed documents: what a release freezes."""
        with self._connection() as connection:
            rows = connection.execute("SELECT path, hash FROM knowledge_documents WHERE reason IS NULL ORDER BY path").fetchall()
        return hashlib.sha256(repr(rows).encode()).hexdigest()

    def _add_root(self, root: Path, report: AddReport, parser: Parser) -> None:
        name = self._name(root)
        with self._connection() as connection:
            indexed = dict(connection.execute("SELECT path, hash FROM knowledge_documents"))
            below = {path for path in indexed if path == name or path.startswith(f"{name}/") or name == "."}
        if not root.exists() and not below:
            raise DataError(f"'{root}' does not exist. Name a file or folder with documents.")
        files = {self._name(file): file for file in _files(root)}
        batch: list[tuple[str, Path, str, bytes | str]] = []
        for file_name, file in files.items():
            digest, data = _digest(file)
            if indexed.get(file_name) == digest:
                report.num_unchanged += 1
                continue
            batch.append((file_name, file, digest, data))
            (report.updated if file_name in indexed else report.added).append(file_name)
            if len(batch) >= BATCH_FILES:
                self._write(batch, (), report, parser)
                batch.clear()
        gone = sorted(below - set(files))
        report.removed += gone
        self._write(batch, gone, report, parser)
        with self._connection() as connection, connection:
            if root.exists():
                connection.execute("INSERT OR IGNORE INTO knowledge_roots VALUES (?)", (name,))
            else:
                connection.execute("DELETE FROM knowledge_roots WHERE path = ?", (name,))

    def _write(self, batch: Sequence[tuple[str, Path, str, bytes | str]], gone: Sequence[str], report: AddReport, parser: Parser) -> None:
        """Parse first, then write all of the batch in one transaction."""
        parsed = [(name, digest, *_parsed(name, file, data, parser)) for name, file, digest, data in batch]
        with self._connection() as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            for name in [*gone, *(entry[0] for entry in parsed)]:
                _delete(connection, name)
            for name, digest, title, pieces, reason in parsed:
                _insert(connection, name, digest, title, pieces, reason)
                if reason is not None:
                    report.failed[name] = reason
        for name in report.failed:
            for names in (report.added, report.updated):
                if name in names:
                    names.remove(name)

    def _name(self, path: Path) -> str:
        """The path documents are known by: from the project, or whole when outside of it."""
        return path.relative_to(self._root).as_posix() if path.is_relative_to(self._root) else path.as_posix()

    def _path(self, name: str) -> Path:
        return self._root / name

    @contextmanager
    def _connection(self) -> Generator[sqlite3.Connection]:
        """A connection that nobody else uses meanwhile; what SQLite raises becomes a StoreError."""
        try:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connect()
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.rollback()
                self._idle.append(connection)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"The knowledge index in '{self._db_path}' cannot be used: {error}. Run `noria doctor`.") from error

    def _connect(self) -> sqlite3.Connection:
        self._db_path.parent.mkdir(parents=True, exist_ok=True)
        return sqlite3.connect(self._db_path, timeout=30, isolation_level=None, check_same_thread=False)

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            self._idle.pop().close()


def _files(root: Path) -> list[Path]:
    """All files at or below `root`, hidden ones left out, in a fixed order."""
    if root.is_file():
        return [root]
    found = (path for path in root.rglob("*") if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts))
    return sorted(found)


def _digest(file: Path) -> tuple[str, bytes | str]:
    """Hash of a file's content, and the content; of an unreadable file the reason as text."""
    try:
        data = file.read_bytes()
    except OSError as error:
        reason = f"It cannot be read: {error.strerror}."
        return hashlib.sha256(f"{FORMAT}!{reason}".encode()).hexdigest(), reason
    return hashlib.sha256(FORMAT.encode() + data).hexdigest(), data


def _parsed(name: str, file: Path, data: bytes | str, parser: Parser) -> tuple[str, list[tuple[str, str]], str | None]:
    """Title, chunks as (title, text), and why there are none."""
    if isinstance(data, str):
        return name, [], data
    try:
        document = parser.parse(file, data)
    except NoriaError as error:
        return name, [], str(error)
    pieces: list[tuple[str, str]] = []
    for chunk in chunks(document.text):
        headings = [heading for heading in chunk.headings if heading != document.title]
        pieces.append((" > ".join([document.title, *headings]), chunk.text))
    return document.title, pieces, None if pieces else "It holds headings only, no text."


def _delete(connection: sqlite3.Connection, name: str) -> None:
    ids = [
        i
        for (i,) in connection.execute(
            "SELECT c.id FROM knowledge_chunks c JOIN knowledge_documents d ON d.id = c.document_id WHERE d.path = ?", (name,)
        )
    ]
    for table, column in (("knowledge_words", "rowid"), ("knowledge_chunks", "id")):
        connection.executemany(f"DELETE FROM {table} WHERE {column} = ?", [(i,) for i in ids])  # noqa: S608  (names from the line above)
    connection.execute("DELETE FROM knowledge_documents WHERE path = ?", (name,))


def _insert(connection: sqlite3.Connection, name: str, digest: str, title: str, pieces: Sequence[tuple[str, str]], reason: str | None) -> None:
    row = (name, digest, title, reason)
    document_id = connection.execute("INSERT INTO knowledge_documents (path, hash, title, reason) VALUES (?, ?, ?, ?)", row).lastrowid
    for position, (heading, text) in enumerate(pieces):
        statement = "INSERT INTO knowledge_chunks (document_id, position, title, text) VALUES (?, ?, ?, ?)"
        chunk_id = connection.execute(statement, (document_id, position, heading, text)).lastrowid
        connection.execute(
            "INSERT INTO knowledge_words (rowid, title, body) VALUES (?, ?, ?)", (chunk_id, " ".join(words(heading)), " ".join(words(text)))
        )
