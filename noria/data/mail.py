"""E-mail: the subject and what its writer wrote, without quotations, signature and attachments.

In: one message (.eml) or many (.mbox, streamed). Out: one document a message; senders and receivers are left out.
"""

import re
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import IO

from noria.data.documents import Document, Item, Unread
from noria.data.parser import Parser
from noria.errors import DataError

MAX_MESSAGE_BYTES = 64 << 20
_PIECE_BYTES = 1 << 20
_DAY = (
    r"\b(?:mon|tues|wednes|thurs|fri|satur|sun)day\b|\d[/.-]\d"
    r"|\b(?:jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)[a-z]*\.? \d|\d\.? (?:jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)"
)
_DATE = r"\d{4}\s*[年/.-]\s*\d{1,2}\s*[月/.-]\s*\d{1,2}"
_ATTRIBUTION = re.compile(
    rf"^[ \t]*+(?:on\b(?=[^\n]*(?:{_DAY}|\w@\w))[^\n]{{3,200}}(?:\n(?!>)[^\n]{{0,100}})?\bwrote:"
    rf"|(?=[^\n]{{0,200}}(?:{_DATE}|\w@\w))[^\n]{{5,200}}写道[：:])[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
"""What stands above a quotation and names whose it is and when it was written; a mail program may have broken the line. Without a date or an address
it is prose that ends so."""
_ORIGINAL = re.compile(r"-+ ?(original message|原始邮件) ?-+", re.IGNORECASE)
"""The line above a whole earlier message: all that follows is that."""
_BLOCKQUOTE = re.compile(r"<(/?)blockquote\b[^>]*>", re.IGNORECASE)


def read_mail(path: Path, stream: IO[bytes], parser: Parser) -> Iterator[Item]:
    """The message of an .eml file."""
    yield _document(path, stream.read(MAX_MESSAGE_BYTES), str(path), parser)


def read_mailbox(path: Path, stream: IO[bytes], parser: Parser) -> Iterator[Item]:
    """The messages of an mbox file: each begins with a line `From ...` after a blank one (RFC 4155)."""
    message: list[bytes] = []
    number, size, blank, begun = 0, 0, True, False
    for line, is_begin in _lines(stream):
        if is_begin and blank and line.startswith(b"From "):
            if begun:
                number += 1
                yield _document(path, b"".join(message), f"{path}:{number}", parser)
            message, size, begun = [], 0, True
        elif not begun and line.strip():
            raise DataError("It is no mbox file: it does not begin with a line `From ...`.")
        elif size < MAX_MESSAGE_BYTES:
            message.append(line.removeprefix(b">") if is_begin and line.startswith(b">From ") else line)
            size += len(line)
        blank = is_begin and not line.strip()
    if begun:
        yield _document(path, b"".join(message), f"{path}:{number + 1}", parser)


def _lines(stream: IO[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Lines, and whether each begins here: one that is too long for memory comes in pieces."""
    is_begin = True
    while line := stream.readline(_PIECE_BYTES):
        yield line, is_begin
        is_begin = line.endswith(b"\n")


def _document(path: Path, data: bytes, place: str, parser: Parser) -> Item:
    try:
        message = message_from_bytes(data, policy=policy.default)
        text = _own_words(_body(message, parser))
        subject = str(message["subject"] or "").strip()
        identity = str(message["message-id"] or place).strip("<> ")
    except RecursionError:
        return Unread(source=str(path), place=place, reason="It is nested too deeply.", text=data[:10_000].decode("utf-8", "replace"))
    except (DataError, LookupError, ValueError, AttributeError, IndexError, TypeError) as error:  # the standard parser trips over broken headers
        return Unread(source=str(path), place=place, reason=f"{error!s:.200}", text=data[:10_000].decode("utf-8", "replace"))
    if not text:
        return Unread(source=str(path), place=place, reason="The message holds no text of its own.", text=subject)
    return Document(text=f"{subject}\n\n{text}" if subject else text, id=identity, source=str(path))


def _body(message: EmailMessage, parser: Parser) -> str:
    part = message.get_body(preferencelist=("plain", "html"))
    if part is None:
        return ""
    content = str(part.get_content())
    if part.get_content_subtype() == "plain":
        return content
    return parser.parse(Path("message.html"), _without_quotations(content).encode("utf-8", "replace")).text


def _without_quotations(page: str) -> str:
    pieces: list[str] = []
    depth = end = 0
    for tag in _BLOCKQUOTE.finditer(page):
        if depth == 0:
            pieces.append(page[end : tag.start()])
        depth = max(0, depth - 1) if tag[1] else depth + 1
        end = tag.end()
    return "".join(pieces) if depth else "".join(pieces) + page[end:]


def _own_words(body: str) -> str:
    lines: list[str] = []
    for line in _ATTRIBUTION.sub("", body.replace("\r\n", "\n")).split("\n"):
        if line.rstrip() == "--" or _ORIGINAL.fullmatch(line.strip()):
            break
        if not line.startswith(">"):
            lines.append(line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
