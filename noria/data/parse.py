"""From a file to a document: plain Markdown with a title.

In: Markdown, text, HTML, wiki markup; with the extra `knowledge` also what markitdown reads (PDF, Office, EPUB ...). Out: `Document`. A file that
cannot be read raises `DataError` (or `DependencyError` for a missing extra) with the reason. `noria.data.parser` does the same in a process apart.
"""

import codecs
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from noria.errors import DataError, DependencyError

MAX_FILE_BYTES = 20_000_000
TEXT_SUFFIXES = frozenset({".md", ".markdown", ".txt", ".text", ".rst"})
HTML_SUFFIXES = frozenset({".html", ".htm", ".xhtml"})
WIKI_SUFFIX = ".mediawiki"
CONVERTERS = {
    ".pdf": "PdfConverter",
    ".docx": "DocxConverter",
    ".pptx": "PptxConverter",
    ".xlsx": "XlsxConverter",
    ".xls": "XlsConverter",
    ".epub": "EpubConverter",
    ".csv": "CsvConverter",
    ".msg": "OutlookMsgConverter",
    ".ipynb": "IpynbConverter",
}
"""What markitdown reads, and with which of its converters: left to guess, it takes a broken PDF for plain text."""
OTHER_SUFFIXES = frozenset(CONVERTERS)
INSTALL_CORPUS = "Run `.venv/bin/pip install -e '.[corpus]'` in the clone of Noria."
_DECLARED_ENCODING = re.compile(rb"<(?:meta\b[^>]{0,200}?charset|\?xml\b[^>]{0,200}?encoding)\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]+)", re.IGNORECASE)
MAX_BROKEN_SHARE = 0.01
"""Of the characters of a page, or of those of a text that are not ASCII: with more, its encoding is another."""
_CODECS = {
    **dict.fromkeys(("utf-16", "utf-16le", "utf-16be", "unicode"), "utf-8"),  # what names it in ASCII cannot be that
    **dict.fromkeys(("gb2312", "gbk", "x-gbk", "gb_2312-80"), "gb18030"),
    **dict.fromkeys(("big5", "big5-hkscs", "x-x-big5"), "big5hkscs"),
    **dict.fromkeys(("iso-8859-1", "iso8859-1", "latin1", "us-ascii", "ascii", "x-cp1252"), "cp1252"),
    **dict.fromkeys(("shift_jis", "x-sjis"), "cp932"),
    **dict.fromkeys(("euc-kr", "ks_c_5601-1987"), "cp949"),
}
_FRONT_MATTER = re.compile(r"\A---\n(?P<fields>.*?)\n---\n", re.DOTALL)
_TITLE_FIELD = re.compile(r"^title:\s*[\"']?(?P<title>.+?)[\"']?\s*$", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}\s+(?P<text>.+?)\s*#*$", re.MULTILINE)
_NO_ARTICLE_TEXT = re.compile(r"^\s*:?\s*(file|image|category|media|文件|檔案|档案|图像|圖像|图片|分类|分類)\s*:", re.IGNORECASE)
"""Links of a wiki page that stand for a picture or a category."""


@dataclass(frozen=True)
class Document:
    """A readable document: `text` is Markdown."""

    title: str
    text: str


def parse(path: Path, data: bytes, main_text: bool = False) -> Document:
    """Read the bytes of the file at `path` (its name says the format).

    Args:
        main_text: of a web page take the main text alone, as trafilatura finds it, not menus, headers and footers.

    Raises:
        DataError: it cannot be read, or holds no text.
        DependencyError: a library is not installed.
    """
    suffix = path.suffix.lower()
    if len(data) > MAX_FILE_BYTES:
        raise DataError(f"It has {len(data):,} bytes; at most {MAX_FILE_BYTES:,} are read. Split it.")
    if suffix in OTHER_SUFFIXES:
        text = _converted(suffix, data)
    elif suffix in HTML_SUFFIXES:
        return _main_text(decode_page(data), path) if main_text else _from_html(decode_page(data), path)
    elif suffix == WIKI_SUFFIX:
        return _from_wiki(decode(data), path)
    elif suffix in TEXT_SUFFIXES:
        text = decode(data).replace("\r\n", "\n").replace("\r", "\n")
    else:
        allowed = ", ".join(sorted(TEXT_SUFFIXES | HTML_SUFFIXES | OTHER_SUFFIXES))
        raise DataError(f"Files that end with '{suffix}' are not read; allowed: {allowed}.")
    title = ""
    if front := _FRONT_MATTER.match(text):
        named = _TITLE_FIELD.search(front["fields"])
        title, text = (named["title"] if named else ""), text[front.end() :]
    if not title and (heading := _HEADING.search(text)):
        title = heading["text"]
    if not text.strip():
        raise DataError("It holds no text.")
    return Document(title=title or _name(path), text=text)


