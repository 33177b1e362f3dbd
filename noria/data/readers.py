"""What a file holds, as documents one after another: text, rows, web pages, office files, wiki dumps, e-mail, web archives.

In: a path; its name says the kind and the compression. Out: `Document`s and, for what cannot be read (the file from some place on, or one row or
record of it), `Unread` with the reason. Files are streamed; what is read whole (a web page, a PDF, a text of up to 16 MB) has a limit. Longer texts
are cut into documents at blank lines. Not covered: archives of files (zip, tar), and source code.
"""

import bz2
import gzip
import io
import json
import lzma
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, cast

from noria.data.documents import Document, Item, Unread, whole_characters
from noria.data.mail import read_mail, read_mailbox
from noria.data.parse import HTML_SUFFIXES, INSTALL_CORPUS, MAX_FILE_BYTES, OTHER_SUFFIXES, TEXT_SUFFIXES, decode, encoding_of, is_broken
from noria.data.parser import Parser
from noria.data.web_archive import read_archive
from noria.data.wiki import read_dump
from noria.errors import DataError, DependencyError

ROW_SUFFIXES = (".jsonl", ".ndjson")
MAX_ROW_BYTES = 64 << 20
FRAME_BYTES = 32 << 10
"""Of a packed file, unpacked at once."""
MAX_KEPT_CHARACTERS = 10_000
"""Of a row that cannot be read, kept beside the reason."""


@dataclass
class Track:
    """How far a reader is: bytes of the files that are done, and of the one that is open."""

    num_finished_bytes: int = 0
    raw: IO[bytes] | None = None

    @property
    def num_bytes(self) -> int:
        return self.num_finished_bytes + (self.raw.tell() if self.raw is not None and not self.raw.closed else 0)


@dataclass(frozen=True, kw_only=True)
class TextLimits:
    """How long texts are cut."""

    max_whole_bytes: int = 16 << 20
    """A text file of up to so many bytes is one document."""
    piece_characters: int = 1 << 20
    """A longer one is cut at the first blank line after so many, at any line after four times as many."""


def read_documents(path: Path, parser: Parser, track: Track, limits: TextLimits | None = None) -> Iterator[Item]:
    """Everything in one file; nothing that is wrong with the file raises."""
    try:
        with open_stream(path, track) as stream:
            if suffix_of(path) in TEXT_SUFFIXES:
                yield from map(_clean, _text(path, stream, limits or TextLimits(), track))
            else:
                yield from map(_clean, READERS[suffix_of(path)](path, stream, parser))
    except DependencyError:
        raise
    except Exception as error:  # noqa: BLE001 - a library may raise anything on a broken file
        reason = str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {' '.join(str(error).split())!s:.200}"
        yield _clean(Unread(source=str(path), reason=reason))
    track.raw = None
    track.num_finished_bytes += path.stat().st_size if path.is_file() else 0


@contextmanager
def open_stream(path: Path, track: Track | None = None) -> Generator[IO[bytes]]:
    """The bytes of a file, decompressed as its name says."""
    with ExitStack() as stack:
        raw = stack.enter_context(path.open("rb"))
        if track is not None:
            track.raw = raw
        unpack = _COMPRESSIONS.get(path.suffix.lower())
        if unpack is None or path.name.lower().endswith(".warc.gz"):  # warcio itself reads what is compressed record by record
            yield raw
        else:
            yield stack.enter_context(unpack(raw))


def suffix_of(path: Path) -> str:
    """`.jsonl` for rows.jsonl.gz."""
    return (path.with_suffix("") if path.suffix.lower() in _COMPRESSIONS else path).suffix.lower()


def is_read(path: Path) -> bool:
    """Whether files of this name are read."""
    return suffix_of(path) in KINDS


def check_libraries(files: list[Path]) -> None:
    """Raises DependencyError for the first file whose library is not installed, before anything is read."""
    for path in files:
        needed = [_LIBRARIES[s] for s in (suffix_of(path), path.suffix.lower()) if s in _LIBRARIES]
        missing = next((name for name in needed if find_spec(name) is None), None)
        if missing is not None:
            raise DependencyError(f"Reading '{path}' needs {missing}. {INSTALL_CORPUS}")


def _clean(item: Item) -> Item:
    """What was read, in whole characters: a row may hold halves of them in any field, and the name of a file be none in UTF-8."""
    return replace(item, **{name: whole_characters(value) for name, value in vars(item).items() if value is not None})


def _zstandard(raw: IO[bytes]) -> IO[bytes]:
    return io.BufferedReader(_Frames(raw))


class _Frames(io.RawIOBase):
    """Frames of Zstandard behind one another. A cut one raises EOFError, as gzip does; the library's own reader takes it for the end."""

    def __init__(self, raw: IO[bytes]) -> None:
        from zstandard import ZstdDecompressor

        self._raw, self._begin = raw, ZstdDecompressor().decompressobj
        self._frame: Any = None
        self._packed = self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._ready:
            packed = self._packed or self._raw.read(FRAME_BYTES)
            if not packed:
                if self._frame is not None:
                    raise EOFError("the file ends before its last frame does")
                return 0
            self._frame = self._frame or self._begin()
            self._ready, self._packed = self._frame.decompress(packed), b""
            if self._frame.eof:
                self._packed, self._frame = self._frame.unused_data, None
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count


