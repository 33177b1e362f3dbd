"""Where personal data stand in a text, found by pattern and checksum alone: no language model, no network.

presidio's recognisers know e-mail addresses, phone numbers, cards, IBANs, IP addresses, URLs, US social security and British national insurance
numbers; the Chinese ones (mobile number, resident identity number, bank card) are written here. Of the US and British numbers those without hyphens
or spaces are found only after a word that says what they are: bookings and parts are numbered so, too. Digits may be full-width. Dates, times, prices
and numbers of up to six digits are left alone. Names and postal addresses have no pattern: they are not found.
"""

import ipaddress
import re
import sys
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal, NamedTuple

Entity = Literal["email", "phone", "card", "iban", "ip", "id_number", "url"]
LABELS: dict[Entity, str] = {
    "email": "EMAIL",
    "phone": "PHONE",
    "card": "CARD",
    "iban": "IBAN",
    "ip": "IP",
    "id_number": "ID_NUMBER",
    "url": "URL",
}
"""What the placeholders are called."""


class Span(NamedTuple):
    """Personal data of one kind between two character positions."""

    start: int
    end: int
    entity: Entity


@dataclass(frozen=True, kw_only=True)
class _Pattern:
    entity: Entity
    regex: re.Pattern[str]
    valid: Callable[[str], bool]


def _digits(text: str) -> str:
    return "".join(c for c in text if c in "0123456789")


def luhn(text: str) -> bool:
    """The check of card numbers (ISO/IEC 7812-1): the doubled sum ends in 0."""
    doubled = [int(d) * (1 + i % 2) for i, d in enumerate(reversed(_digits(text)))]
    return sum(n - 9 if n > 9 else n for n in doubled) % 10 == 0


