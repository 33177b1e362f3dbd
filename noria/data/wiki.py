"""MediaWiki XML dumps: the articles as documents, page by page, whatever the size of the dump.

In: the export format of MediaWiki (`pages-articles`), of any version. Out: one document a page of the article namespace; redirects are no pages of
their own. Wiki markup is parsed in a process of its own (`Parser`), for some pages take minutes. Not covered: the expansion of templates, and dumps
that hold more than 64 MB a page, as those with every revision do.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import quote
from xml.etree import ElementTree as ET

from noria.data.documents import Document, Item, Unread
from noria.data.parse import WIKI_SUFFIX
from noria.data.parser import Parser
from noria.errors import DataError

ARTICLES = "0"
"""The namespace of articles."""
MAX_PAGE_BYTES = 64 << 20


def read_dump(path: Path, stream: IO[bytes], parser: Parser) -> Iterator[Item]:
    """Raises DataError where the file is no dump, or a page too long; a page that cannot be parsed is `Unread`."""
    bounded = _Bounded(stream)
    events = ET.iterparse(bounded, events=("start", "end"))
    _, root = next(events)
    if _name(root) != "mediawiki":
        raise DataError(f"It is no MediaWiki dump: its XML begins with <{_name(root)}>.")
    base, depth = "", 1
    for event, element in events:
        depth += 1 if event == "start" else -1
        if event == "start":
            continue
        if _name(element) == "base":
            base = (element.text or "").rpartition("/")[0]
        elif _name(element) == "page":
            yield from _page(path, element, base, parser)
        if depth == 1:
            root.clear()  # the tree would grow with every page, and with what else there is
            bounded.begin()


class _Bounded:
    """A stream that refuses to go on when one element of a dump takes too much of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._num_bytes = 0

    def begin(self) -> None:
        self._num_bytes = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self._num_bytes += len(data)
        if self._num_bytes > MAX_PAGE_BYTES:
            raise DataError(f"A page of it is longer than {MAX_PAGE_BYTES:,} bytes.")
        return data


def _page(path: Path, page: ET.Element, base: str, parser: Parser) -> Iterator[Item]:
    fields = {_name(child): child for child in page}
    title, revision = _text(fields.get("title")), fields.get("revision")
    if _text(fields.get("ns")) not in ("", ARTICLES) or "redirect" in fields or revision is None:
        return
    markup = _text(next((child for child in revision if _name(child) == "text"), None))
    if not markup.strip():
        return
    try:
        text = parser.parse(Path(f"page{WIKI_SUFFIX}"), markup.encode("utf-8", "replace")).text
    except DataError as error:
        yield Unread(source=str(path), place=f"page {title!r}", reason=str(error), text=markup[:10_000])
        return
    url = f"{base}/{quote(title.replace(' ', '_'))}" if base else None
    yield Document(text=f"{title}\n\n{text}", id=f"{path}:{_text(fields.get('id')) or title}", source=str(path), url=url)


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _text(element: ET.Element | None) -> str:
    return (element.text or "") if element is not None else ""