def _text(path: Path, stream: IO[bytes], limits: TextLimits, track: Track) -> Iterator[Item]:
    head = stream.read(limits.max_whole_bytes + 1)
    if len(head) <= limits.max_whole_bytes:
        text = decode(head).replace("\r\n", "\n").replace("\r", "\n")
        if not text.strip():
            raise DataError("It holds no text.")
        yield Document(text=text, id=str(path), source=str(path))
        return
    encoding = encoding_of(head[: 1 << 20], whole=False)
    del head
    with open_stream(path, track) as again, io.TextIOWrapper(cast(Any, again), encoding=encoding, errors="replace") as lines:
        for number, piece in enumerate(_pieces(lines, limits.piece_characters), 1):
            if is_broken(piece) and piece.count("\ufffd") > 1:  # the last piece may be short
                reason = f"It is not {encoding.removesuffix('-sig').upper()}, as what stands before it is. Save it as UTF-8."
                yield Unread(source=str(path), place=f"piece {number}", reason=reason, text=piece[:MAX_KEPT_CHARACTERS])
                continue
            yield Document(text=piece, id=f"{path}#{number}", source=str(path))


def _pieces(lines: IO[str], num_characters: int) -> Iterator[str]:
    piece: list[str] = []
    length = 0
    while line := lines.readline(num_characters):
        piece.append(line)
        length += len(line)
        if length >= num_characters and (not line.strip() or length >= 4 * num_characters):
            yield "".join(piece)
            piece, length = [], 0
    if "".join(piece).strip():
        yield "".join(piece)


def _rows(path: Path, stream: IO[bytes], _: Parser) -> Iterator[Item]:
    number = 0
    while line := stream.readline(MAX_ROW_BYTES + 1):
        number += 1
        place, kept = f"line {number}", line[:MAX_KEPT_CHARACTERS].decode("utf-8", "replace")
        if len(line) > MAX_ROW_BYTES:
            while line and not line.endswith(b"\n"):
                line = stream.readline(1 << 20)
            yield Unread(source=str(path), place=place, reason=f"It is longer than {MAX_ROW_BYTES:,} bytes.", text=kept)
            continue
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            yield Unread(source=str(path), place=place, reason=f"It is not JSON ({error!s:.100}).", text=kept)
            continue
        yield _row(path, row, number, "line")


def _row(path: Path, row: Any, number: int, unit: str) -> Item:
    text = cast(dict[str, Any], row).get("text") if isinstance(row, dict) else None
    if not isinstance(text, str) or not text.strip():
        kept = json.dumps(row, ensure_ascii=False, default=str)[:MAX_KEPT_CHARACTERS]
        return Unread(source=str(path), place=f"{unit} {number}", reason=f"`text` is {text!r:.40}; each row needs a text.", text=kept)
    named = {name: str(row[name]) for name in ("url", "license", "language") if row.get(name)}
    origin = str(row["source"]) if row.get("source") else None
    return Document(text=text, id=str(row.get("id") or f"{path}:{number}"), source=str(path), origin=origin, **named)


def _parquet(path: Path, stream: IO[bytes], _: Parser) -> Iterator[Item]:
    import pyarrow.parquet as parquet

    if path.suffix.lower() != ".parquet":
        raise DataError("Parquet is compressed inside already; it is not read compressed once more.")
    with parquet.ParquetFile(stream, pre_buffer=False, buffer_size=1 << 20) as file:  # else a whole row group is in memory at once
        columns = [name for name in ("text", "id", "source", "url", "license", "language") if name in file.schema_arrow.names]
        if "text" not in columns:
            raise DataError(f"It has no column `text`; its columns are: {', '.join(file.schema_arrow.names)[:200]}.")
        number = 0
        for batch in file.iter_batches(batch_size=64, columns=columns):
            for row in batch.to_pylist():
                number += 1
                yield _row(path, row, number, "row")


def _parsed(path: Path, stream: IO[bytes], parser: Parser) -> Iterator[Item]:
    name = path.with_suffix("") if path.suffix.lower() in _COMPRESSIONS else path
    document = parser.parse(name, stream.read(MAX_FILE_BYTES + 1), main_text=True)
    yield Document(text=document.text, id=str(path), source=str(path))


READERS: dict[str, Callable[[Path, IO[bytes], Parser], Iterator[Item]]] = {
    **dict.fromkeys(ROW_SUFFIXES, _rows),
    ".parquet": _parquet,
    **dict.fromkeys(sorted(HTML_SUFFIXES | OTHER_SUFFIXES), _parsed),
    ".xml": read_dump,
    ".eml": read_mail,
    ".mbox": read_mailbox,
    ".warc": read_archive,
}
KINDS = (*sorted(TEXT_SUFFIXES), *READERS)
_COMPRESSIONS: dict[str, Callable[[IO[bytes]], Any]] = {
    ".gz": lambda raw: gzip.GzipFile(fileobj=raw),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": _zstandard,
}
_LIBRARIES = {
    ".parquet": "pyarrow",
    ".zst": "zstandard",
    ".xml": "mwparserfromhell",
    ".warc": "warcio",
    **dict.fromkeys(HTML_SUFFIXES, "trafilatura"),
    **dict.fromkeys(OTHER_SUFFIXES, "markitdown"),
}
"""What some kinds need to be installed."""
