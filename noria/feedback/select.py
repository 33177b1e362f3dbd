"""Which feedback counts: trusted authors for texts, a cap for each user, the last word of everybody, and the majority where people disagree."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from noria.feedback.config import FeedbackConfig
from noria.schema import Feedback

_TEXT_KINDS = ("demonstration", "preference")


def select_feedback(log: Iterable[Feedback], config: FeedbackConfig, dropped: Counter[str]) -> list[Feedback]:
    """The pieces that may be exported, in order of arrival; `dropped` counts the others by reason."""
    usable: list[Feedback] = []
    for piece in log:
        reason = _unusable(piece, config)
        if reason is None:
            usable.append(piece)
        else:
            dropped[reason] += 1
    return _capped(_last_words(usable, dropped), config, dropped)


def as_thumb(piece: Feedback, config: FeedbackConfig) -> bool | None:
    """What the piece says of the answer as a thumb, None where the configuration maps it to none."""
    if piece.kind == "thumb":
        return bool(piece.value)
    if piece.kind == "score" and config.score_as_thumb is not None:
        low, high = config.score_as_thumb
        return False if piece.value <= low else True if piece.value >= high else None
    if piece.kind == "outcome" and config.outcomes_as_thumbs:
        return bool(piece.value["success"])
    if piece.kind == "implicit":
        return config.implicit_as_thumbs.get(piece.value["signal"])
    return None


def majority(votes: Sequence[bool]) -> bool | None:
    """The label most voters gave, None for a tie."""
    ups = sum(votes)
    return None if 2 * ups == len(votes) else 2 * ups > len(votes)


def _unusable(piece: Feedback, config: FeedbackConfig) -> str | None:
    if piece.kind in _TEXT_KINDS:
        return None if piece.role in config.author_roles else f"{piece.kind}: role {piece.role} is not in `author_roles`"
    if piece.kind == "comment":
        return "comment: not exported"
    if as_thumb(piece, config) is None:
        return f"{piece.kind}: not mapped to a thumb"
    return None


def _last_words(pieces: Sequence[Feedback], dropped: Counter[str]) -> list[Feedback]:
    """Of one source on one decision the last piece of a kind counts; of demonstrations the last of anybody."""
    last: dict[tuple[object, ...], Feedback] = {}
    for piece in pieces:
        said_by = () if piece.kind == "demonstration" else (piece.role, piece.source, str(piece.value) if piece.kind == "preference" else "")
        key = (piece.receipt, piece.step, piece.kind, said_by)
        if key in last:
            dropped[f"{piece.kind}: a later one replaces it"] += 1
        last[key] = piece
    kept = {piece.id for piece in last.values()}
    return [piece for piece in pieces if piece.id in kept]


def _capped(pieces: Sequence[Feedback], config: FeedbackConfig, dropped: Counter[str]) -> list[Feedback]:
    """At most `max_per_source` pieces of a kind from one user, chosen by hash: a flood of new ones does not push out the old."""
    by_source: dict[tuple[str, str], list[Feedback]] = defaultdict(list)
    for piece in pieces:
        if piece.role == "user":
            by_source[piece.kind, piece.source].append(piece)
    refused: set[str] = set()
    for (kind, _), mine in by_source.items():
        if config.max_per_source is None or len(mine) <= config.max_per_source:
            continue
        mine.sort(key=lambda piece: hashlib.sha256(piece.id.encode()).digest())
        refused |= {piece.id for piece in mine[config.max_per_source :]}
        dropped[f"{kind}: more than {config.max_per_source} from one user"] += len(mine) - config.max_per_source
    return [piece for piece in pieces if piece.id not in refused]
