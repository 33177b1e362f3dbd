"""Which language a text is in, without a network: Chinese by its script, every other language by the model that py3langid carries."""

import re
from collections.abc import Iterable
from functools import cache
from itertools import islice
from typing import Any

from noria.data.parse import INSTALL_CORPUS
from noria.errors import DependencyError

_IDEOGRAPHS = re.compile(r"[\u3400-\u9fff]")
_KANA = re.compile(r"[\u3040-\u30ff]")
_LETTERS = re.compile(r"[^\W\d_]")
_CHINESE = frozenset({"zh", "wuu", "yue", "lzh"})
"""Chinese by the codes of its varieties."""
SAMPLE = 1000
"""Characters that are looked at: half from the beginning, half from the middle."""
MOST_LOOKED_AT = 500
"""Texts that tell which language all of them are in."""


def identify(text: str) -> tuple[str, float]:
    """ISO 639-1 code of the language, and how sure that is, 0..1; `und` for a text without letters."""
    middle = max(SAMPLE // 2, len(text) // 2)
    sample = text[: SAMPLE // 2] + text[middle : middle + SAMPLE // 2]
    num_letters = len(_LETTERS.findall(sample))
    if not num_letters:
        return "und", 0.0
    if is_chinese(sample):
        return "zh", 1.0
    if sum(map(str.isupper, sample)) * 2 > num_letters:  # the model has seen few texts in capitals
        sample = sample.lower()
    code, confidence = _model().classify(sample)
    return "zh" if code in _CHINESE else str(code), float(confidence)


def is_chinese(text: str) -> bool:
    """Whether its script is Chinese: ideographs are a third of the letters, and few are Japanese."""
    num_letters = len(_LETTERS.findall(text))
    return len(_IDEOGRAPHS.findall(text)) > 0.3 * num_letters and len(_KANA.findall(text)) <= 0.05 * num_letters


def mostly_chinese(texts: Iterable[str]) -> bool:
    """Whether more than half of the first texts are Chinese."""
    found = [is_chinese(text) for text in islice(texts, MOST_LOOKED_AT)]
    return sum(found) * 2 > len(found)


@cache
def _model() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise DependencyError("Telling languages apart needs py3langid. " + INSTALL_CORPUS) from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
