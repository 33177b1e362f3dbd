"""Quality rules for Chinese, and rules that hold for some languages only.

In: datatrove documents with their `language`. Out: those that pass; the others with the rule they break. The rules for English are datatrove's own
(Gopher, Rae et al. 2021; C4, Raffel et al. 2020; FineWeb, Penedo et al. 2024); by spaces and English stop words they would reject every Chinese
document. Here are the same ideas by characters: a Chinese word is about two of them.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter
from numpy.typing import NDArray

from noria.data.grams import character_windows

FUNCTION_CHARACTERS = frozenset("的了是在和有不这這也就都而与與之其以为為于者")
"""What hardly a Chinese text does without, of today or classical, in either script."""
_ENDS = ("。", "！", "？", "…", "；", "：", ".", "!", "?", ";", "”", "』", "」", "）", ")", '"', "》")
_PAUSES = ("，", "、", ",")
_PUNCTUATION = re.compile(r"[。！？；：，、…“”‘’「」『』（）《》.!?;:,\"'()]")
_SENTENCE_END = re.compile(r"[。！？!?；;]")
_IDEOGRAPHS = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_NOTICES = re.compile(
    r"javascript|cookie|隐私政策|隱私政策|使用条款|使用條款|服务条款|服務條款|版权所有|版權所有|扫描二维码|點擊查看|点击查看", re.IGNORECASE
)
_MAX_NOTICE = 60

Verdict = bool | tuple[bool, str]


PIECE = 50_000
"""Characters above which a text is judged in pieces."""


def pieces(text: str, size: int = PIECE) -> list[str]:
    """A long text cut into parts of like length, behind a line end where there is one, else behind a space: together they are the text."""
    count = -(-len(text) // size)
    found: list[str] = []
    start = 0
    for number in range(1, count):
        wanted = len(text) * number // count
        end = text.rfind("\n", start, wanted) + 1 or text.rfind(" ", start, wanted) + 1 or wanted
        found.append(text[start:end])
        start = end
    return [*found, text[start:]]


class InLanguage(BaseFilter):
    """A filter that looks at documents of these languages alone, or of all but these."""

    type = "filter"

    def __init__(self, inner: BaseFilter, languages: Sequence[str], exclusion_writer: Any = None, others: bool = False) -> None:
        super().__init__(exclusion_writer)
        self.name = inner.name
        self.inner = inner
        self.languages = frozenset(languages)
        self.others = others

    def filter(self, doc: Document) -> Verdict:
        if (doc.metadata["language"] in self.languages) is self.others:
            return True
        return self._verdict(doc) if len(doc.text) <= PIECE else self._long(doc)

    def _long(self, doc: Document) -> Verdict:
        """The rules are of web pages, whose lines seldom come twice; a book's do. It stays if pieces that make most of it pass."""
        passed, faults = 0, Counter[str]()
        left: list[str] = []
        details: dict[str, Any] = {}
        for piece in pieces(doc.text):
            text = piece.strip()  # rules strip what they are given; the space between two pieces is the text's
            part = Document(text=text, id=doc.id, metadata=dict(doc.metadata))
            verdict = self._verdict(part)
            if verdict is True:
                passed += len(piece)
            else:
                fault = verdict[1] if isinstance(verdict, tuple) else self.inner.name
                faults[fault] += len(piece)
                details |= {fault: part.metadata["detail"]} if "detail" in part.metadata else {}
            before, _, behind = piece.partition(text) if text else (piece, "", "")
            left += [before, part.text, behind]
        if passed * 2 <= len(doc.text):
            fault = faults.most_common(1)[0][0]
            doc.metadata |= {"detail": details[fault]} if fault in details else {}
            return False, fault
        doc.text = "".join(left)  # a rule may have taken lines out
        return True

    def _verdict(self, doc: Document) -> Verdict:
        try:
            return self.inner.filter(doc)
        except Exception as error:  # noqa: BLE001 - a text that a rule was not written for costs itself, not the run
            doc.metadata["detail"] = f"{type(error).__name__}: {error!s:.200}"
            return False, "rule_failed"