def decode(data: bytes) -> str:
    """Text of a file: UTF-8, UTF-16 with its mark, or GB 18030 where that gives Chinese; stray bytes are replaced. Raises DataError."""
    return data.decode(encoding_of(data), "replace")


def decode_page(data: bytes) -> str:
    """A web page: UTF-8 where it is that, else in the encoding that it declares, as browsers do; without one as `decode`. Raises DataError."""
    declared = _DECLARED_ENCODING.search(data, 0, 4096)
    if declared is None or data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data:
        return decode(data)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    try:
        text = data.decode(codec_of(declared[1].decode("ascii")), "replace")
    except (LookupError, ValueError):
        return decode(data)
    return text if text.count("\ufffd") <= MAX_BROKEN_SHARE * len(text) else decode(data)


def codec_of(label: str) -> str:
    """Python's codec for what a page or its header calls its encoding, read as browsers do: many names stand for the larger set (WHATWG Encoding)."""
    name = label.strip().lower()
    return _CODECS.get(name, name)


def encoding_of(data: bytes, whole: bool = True) -> str:
    """Name of the encoding that these bytes are text in, as `decode` tries them; of UTF-8 a few bytes may be wrong, as `is_broken` has it.

    Args:
        whole: whether it is the whole text, not its beginning, which may end within a character.

    Raises:
        DataError: it is none of them.
    """

    def decoded(encoding: str, errors: str = "strict") -> str:
        return codecs.getincrementaldecoder(encoding)(errors).decode(data, whole)

    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            decoded("utf-16")
        except UnicodeDecodeError as error:
            raise DataError("It begins as UTF-16 but is none. Save it as UTF-8.") from error
        return "utf-16"
    if b"\0" in data:
        raise DataError("It is a binary file, not text.")
    try:
        decoded("utf-8-sig")
    except UnicodeDecodeError as error:
        place = error.start
    else:
        return "utf-8-sig"
    replaced = decoded("utf-8-sig", "replace")
    # Where most is UTF-8, GB 18030 may take the whole for other ideographs.
    if 2 * replaced.count("\ufffd") > _num_foreign(replaced) and _is_gb18030(decoded):
        return "gb18030"
    if is_broken(replaced):
        raise DataError(f"It is not UTF-8 (byte {place}). Save it as UTF-8.")
    return "utf-8-sig"


def is_broken(text: str) -> bool:
    """Whether more of a text was replaced in decoding it than a stray byte here and there: 1 % of what is not ASCII, or 0.1 % of all."""
    return text.count("\ufffd") > max(MAX_BROKEN_SHARE * _num_foreign(text), MAX_BROKEN_SHARE / 10 * len(text))


def _num_foreign(text: str) -> int:
    return len(text) - len(text.encode("ascii", "ignore"))


def _is_gb18030(decoded: Callable[[str], str]) -> bool:
    try:
        foreign = "".join(c for c in decoded("gb18030") if ord(c) > 127)
    except UnicodeDecodeError:
        return False
    num_chinese = sum("\u4e00" <= c <= "\u9fff" or c in "，。、；：？！“”‘’（）《》" for c in foreign)
    # Half of them everyday characters (two bytes each): of other encodings come rare ones, as of an apostrophe and the letter behind it.
    return num_chinese >= 0.9 * len(foreign) and len(foreign.encode("gb2312", "ignore")) >= len(foreign)


