"""Perception of dates and times: what a user wrote becomes canonical forms that stand behind the message for the model to copy.

In: a message in English or Chinese, and the day the conversation calls today. Out: `2026-03-04` and `18:30`, in the order of mention.
A small model that must copy a form is right far more often than one that must count days. The rules are measured against public libraries in
docs/decisions (`dates`). Not covered: durations, numbers, other languages.
"""

import unicodedata
from datetime import date

from noria.agent import dates_chinese, dates_english
from noria.agent.dates_english import Span

MAX_CHARACTERS = 4000
"""Longer messages are pasted documents: only the beginning is read."""


def hints(text: str, today: date) -> tuple[str, ...]:
    """Canonical forms of the dates and times in `text`, in the order of mention, each once.

    Args:
        text: what the user wrote.
        today: the day relative words count from.
    """
    plain = unicodedata.normalize("NFKC", text[:MAX_CHARACTERS]).lower()
    spans: list[Span] = []
    if any("\u4e00" <= c <= "\u9fff" for c in plain):
        spans += [*dates_chinese.dates(plain, today), *dates_chinese.times(plain)]
    if any("a" <= c <= "z" or "0" <= c <= "9" for c in plain):
        spans += [*dates_english.dates(plain, today), *dates_english.times(plain)]
    found = [value for span in _longest(spans) for value in span.values]
    return tuple(dict.fromkeys(found))


def _longest(spans: list[Span]) -> list[Span]:
    """Of readings that overlap the longest stays; the rest in the order of the text."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.start - s.end, s.start)):
        if all(span.end <= other.start or span.start >= other.end for other in kept):
            kept.append(span)
    return sorted(kept, key=lambda s: s.start)
