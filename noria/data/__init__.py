"""Task files: read with every row checked, write whole, find near-duplicates, split training from evaluation without a leak.

Comes in: JSONL files of the formats in `noria.data.examples`; goes out: their rows as frozen models. What it does not cover yet: corpora in other
formats, cleaning, decontamination against public benchmarks.
"""

from noria.data.corpus import Corpus, Document, open_corpus, split_of
from noria.data.duplicates import NearDuplicates, jaccard, ngrams
from noria.data.examples import (
    EXAMPLES,
    AnswerExample,
    ChatExample,
    ClassifyExample,
    CorpusExample,
    Example,
    PreferenceExample,
    TagExample,
    Task,
    TextPairExample,
    ThumbsExample,
    conversation_of,
    example_key,
    message_row,
)
from noria.data.shards import Encoded, Shards, is_finished, open_shards, write_shards
from noria.data.shards import Split as ShardSplit
from noria.data.split import Item, Side, Split, split_by_group, split_by_time
from noria.data.tasks import check_task, read_chat, read_objects, read_preferences, read_task, read_thumbs, write_task
from noria.data.word_starts import word_starts

__all__ = [
    "EXAMPLES",
    "AnswerExample",
    "ChatExample",
    "ClassifyExample",
    "Corpus",
    "CorpusExample",
    "Document",
    "Encoded",
    "Example",
    "Item",
    "NearDuplicates",
    "PreferenceExample",
    "ShardSplit",
    "Shards",
    "Side",
    "Split",
    "TagExample",
    "Task",
    "TextPairExample",
    "ThumbsExample",
    "check_task",
    "conversation_of",
    "example_key",
    "is_finished",
    "jaccard",
    "message_row",
    "ngrams",
    "open_corpus",
    "open_shards",
    "read_chat",
    "read_objects",
    "read_preferences",
    "read_task",
    "read_thumbs",
    "split_by_group",
    "split_by_time",
    "split_of",
    "word_starts",
    "write_shards",
    "write_task",
]
