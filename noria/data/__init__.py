"""Task files and corpora: read, clean, find near-duplicates, split training from evaluation without a leak.

Task files are JSONL of the formats in `noria.data.examples`; out come their rows as frozen models. Corpora are files of any kind; out come documents,
or, with `noria.data.build`, a clean corpus folder (not imported here: it needs the extra `corpus`).
"""

from noria.data.corpus import Corpus, open_corpus, split_of
from noria.data.documents import Document
from noria.data.duplicates import NearDuplicates, jaccard, ngrams
from noria.data.examples import (
    EXAMPLES,
    AnswerExample,
    ChatExample,
    ClassifyExample,
    CorpusExample,
    EmbedExample,
    Example,
    PreferenceExample,
    ScoreExample,
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
    "EmbedExample",
    "Encoded",
    "Example",
    "Item",
    "NearDuplicates",
    "PreferenceExample",
    "ScoreExample",
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