class CharacterRepetition(BaseFilter):
    """Gopher's rules on repetition (table A1), runs of 2n characters in place of n words: for languages without spaces, and any other."""

    name = "repetition by characters"
    type = "filter"
    max_equal_lines = 0.3
    max_equal_line_characters = 0.2
    max_top_run = ((4, 0.20), (6, 0.18), (8, 0.16))
    """Length of a run, and the share of the text that the most frequent one may be."""
    max_repeated_runs = ((10, 0.15), (12, 0.14), (14, 0.13), (16, 0.12), (18, 0.11), (20, 0.10))
    """Length of a run, and the share of the text that may stand in runs that stood before."""

    def filter(self, doc: Document) -> Verdict:
        for unit, cut in (("line", r"\n"), ("paragraph", r"\n\s*\n")):
            parts = [part.strip() for part in re.split(cut, doc.text) if part.strip()]
            lengths = {part: len(part) for part in parts}
            total = sum(map(len, parts))
            if not total:
                return False, "empty"
            if len(parts) > 1 and 1 - len(lengths) / len(parts) > self.max_equal_lines:
                return False, f"equal_{unit}s"
            if 1 - sum(lengths.values()) / total > self.max_equal_line_characters:
                return False, f"characters_in_equal_{unit}s"
        text = "".join(doc.text.split())
        for size, most in self.max_top_run:
            if top_share(character_windows(text, size), size, len(text)) > most:
                return False, f"one_run_of_{size}"
        for size, most in self.max_repeated_runs:
            if repeated_share(character_windows(text, size), size, len(text)) > most:
                return False, f"repeated_runs_of_{size}"
        return True


class ChineseQuality(BaseFilter):
    """The rules of Gopher, C4 and FineWeb for Chinese text; short lines of notices are taken out of a document that stays."""

    name = "Chinese"
    type = "filter"

    def __init__(
        self,
        exclusion_writer: Any = None,
        min_ideographs: int = 50,
        min_ideograph_share: float = 0.5,
        min_sentences: int = 3,
        punctuation: tuple[float, float] = (0.01, 0.3),
    ) -> None:
        super().__init__(exclusion_writer)
        self.min_ideographs = min_ideographs
        self.min_ideograph_share = min_ideograph_share
        self.min_sentences = min_sentences
        self.punctuation = punctuation

    def filter(self, doc: Document) -> Verdict:
        lines = [line.strip() for line in doc.text.split("\n")]
        notices = {line for line in lines if len(line) <= _MAX_NOTICE and _NOTICES.search(line)}
        if notices:
            doc.text = "\n".join(line for line in doc.text.split("\n") if line.strip() not in notices).strip()
        fault = self._fault_of_text(doc.text) or self._fault_of_lines([line for line in lines if line and line not in notices])
        return (False, fault) if fault else True

    def _fault_of_text(self, text: str) -> str | None:
        num_characters = len("".join(text.split()))
        num_ideographs = len(_IDEOGRAPHS.findall(text))
        share = len(_PUNCTUATION.findall(text)) / max(num_characters, 1)
        checks = {
            "too_short": num_ideographs < self.min_ideographs,
            "few_ideographs": num_ideographs < self.min_ideograph_share * num_characters,
            "little_punctuation": share < self.punctuation[0],
            "too_much_punctuation": share > self.punctuation[1],
            "few_sentences": len(_SENTENCE_END.findall(text)) < self.min_sentences,
            "many_symbols": text.count("#") + text.count("…") + text.count("...") > 0.05 * num_characters,
            "no_function_characters": len(FUNCTION_CHARACTERS & set(text)) < (2 if num_ideographs > 200 else 1),
            "curly_brackets": text.count("{") > 2,
            "lorem_ipsum": "lorem ipsum" in text.lower(),
        }
        return next((name for name, fails in checks.items() if fails), None)

    def _fault_of_lines(self, lines: list[str]) -> str | None:
        num_lines = len(lines)
        if num_lines < 3:  # a single paragraph, or two, are no list
            return None
        checks = {
            "bullets": sum(line.startswith(("•", "-", "·", "●", "*")) for line in lines) > 0.9 * num_lines,
            "ellipses": sum(line.endswith(("…", "...")) for line in lines) > 0.3 * num_lines,
            "open_lines": sum(line.endswith(_ENDS) for line in lines) < 0.12 * num_lines,
            "short_lines": sum(len(line) <= 10 and not line.endswith((*_ENDS, *_PAUSES)) for line in lines) > 0.67 * num_lines,
        }
        return next((name for name, fails in checks.items() if fails), None)


def top_share(windows: NDArray[Any], size: int, length: int) -> float:
    """Share of a text that its most frequent window of `size` characters is; 0 where none comes twice."""
    if not len(windows):
        return 0.0
    most = int(np.unique(windows, return_counts=True)[1].max())
    return min(1.0, most * size / length) if most > 1 else 0.0


def repeated_share(windows: NDArray[Any], size: int, length: int) -> float:
    """Share of the characters that stand in a window that stood before."""
    if not len(windows):
        return 0.0
    again = np.ones(len(windows), bool)
    again[np.unique(windows, return_index=True)[1]] = False
    edges = np.zeros(length + 1, np.int64)
    edges[: len(windows)] += again
    edges[size : size + len(windows)] -= again
    return float(np.count_nonzero(np.cumsum(edges[:length]))) / length
