"""Settings of `noria data build`: what is repaired, what is dropped, what is held out."""

from typing import Literal

from pydantic import Field

from noria.config import Section
from noria.data.personal import Entity

Rule = Literal["repetition", "gopher", "c4", "fineweb", "chinese"]


class BuildConfig(Section):
    """Everything that `--set name=value` names."""

    repair_encoding: bool = True
    """Repair text that was decoded wrongly (ftfy); punctuation and width stay as they are."""
    languages: tuple[str, ...] | None = ("en", "zh")
    """Languages that are kept, by their ISO 639-1 codes; none: all."""
    language_confidence: float = Field(default=0.5, ge=0, le=1)
    """Documents whose language is less sure than this are dropped."""
    rules: tuple[Rule, ...] = ("repetition", "gopher", "c4", "fineweb", "chinese")
    """Quality rules: repetition (all languages), gopher, c4 and fineweb (English), chinese (their counterparts for Chinese). Empty: none."""
    min_words: int = Field(default=50, ge=0)
    """Words an English document needs for `gopher`; also the ideographs a Chinese one needs for `chinese`."""
    min_sentences: int = Field(default=5, ge=1)
    """Sentences an English document needs for `c4`; a Chinese one needs half as many, rounded up."""
    redact: tuple[Entity, ...] = ("email", "phone", "card", "iban", "ip", "id_number")
    """Personal data that is replaced by placeholders such as <EMAIL_1>. Empty: none."""
    phone_regions: tuple[str, ...] = ("US", "GB", "CN")
    """Countries (ISO 3166) whose phone numbers are known without their country code."""
    similarity: float | None = Field(default=0.75, ge=0.7, le=1)
    """Documents this similar to an earlier one (Jaccard of character n-grams) are dropped; none: only equal ones."""
    validation_share: float = Field(default=0.01, ge=0, lt=0.5)
    """Share of the documents held out, where the names of the files do not say it."""
    split_by: Literal["document", "source"] = "document"
    """document: each by its own text; source: all documents of one source on one side."""
    seed: int = 0
    """Another seed holds out other documents."""
    tasks: int | None = Field(default=None, ge=1, le=100_000)
    """Parts that the work is cut into, each of whole files; a killed run goes on after the last that was finished. None: one for 32 MB."""
    workers: int | None = Field(default=None, ge=1)
    """Tasks at a time; None takes all cores where there is enough to do. The result does not depend on it."""
