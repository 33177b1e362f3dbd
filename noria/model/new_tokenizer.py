"""Tokenizers learnt from text: byte-level BPE, WordPiece, Unigram, or single characters; trained by Hugging Face `tokenizers`.

In: texts. Out: a `Tokenizer` with the special tokens of the objective and, for a decoder, the chat template from the start. Text is sampled
beyond `MAX_SAMPLE_BYTES`, so memory stays bounded.
"""

import math
import random
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as FastTokenizer

from noria.errors import DataError
from noria.model.tokenizer import Tokenizer

TokenizerKind = Literal["bpe", "wordpiece", "unigram", "characters"]
MAX_SAMPLE_BYTES = 200 << 20
"""Text that a vocabulary is learnt from, at most: 1 GB of Chinese, whose clauses are long words, would take more than 4 GB of memory."""
MAX_WORD_CHARACTERS = 16
"""Longest piece that a token may be learnt within: Chinese has no spaces, and a clause that occurs once teaches nothing."""
SHARE_OF_CHARACTERS = 2 / 3
"""Share of a derived vocabulary that single characters take at most: too few words make long rows."""
DOCUMENT = "<|endoftext|>"
"""Begins each document of a decoder's corpus, as in GPT-2."""
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
UNKNOWN = "<|unk|>"
"""Of decoders' tokenizers that do not spell every text with its bytes."""
DECODER_TOKENS = (DOCUMENT, "<|im_start|>", "<|im_end|>", "<|pad|>")
ENCODER_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
DENOISE_TOKENS = ("<pad>", "</s>", "<unk>", *(f"<extra_id_{i}>" for i in range(100)))
_OF_OBJECTIVE = {"clm": DECODER_TOKENS, "mlm-nsp": ENCODER_TOKENS, "denoise": DENOISE_TOKENS}


def special_tokens(kind: TokenizerKind, objective: str) -> tuple[str, ...]:
    """Those that the objective has need of, and one for what the vocabulary does not hold."""
    tokens = _OF_OBJECTIVE[objective]
    return (*tokens, UNKNOWN) if objective == "clm" and kind != "bpe" else tokens


def train_tokenizer(kind: TokenizerKind, texts: Iterable[str], vocab_size: int, objective: str, at_most: bool = False) -> Tokenizer:
    """Learn a tokenizer.

    Args:
        vocab_size: tokens in all, special ones included; `characters` takes what the text has.
        at_most: take fewer tokens where the text supports no more, and more where the characters that it is written with would not fit.

    Raises:
        DataError: there is no text, too little for a vocabulary of this size, or its characters do not fit into one.
    """
    special = special_tokens(kind, objective)
    full = _characters(texts, special) if kind == "characters" else _learnt(kind, _sample(texts), vocab_size, special, at_most)
    if full.get_vocab_size() <= len(special) + (256 if kind == "bpe" else 0):
        raise DataError("The corpus holds no text to learn a tokenizer from. Check the paths given with `--corpus`.")
    if kind != "characters" and not at_most and full.get_vocab_size() < vocab_size:
        found = full.get_vocab_size()
        raise DataError(f"The corpus supports {found} tokens, not {vocab_size}. Set `vocab_size` to {found} or less, or give more text.")
    return _wrapped(full, objective)


def _learnt(kind: TokenizerKind, texts: Sequence[str], vocab_size: int, special: tuple[str, ...], at_most: bool) -> FastTokenizer:
    if kind != "bpe":  # which spells every character with its bytes
        num_characters = _num_characters(kind, texts)
        least = len(special) + num_characters
        if at_most:
            vocab_size = max(vocab_size, len(special) + math.ceil(num_characters / SHARE_OF_CHARACTERS))
        elif vocab_size < least:
            raise DataError(
                f"The corpus is written with {num_characters:,} characters, more than `vocab_size` = {vocab_size} holds beside {len(special)} "
                f"special tokens. Set it to {least} or more, or `tokenizer=bpe`, which spells them with bytes."
            )
    full, trainer = _KINDS[kind](vocab_size, [AddedToken(t, special=True, normalized=False) for t in special])
    full.train_from_iterator(texts, trainer=trainer)
    return full