def resident_id(text: str) -> bool:
    """The check of a Chinese resident identity number (GB 11643-1999): a weighted sum modulo 11 names the last character."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return "10X98765432"[sum(int(d) * w for d, w in zip(text, weights, strict=False)) % 11] == text[-1].upper()


_CHINESE = (
    _Pattern(
        entity="phone",
        regex=re.compile(r"(?<![\d.])(?:(?:\+|00)?86[- ]?)?1[3-9]\d(?:[- ]?\d{4}){2}(?!\d)"),
        valid=bool,
    ),
    _Pattern(
        entity="id_number",
        regex=re.compile(r"(?<![0-9A-Za-z])[1-9]\d{5}(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx](?![0-9A-Za-z])"),
        valid=resident_id,
    ),
    _Pattern(entity="card", regex=re.compile(r"(?<![\d.])[3-69]\d{3}(?:[- ]?\d{4}){2,3}[- ]?\d{1,4}(?!\d)"), valid=luhn),
)

_FRACTION = r"(?:,\d{1,2}|\.\d{1,8})?(?!\d)(?!-\d{4}-?\d{4}(?!\d))"
_IN_THREES = rf"\d{{1,3}}(?:(?:,\d{{3}})+|(?:\.\d{{3}})+|(?: \d{{3}})+(?![- ]?\d)){_FRACTION}"
"""An amount written in groups of three; what stands after it, a space or a comma between, may be a telephone number."""
_NUMBERS_LEFT_ALONE = re.compile(
    r"(?<![\w-])\d{4}([-/.])\d{1,2}\1\d{1,2}(?:[T ]\d{1,2}:\d{2}(?::\d{2})?(?:\.\d+)?(?:Z|[+-]\d{2}:?\d{2})?)?(?![\w-])"  # 2026-03-04T18:30:00Z
    r"|(?<![\w-])\d{1,2}([-/.])\d{1,2}\2(?:\d{4}|\d{2})(?![\w-])"  # 04/03/2026
    r"|\d{4}年\d{1,2}月(?:\d{1,2}[日号])?|\d{1,2}月\d{1,2}[日号]"
    r"|(?<![\d:])\d{1,2}:\d{2}(?::\d{2})?(?![\d:])"  # 18:30
    rf"|[$€£¥￥]\s?(?:{_IN_THREES}|\d+{_FRACTION})"
    rf"|(?<![\d-])(?:{_IN_THREES}|\d{{1,9}}{_FRACTION})\s?(?:元(?![旦宵])|块|美元|dollars?|euros?|pounds?|yuan|USD|EUR|GBP|CNY|RMB)(?![A-Za-z])",
    re.IGNORECASE | re.ASCII,
)
_FULL_WIDTH = str.maketrans("０１２３４５６７８９＋－Ｘｘ", "0123456789+-Xx")
"""What Chinese input methods make of a number in full width; one character stays one."""
_FULL_WIDTH_DIGIT = re.compile("[０-９]")
_MAYBE_NUMBER = re.compile(r"\d(?:[-\s().+/]{0,3}\d){6}", re.ASCII)
_MAYBE_IBAN = re.compile(r"[A-Z]{2}\d{2}[ -]?[A-Z0-9]{4}")
_MAYBE_IP = re.compile(r"\d\.\d{1,3}\.\d|:[0-9A-Fa-f]*:")
_SSN_PLAIN = r"(?:\d{9}|\d{3} \d{2} \d{4})"
_SSN = rf"(?<![\w.-])\d{{3}}-\d{{2}}-\d{{4}}(?![\w-])|(?<!\d){_SSN_PLAIN}(?!\d)(?<=\b(?:ssn|social security)\D{{0,20}}{_SSN_PLAIN})"
_NINO_LETTERS = r"(?!BG|GB|NK|KN|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]"
_NINO = (
    rf"(?-i:(?<!\w){_NINO_LETTERS} \d\d \d\d \d\d [A-D](?!\w))"
    rf"|(?-i:(?<!\w){_NINO_LETTERS}\d{{6}}[A-D](?!\w))(?<=\b(?:national insurance|nino|ni n)[^\d\n]{{0,30}}\w{{9}})"
)
"""The words that say what a number is are looked for once a number is found: at every place they would take long."""
_MAYBE_NINO = re.compile(r"[A-Z]{2}(?: ?\d\d){3} ?[A-D]")
_MAYBE_URL = re.compile(r"[A-Za-z0-9]\.[A-Za-z]{2}|://")
_PRIORITY: dict[Entity, int] = {"email": 0, "iban": 1, "id_number": 2, "card": 3, "phone": 4, "url": 5, "ip": 6}


class PersonalData:
    """Finds the given kinds of personal data; recognisers are made once, and a text met again is not searched again."""

    def __init__(self, entities: tuple[Entity, ...], phone_regions: tuple[str, ...], max_remembered: int = 50_000) -> None:
        self._entities = frozenset(entities)
        self._phone_regions = phone_regions
        self.find = lru_cache(maxsize=max_remembered)(self._find)

    def _find(self, text: str) -> tuple[Span, ...]:
        return without_overlaps(span for span in self._candidates(_narrow(text)) if span.entity in self._entities)

    def _candidates(self, text: str) -> Iterator[Span]:
        """Every recogniser costs something, so each runs only on a text that could hold what it looks for."""
        if "@" in text and "email" in self._entities:
            yield from _presidio(self._recognizers["email"], "email", text)
        if "url" in self._entities and _MAYBE_URL.search(text):
            yield from _presidio(self._recognizers["url"], "url", text)
        if "iban" in self._entities and _MAYBE_IBAN.search(text):
            yield from _presidio(self._recognizers["iban"], "iban", text)
        if "ip" in self._entities and _MAYBE_IP.search(text):
            found = _presidio(self._recognizers["ip"], "ip", text)
            yield from (span for span in found if _is_address(text[span.start : span.end]))
        if "id_number" in self._entities and _MAYBE_NINO.search(text):
            yield from _presidio(self._recognizers["nino"], "id_number", text)
        if not _MAYBE_NUMBER.search(text):
            return
        masked = _NUMBERS_LEFT_ALONE.sub(lambda m: "_" * len(m[0]), text)
        if not _MAYBE_NUMBER.search(masked):
            return
        for pattern in _CHINESE:
            yield from (Span(m.start(), m.end(), pattern.entity) for m in pattern.regex.finditer(masked) if pattern.valid(m[0]))
        if "id_number" in self._entities:
            yield from _presidio(self._recognizers["ssn"], "id_number", masked)
        if "card" in self._entities:
            yield from _presidio(self._recognizers["card"], "card", masked)
        if "phone" in self._entities:
            found = _presidio(self._recognizers["phone"], "phone", masked)
            yield from (span for span in found if len(_digits(masked[span.start : span.end])) > 6)

    @cached_property
    def _recognizers(self) -> dict[str, Any]:
        """presidio is loaded with the first text that could hold something: it takes seconds."""
        with unloaded("torch", "transformers"):
            from presidio_analyzer import Pattern, PatternRecognizer
            from presidio_analyzer import predefined_recognizers as known

        def ascii_only(patterns: list[Any]) -> list[Any]:
            """ASCII word boundaries, so that Chinese characters right beside an address do not hide it."""
            return [Pattern(p.name, f"(?a){p.regex}", p.score) for p in patterns]

        # The patterns alone for e-mail and URL: presidio's validation fetches the list of top-level domains from the network.
        return {
            "email": PatternRecognizer(supported_entity="EMAIL_ADDRESS", patterns=ascii_only(known.EmailRecognizer.PATTERNS)),
            "url": PatternRecognizer(supported_entity="URL", patterns=ascii_only(known.UrlRecognizer.PATTERNS[:2])),
            "iban": known.IbanRecognizer(),
            "ip": known.IpRecognizer(patterns=ascii_only(known.IpRecognizer.PATTERNS)),
            "card": known.CreditCardRecognizer(patterns=ascii_only(known.CreditCardRecognizer.PATTERNS)),
            "phone": known.PhoneRecognizer(supported_regions=self._phone_regions),
            "ssn": known.UsSsnRecognizer(patterns=[Pattern("SSN", f"(?a){_SSN}", 0.5)]),
            "nino": known.UkNinoRecognizer(patterns=[Pattern("NINO", f"(?a){_NINO}", 0.5)]),
        }


def same_value(entity: Entity, found: str) -> tuple[str, str]:
    """What two ways to write one value have in common."""
    found = _narrow(found)
    if entity == "phone":
        digits = "".join(c for c in found if c.isdigit())
        digits = digits.removeprefix("00")
        for country in ("86", "1"):
            if len(digits) == len(country) + (11 if country == "86" else 10) and digits.startswith(country):
                digits = digits.removeprefix(country)
        return entity, digits
    if entity in ("card", "iban", "id_number"):
        return entity, "".join(c for c in found if c.isalnum()).upper()
    return entity, found.casefold()


class Placeholders:
    """Typed placeholders for the values of one conversation or document; the same value gets the same one, in the order of first appearance.

    Args:
        kept: values, as `same_value` names them, that stay.
    """

    def __init__(self, data: PersonalData, kept: AbstractSet[tuple[str, str]] = frozenset()) -> None:
        self._data = data
        self._kept = kept
        self._placeholders: dict[tuple[str, str], str] = {}
        self._numbers: Counter[str] = Counter()

    @property
    def counts(self) -> dict[str, int]:
        """How many different values of each kind were replaced."""
        return dict(self._numbers)

    def text(self, text: str) -> str:
        """The text without personal data."""
        pieces: list[str] = []
        end = 0
        for span in self._data.find(text):
            pieces += [text[end : span.start], self._placeholder(span.entity, text[span.start : span.end])]
            end = span.end
        return "".join(pieces) + text[end:]

    def _placeholder(self, entity: Entity, found: str) -> str:
        same = same_value(entity, found)
        if same in self._kept:
            return found
        if same not in self._placeholders:
            label = LABELS[entity]
            self._numbers[label] += 1
            self._placeholders[same] = f"<{label}_{self._numbers[label]}>"
        return self._placeholders[same]


def without_overlaps(found: Iterable[Span]) -> tuple[Span, ...]:
    """Spans in order, none over another; of two that overlap the longer one stays."""
    taken: list[Span] = []
    for span in sorted(found, key=lambda s: (s.start - s.end, _PRIORITY[s.entity], s.start)):
        place = bisect(taken, span)
        if all(span.end <= other.start or span.start >= other.end for other in taken[max(0, place - 1) : place + 1]):
            taken.insert(place, span)
    return tuple(taken)


def _narrow(text: str) -> str:
    return text.translate(_FULL_WIDTH) if _FULL_WIDTH_DIGIT.search(text) else text


def _presidio(recognizer: Any, entity: Entity, text: str) -> Iterator[Span]:
    for result in recognizer.analyze(text, recognizer.supported_entities, None):
        if result.score >= 0.3:
            yield Span(result.start, result.end, entity)


@contextmanager
def unloaded(*names: str) -> Generator[None]:
    """Keep packages that are installed, but not loaded yet, from being loaded meanwhile.

    presidio would import torch and transformers for the language models that nothing here uses: 8 seconds instead of 2.
    """
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


def _is_address(text: str) -> bool:
    """A complete address, not `a::b` of a programming language."""
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        return False
    return ":" not in text or (text.count(":") >= 3 and any(c.isdigit() for c in text))
