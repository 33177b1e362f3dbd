"""Web archives (WARC, ISO 28500): the main text of each page that was answered with HTML, and the texts of WET files.

In: an archive, compressed record by record or not. Out: one document a page, with its address. A record that cannot be read is `Unread`; where the
archive itself is broken, the rest of it is.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from noria.data.documents import Document, Item, Unread
from noria.data.parse import MAX_FILE_BYTES, codec_of, decode
from noria.data.parser import Parser
from noria.errors import DataError

MAX_HEADER_BYTES = 4 << 20
_PAGES = ("text/html", "application/xhtml+xml")


def read_archive(path: Path, stream: IO[bytes], parser: Parser) -> Iterator[Item]:
    """The pages of an archive, one after another."""
    from warcio.archiveiterator import ArchiveIterator

    number = 0
    archive: Any = ArchiveIterator(stream)
    headers = _Headers(archive.reader.readline)
    archive.reader.readline = headers.readline
    for record in archive:
        number += 1
        headers.begin()
        url = record.rec_headers.get_header("WARC-Target-URI")
        identity = record.rec_headers.get_header("WARC-Record-ID") or f"{path}:{number}"
        if (kind := _kind(record)) is None:
            continue
        if record.length is None or record.length > MAX_FILE_BYTES:  # one chunk of it may be as long, and warcio reads a chunk whole
            reason = f"It is longer than {MAX_FILE_BYTES:,} bytes, or does not say how long it is."
            yield Unread(source=str(path), place=f"record {number}", reason=reason, text=url or "")
            continue
        data = record.content_stream().read(MAX_FILE_BYTES + 1)
        try:
            text = decode(data) if kind == "text" else parser.parse(Path("page.html"), _as_utf8(data, record), main_text=True).text
        except DataError as error:
            yield Unread(source=str(path), place=f"record {number}", reason=str(error), text=url or "")
            continue
        if text.strip():
            yield Document(text=text, id=identity.strip("<>"), source=str(path), url=url)


class _Headers:
    """Reads the lines of headers for warcio, and refuses to go on where those of one record are too long for memory."""

    def __init__(self, readline: Callable[[int], bytes]) -> None:
        self._readline = readline
        self._num_bytes = 0

    def begin(self) -> None:
        self._num_bytes = 0

    def readline(self, length: int | None = None) -> bytes:
        line = self._readline(min(length or MAX_HEADER_BYTES, MAX_HEADER_BYTES))
        self._num_bytes += len(line)
        if self._num_bytes >= MAX_HEADER_BYTES:
            raise DataError(f"The headers of a record of it are longer than {MAX_HEADER_BYTES:,} bytes.")
        return line


def _kind(record: Any) -> str | None:
    """`page`, `text` (of a WET file), or None for what is neither."""
    if record.rec_type == "conversion":
        return "text"
    if record.rec_type != "response" or record.http_headers is None or not record.http_headers.get_statuscode().startswith("2"):
        return None
    found = (record.http_headers.get_header("Content-Type") or "").split(";")[0].strip().lower()
    return "page" if found in _PAGES else None


def _as_utf8(data: bytes, record: Any) -> bytes:
    """The page in UTF-8 where its header names another encoding that it really has."""
    header = (record.http_headers.get_header("Content-Type") or "").lower()
    charset = header.partition("charset=")[2].split(";")[0].strip(" \"'")
    if charset in ("", "utf-8", "utf8"):
        return data
    try:
        return data.decode(codec_of(charset)).encode("utf-8", "replace")
    except (LookupError, UnicodeDecodeError):
        return data
