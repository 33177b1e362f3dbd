"""MediaWiki XML dumps: the articles as documents, page by page, whatever the size of the dump.

In: the export format of MediaWiki (`pages-articles`), of any version. Out: one document a page of the article namespace; redirects are no pages of
their own. Wiki markup is parsed in a process of its own (`Parser`), for some pages take minutes. Not covered: the expansion of templates.
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


def read_dump(path: Path, stream: IO[bytes], parser: Parser) -> Iterator[Item]:
    """Raises DataError where the file is no dump; a page that cannot be parsed is `Unread`."""
    events = ET.iterparse(stream, events=("start", "end"))
    _, root = next(events)
    if _name(root) != "mediawiki":
        raise DataError(f"It is no MediaWiki dump: its XML begins with <{_name(root)}>.")
    base = ""
    for event, element in events:
        if event == "start":
            continue
        if _name(element) == "base":
            base = (element.text or "").rpartition("/")[0]
        elif _name(element) == "page":
            yield from _page(path, element, base, parser)
            root.clear()  # the tree would grow with every page


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
