"""From a document to chunks: pieces under one heading, short enough to give to a model.

In: Markdown. Out: `Chunk`s with the path of their headings. A piece ends at a heading; longer ones are cut between paragraphs, then between
sentences, and only a sentence without end between words. Nothing is left out.
"""

import re
from dataclasses import dataclass

MAX_WIDTH = 1000
"""Widest chunk; a Chinese character is as wide as two others, for it says about as much."""
_HEADING = re.compile(r"^(?P<marks>#{1,6})\s+(?P<text>.+?)\s*#*\s*$")
_UNDERLINE = re.compile(r"^(=+|-+)\s*$")
_FENCE = re.compile(r"^\s*(```|~~~)")
_SENTENCE = re.compile(r"(?<=[。！？；])|(?<=[.!?])\s+")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_MARKS = re.compile(r"(\*\*|__|(?<!`)`(?!`))(?=\S)(.+?)(?<=\S)\1(?!`)")


@dataclass(frozen=True)
class Chunk:
    """A piece of a document and the headings it stands under, outermost first."""

    headings: tuple[str, ...]
    text: str


def width(text: str) -> int:
    """Length of a text, Chinese characters counted twice."""
    return len(text) + sum("\u3400" <= c <= "\u9fff" for c in text)


def chunks(text: str, max_width: int = MAX_WIDTH) -> list[Chunk]:
    """Pieces of a Markdown text, in order."""
    found: list[Chunk] = []
    for headings, body in _sections(text):
        found += [Chunk(headings, piece) for piece in _pieces(_plain(body), max_width)]
    return found


def _sections(text: str) -> list[tuple[tuple[str, ...], str]]:
    """Bodies with the headings above them."""
    sections: list[tuple[tuple[str, ...], str]] = []
    path: list[tuple[int, str]] = []
    body: list[str] = []
    fenced = False

    def close() -> None:
        if "\n".join(body).strip():
            sections.append((tuple(name for _, name in path), "\n".join(body)))
        body.clear()

    for line in text.split("\n"):
        if _FENCE.match(line):
            fenced = not fenced
        heading = None if fenced else _HEADING.match(line)
        if not fenced and not heading and _UNDERLINE.match(line) and body and body[-1].strip() and (len(body) == 1 or not body[-2].strip()):
            level, name = (1 if line.startswith("=") else 2), body.pop().strip()
        elif heading:
            level, name = len(heading["marks"]), heading["text"]
        else:
            body.append(line)
            continue
        close()
        path[:] = [entry for entry in path if entry[0] < level] + [(level, _plain(name))]
    close()
    return sections


def _plain(text: str) -> str:
    """Without link targets and emphasis marks, which cost tokens and say nothing."""
    return _MARKS.sub(r"\2", _LINK.sub(r"\1", text)).strip()


def _pieces(text: str, max_width: int) -> list[str]:
    """Paragraphs packed into pieces."""
    pieces: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        parts = [paragraph.strip("\n")] if width(paragraph) <= max_width else _cut(paragraph, max_width)
        for i, part in enumerate(parts):
            if i == 0 and pieces and width(pieces[-1]) + width(part) + 2 <= max_width:
                pieces[-1] += "\n\n" + part
            else:
                pieces.append(part)
    return [piece for piece in pieces if piece.strip()]


def _cut(paragraph: str, max_width: int) -> list[str]:
    """A paragraph in pieces of whole lines and sentences; a longer sentence is cut at words, or anywhere where it has none."""
    pieces: list[str] = []
    for sentence in (s for line in paragraph.split("\n") for s in [*_SENTENCE.split(line), "\n"]):
        rest = sentence
        while width(rest) > max_width:
            place = len(rest)
            while width(rest[:place]) > max_width:
                place = max(
                    1, place * max_width // width(rest[:place]) - (1 if width(rest[: place * max_width // width(rest[:place])]) > max_width else 0)
                )
            space = rest.rfind(" ", place // 2, place)
            place = space + 1 if space > 0 else place
            pieces.append(rest[:place].rstrip())
            rest = rest[place:]
        if not rest.strip():
            continue
        joint = "" if pieces and re.search(r"[\u3000-\u9fff，！？；]$", pieces[-1]) else " "
        if pieces and width(pieces[-1]) + width(rest) + 1 <= max_width:
            pieces[-1] += joint + rest
        else:
            pieces.append(rest)
    return pieces