def _name(path: Path) -> str:
    return re.sub(r"[-_]+", " ", path.stem).strip() or path.name


def _converted(suffix: str, data: bytes) -> str:
    try:
        from markitdown import StreamInfo, converters
    except ImportError as error:
        raise DependencyError(f"Reading '{suffix}' needs markitdown. Run `.venv/bin/pip install -e '.[knowledge]'` in the clone of Noria.") from error
    try:
        return getattr(converters, CONVERTERS[suffix])().convert(io.BytesIO(data), StreamInfo(extension=suffix)).markdown
    except Exception as error:
        raise DataError(f"markitdown cannot read it: {type(error).__name__}: {' '.join(str(error).split())!s:.200}") from error


class _HtmlText(HTMLParser):
    """Headings, paragraphs, lists and cells of a page as Markdown; scripts, styles and navigation left out."""

    SKIPPED = frozenset({"script", "style", "nav", "template", "noscript", "svg", "head"})
    BLOCKS = frozenset(
        {"p", "div", "section", "article", "table", "tr", "ul", "ol", "br", "main", "header", "footer", "pre", "blockquote", "dl", "dt", "dd"}
    )

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.title = ""
        self._skipping: list[str] = []
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag == "title":
            self._in_title = True
        elif tag == "body":
            self._skipping.clear()  # a head that was never closed
        elif tag in self.SKIPPED:
            self._skipping.append(tag)
        elif re.fullmatch(r"h[1-6]", tag):
            self.parts.append(f"\n\n{'#' * int(tag[1])} ")
        elif tag == "li":
            self.parts.append("\n- ")
        elif tag in ("td", "th"):
            self.parts.append(" | ")
        elif tag in self.BLOCKS:
            self.parts.append("\n\n" if tag not in ("br", "tr") else "\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        elif tag in self._skipping:
            del self._skipping[self._skipping.index(tag) :]
        elif tag in self.BLOCKS or re.fullmatch(r"h[1-6]", tag):
            self.parts.append("\n\n")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif not self._skipping:
            self.parts.append(re.sub(r"\s+", " ", data))


def _from_html(source: str, path: Path) -> Document:
    page = _HtmlText()
    page.feed(source)
    page.close()
    text = re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n|\n[ \t]+(?=[^-#|\s])", "\n", "".join(page.parts))).strip()
    if not text:
        raise DataError("It holds no text.")
    heading = _HEADING.search(text)
    return Document(title=" ".join(page.title.split()) or (heading["text"] if heading else _name(path)), text=text)


def _main_text(source: str, path: Path) -> Document:
    try:
        import trafilatura
    except ImportError as error:
        raise DependencyError("The main text of web pages needs trafilatura. " + INSTALL_CORPUS) from error
    text = trafilatura.extract(source, include_comments=False, favor_precision=True)
    if not text or not text.strip():
        raise DataError("No main text is found in the page.")
    return Document(title=_name(path), text=text)


def _from_wiki(source: str, path: Path) -> Document:
    """Wiki markup as text: templates, tables, references, pictures and categories left out."""
    try:
        import mwparserfromhell as wiki
    except ImportError as error:
        raise DependencyError("Wiki dumps need mwparserfromhell. " + INSTALL_CORPUS) from error
    code = wiki.parse(source)
    links = [link for link in code.ifilter_wikilinks(recursive=True) if _NO_ARTICLE_TEXT.match(str(link.title))]
    tags = [tag for tag in code.ifilter_tags(recursive=True) if str(tag.tag).lower() in ("ref", "table", "gallery", "math", "timeline")]
    for node in [*links, *tags]:
        try:
            code.remove(node)
        except ValueError:  # it stood inside one that is gone
            continue
    lines = (line.strip() for line in str(code.strip_code(normalize=True, collapse=True)).split("\n"))
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    if not text:
        raise DataError("It holds no text.")
    return Document(title=_name(path), text=text)