def _num_characters(kind: TokenizerKind, texts: Sequence[str]) -> int:
    """How many tokens of one character the trainer needs: WordPiece drops what is white and has those inside of words twice, Unigram marks where
    words begin and ends above its limit."""
    characters = set[str]().union(*(unicodedata.normalize("NFC", text) for text in texts))
    if kind == "unigram":
        return len(characters | {" "}) + 1
    normalized, parted = normalizers.BertNormalizer(lowercase=False, strip_accents=False), pre_tokenizers.BertPreTokenizer()
    inside = set[str]().union(*(word[1:] for text in texts for word, _ in parted.pre_tokenize_str(normalized.normalize_str(text))))
    return sum(not character.isspace() for character in characters) + len(inside)


def _bpe(vocab_size: int, special: list[AddedToken]) -> tuple[FastTokenizer, Any]:
    full = FastTokenizer(models.BPE())
    full.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])  # type: ignore[arg-type]
    full.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return full, trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=special, initial_alphabet=alphabet, show_progress=False, max_token_length=MAX_WORD_CHARACTERS * 3
    )  # type: ignore[call-arg]


def _wordpiece(vocab_size: int, special: list[AddedToken]) -> tuple[FastTokenizer, Any]:
    full = FastTokenizer(models.WordPiece(unk_token=_unknown([token.content for token in special]), max_input_chars_per_word=100))  # type: ignore[call-arg]
    full.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    full.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    full.decoder = decoders.WordPiece()
    # All characters: Chinese writes with thousands of them, and the trainer's default keeps the thousand most frequent.
    return full, trainers.WordPieceTrainer(vocab_size=vocab_size, special_tokens=special, limit_alphabet=vocab_size, show_progress=False)


def _unigram(vocab_size: int, special: list[AddedToken]) -> tuple[FastTokenizer, Any]:
    full = FastTokenizer(models.Unigram())
    full.normalizer = normalizers.NFC()
    full.pre_tokenizer = pre_tokenizers.Metaspace()
    full.decoder = decoders.Metaspace()
    unknown = _unknown([token.content for token in special])
    return full, trainers.UnigramTrainer(vocab_size=vocab_size, special_tokens=special, unk_token=unknown, show_progress=False)  # type: ignore[arg-type]


_KINDS = {"bpe": _bpe, "wordpiece": _wordpiece, "unigram": _unigram}


def _characters(texts: Iterable[str], special: tuple[str, ...]) -> FastTokenizer:
    counted: Counter[str] = Counter()
    for text in texts:
        counted.update(text)
    vocab = {token: i for i, token in enumerate((*special, *sorted(counted)))}
    full = FastTokenizer(models.WordLevel(vocab, unk_token=_unknown(special)))
    full.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    full.decoder = decoders.Fuse()
    full.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    return full


def _unknown(special: Sequence[str]) -> str:
    """The token for what a vocabulary does not hold."""
    return next(token for token in special if "unk" in token.lower())


def _sample(texts: Iterable[str]) -> list[str]:
    """Texts of `MAX_SAMPLE_BYTES` at most, drawn evenly from all: whenever there are too many, half of them go, and half as many are taken on."""
    rng, share, size = random.Random(0), 1.0, 0
    kept: list[str] = []
    for text in texts:
        if share < 1 and rng.random() >= share:
            continue
        kept.append(text)
        size += len(text.encode())
        while size > MAX_SAMPLE_BYTES and len(kept) > 1:
            share /= 2
            kept = [one for one in kept if rng.random() < 0.5]
            size = sum(len(one.encode()) for one in kept)
    return kept


def _wrapped(full: FastTokenizer, objective: str) -> Tokenizer:
    if objective == "clm":
        roles = {} if full.token_to_id(UNKNOWN) is None else {"unk_token": UNKNOWN}
        return Tokenizer(full, eos_token="<|im_end|>", pad_token="<|pad|>", bos_token=DOCUMENT, chat_template=CHATML, roles=roles)
    if objective == "mlm-nsp":
        special = [(token, full.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
        full.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=special
        )
        roles = {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]", "unk_token": "[UNK]"}
        return Tokenizer(full, eos_token="[SEP]", pad_token="[PAD]", bos_token="[CLS]", roles=roles)
    end = [("</s>", full.token_to_id("</s>"))]
    full.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=end)  # type: ignore[assignment]
    return Tokenizer(full, eos_token="</s>", pad_token="<pad>", roles={"unk_token": "<unk>"})
