"""What a corpus holds and what became of the rest: counts that are kept while documents pass, added up over tasks, and written down.

Tokens are estimated from characters: a byte-level BPE of 16,384 tokens, learnt from 5 MB of English and Chinese, made one token of 3.7 characters of
held-out English and of one ideograph of held-out Chinese; larger vocabularies make fewer.
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict

_IDEOGRAPHS = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
LETTERS_PER_TOKEN, IDEOGRAPHS_PER_TOKEN = 3.7, 1.0
MAX_NAMES = 1000
"""Sources and licences that are counted by name; the rest is counted together."""
OTHERS = "(others)"


StepName = Literal["read", "language", "repetition", "character_repetition", "gopher", "c4", "fineweb", "chinese", "contamination", "duplicates"]
STEPS: tuple[StepName, ...] = get_args(StepName)
"""What may drop a document, in the order in which documents pass."""


class Amount(BaseModel):
    """Documents, and bytes of their texts in UTF-8."""

    documents: int = 0
    bytes: int = 0

    def add(self, documents: int, num_bytes: int) -> None:
        self.documents += documents
        self.bytes += num_bytes


class Dropped(BaseModel):
    """What one rule of one step took out."""

    model_config = ConfigDict(frozen=True)

    step: StepName
    reason: str
    documents: int
    bytes: int


class Funnel(BaseModel):
    """What came in and what was dropped where."""

    came_in: Amount = Amount()
    dropped: tuple[Dropped, ...] = ()
    went_out: Amount = Amount()
    redacted: dict[str, int] = {}
    """Values of personal data replaced, by kind; one that comes again in a document counts once."""

    @property
    def trimmed_bytes(self) -> int:
        """Bytes that repairs, lines taken out and placeholders made less (or more) of the documents."""
        return self.came_in.bytes - self.went_out.bytes - sum(d.bytes for d in self.dropped)

    @classmethod
    def sum(cls, parts: Iterable[Self]) -> Self:
        """All parts together, in the order of the steps, the largest loss of each first."""
        came_in, went_out, redacted = Amount(), Amount(), Counter[str]()
        dropped: dict[tuple[StepName, str], Amount] = {}
        for part in parts:
            came_in.add(part.came_in.documents, part.came_in.bytes)
            went_out.add(part.went_out.documents, part.went_out.bytes)
            redacted.update(part.redacted)
            for loss in part.dropped:
                dropped.setdefault((loss.step, loss.reason), Amount()).add(loss.documents, loss.bytes)
        losses = tuple(Dropped(step=s, reason=r, documents=a.documents, bytes=a.bytes) for (s, r), a in dropped.items())
        ordered = sorted(losses, key=lambda loss: (STEPS.index(loss.step), -loss.documents, loss.reason))
        return cls(came_in=came_in, dropped=tuple(ordered), went_out=went_out, redacted=dict(sorted(redacted.items())))


class Contents(BaseModel):
    """Documents by language, source, licence and split."""

    total: Amount = Amount()
    num_tokens: int = 0
    """Estimated."""
    languages: dict[str, Amount] = {}
    sources: dict[str, Amount] = {}
    licenses: dict[str, Amount] = {}
    splits: dict[str, Amount] = {}

    def add(self, row: dict[str, Any], split: str) -> None:
        """Count one row of a corpus file."""
        num_bytes = len(row["text"].encode("utf-8", "surrogatepass"))
        self.total.add(1, num_bytes)
        self.num_tokens += estimated_tokens(row["text"])
        names = {"language": self.languages, "source": self.sources, "license": self.licenses}
        for field, counts in names.items():
            _amount(counts, str(row.get(field) or "unknown")).add(1, num_bytes)
        _amount(self.splits, split).add(1, num_bytes)

    @classmethod
    def sum(cls, parts: Iterable[Self]) -> Self:
        """All parts together, the largest first."""
        whole = cls()
        for part in parts:
            whole.total.add(part.total.documents, part.total.bytes)
            whole.num_tokens += part.num_tokens
            for field in ("languages", "sources", "licenses", "splits"):
                for name, amount in getattr(part, field).items():
                    _amount(getattr(whole, field), name).add(amount.documents, amount.bytes)
        for field in ("languages", "sources", "licenses", "splits"):
            counts: dict[str, Amount] = getattr(whole, field)
            setattr(whole, field, dict(sorted(counts.items(), key=lambda item: (item[0] == OTHERS, -item[1].bytes, item[0]))))
        return whole


def estimated_tokens(text: str) -> int:
    """About how many tokens a tokenizer trained on such text makes of it."""
    num_ideographs = len(_IDEOGRAPHS.findall(text))
    return round(num_ideographs / IDEOGRAPHS_PER_TOKEN + (len(text) - num_ideographs) / LETTERS_PER_TOKEN)


def size_text(num_bytes: int) -> str:
    """Bytes as a person reads them: 512 B, 1.2 kB, 3.4 MB, 5.6 GB."""
    size, unit = float(num_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if abs(size) < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def _amount(counts: dict[str, Amount], name: str) -> Amount:
    key = name if name in counts or len(counts) < MAX_NAMES else OTHERS
    return counts.setdefault(key, Amount())
