"""Tag schemes: BIO (Ramshaw and Marcus 1995), BMES and IOBES, told apart by the tags they use; and which tag may follow which.

In: tags such as `B-LOC`. Out: the scheme, the allowed transitions, or the first tag that breaks it.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

Scheme = Literal["BIO", "BMES", "IOBES"]
_INSIDE: dict[Scheme, str] = {"BIO": "I", "BMES": "M", "IOBES": "I"}


def scheme_of(tags: Iterable[str]) -> Scheme:
    """BMES where something has a middle, IOBES where something ends or stands alone with an inside, else BIO."""
    used = {tag[0] for tag in tags}
    if "M" in used:
        return "BMES"
    if used & {"E", "S"}:
        return "IOBES" if "I" in used else "BMES"
    return "BIO"


def follows(before: str | None, after: str | None, scheme: Scheme) -> bool:
    """Whether `after` may follow `before`; None stands for the beginning and the end of a row."""
    inside = _INSIDE[scheme]
    goes_on = after is not None and after[0] in ({"I"} if scheme == "BIO" else {inside, "E"})
    if scheme == "BIO":
        return not goes_on or (before is not None and before != "O" and before[2:] == (after or "")[2:])
    is_open = before is not None and before[0] in ("B", inside)
    if is_open:
        return goes_on and (before or "")[2:] == (after or "")[2:]
    return not goes_on


def first_break(tags: Sequence[str], scheme: Scheme) -> int | None:
    """Index of the first tag that may not stand where it does; the number of tags if the row may not end so; None: nothing is broken."""
    places: list[str | None] = [None, *tags, None]
    return next((index for index in range(len(places) - 1) if not follows(places[index], places[index + 1], scheme)), None)


def entities(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """Begin, end (exclusive) and kind of what the tags mark, in any of the schemes; a tag that goes on with nothing begins something new."""
    found: list[tuple[int, int, str]] = []
    start: int | None = None
    kind = ""
    for index, tag in enumerate([*tags, "O"]):
        goes_on = tag[0] in "IME" and start is not None and tag[2:] == kind
        if not goes_on and start is not None:
            found.append((start, index, kind))
            start = None
        if tag != "O" and not goes_on:
            start, kind = index, tag[2:]
        if tag[0] in "ES" and start is not None:
            found.append((start, index + 1, kind))
            start = None
    return found
