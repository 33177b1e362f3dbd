"""One tokenizer for training and serving, read from a GGUF file or a Hugging Face folder, without torch or transformers.

In: a model file or folder. Out: `Tokenizer`, whose `encode` never makes a special token out of text: what a user types is text, whatever it
looks like. Special tokens are put in by id, by the renderer alone. Vocabularies of a kind not known here (SentencePiece in GGUF) are
converted by transformers, which is slow.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as FastTokenizer

from noria.errors import DependencyError, ModelError
from noria.model.gguf_file import GgufField, read_metadata

CONTROL, USER_DEFINED, UNUSED = 3, 4, 5  # kinds of tokens in GGUF
OTHER_ROLES = ("cls_token", "sep_token", "mask_token", "unk_token")
_MAX_PENDING_TOKENS = 8
_QWEN_SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA_SPLIT = _QWEN_SPLIT.replace(r"\p{N}| ?", r"\p{N}{1,3}| ?")


class Tokenizer:
    """Text to token ids and back.

    Args:
        full: the tokenizer with its added tokens.
        eos_token: ends an assistant's turn.
        chat_template: the Jinja template that came with the model, if any.
        roles: other special tokens by the role that transformers knows them by (`cls_token`, `mask_token`).
    """

    def __init__(
        self,
        full: FastTokenizer,
        eos_token: str,
        pad_token: str | None,
        bos_token: str | None = None,
        chat_template: str | None = None,
        roles: Mapping[str, str] | None = None,
    ) -> None:
        self._full = full
        self._roles = dict(roles or {})
        self._added = {token.content: token_id for token_id, token in full.get_added_tokens_decoder().items()}
        self._special_ids = frozenset(i for i, token in full.get_added_tokens_decoder().items() if token.special)
        self._plain = _without_added_tokens(full)
        self.chat_template = chat_template
        self.eos_token, self.bos_token = eos_token, bos_token
        self.eos_id = self.special_id(eos_token)
        self.pad_id = self.special_id(pad_token or eos_token)
        self.bos_id = self.special_id(bos_token) if bos_token else None
        self._encode = lru_cache(maxsize=2048)(self._encode_plain)

    @property
    def vocab_size(self) -> int:
        return self._full.get_vocab_size()

    @property
    def added_tokens(self) -> dict[str, int]:
        """Text of every added token (special ones and others) to its id."""
        return self._added

    @property
    def special_ids(self) -> frozenset[int]:
        return self._special_ids

    def special_id(self, token: str) -> int:
        """Id of a special token. Raises ModelError if the vocabulary has none of this text."""
        token_id = self.token_id(token)
        if token_id is None:
            raise ModelError(f"The tokenizer has no token {token!r}. Name a chat model in `[model] base`.")
        return token_id

    def token_id(self, token: str) -> int | None:
        """Id of what the vocabulary stores as `token`, if it stores it."""
        return self._full.token_to_id(token)

    def role_id(self, role: str) -> int | None:
        """Id of the special token that transformers knows by this role (`cls_token`), if there is one."""
        return self.special_id(self._roles[role]) if role in self._roles else None

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text; text that looks like a special token stays text."""
        return list(self._encode(text))

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Token ids of many plain texts, on all cores."""
        return [encoding.ids for encoding in self._plain.encode_batch_fast(texts, add_special_tokens=False)]

    def encode_with_offsets(self, texts: list[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """Token ids of many plain texts, with the begin and end of each token in characters."""
        return [(encoding.ids, encoding.offsets) for encoding in self._plain.encode_batch(texts, add_special_tokens=False)]

    def decode(self, token_ids: list[int]) -> str:
        """Text of the ids; special tokens are left out."""
        return self._full.decode([i for i in token_ids if i not in self._special_ids], skip_special_tokens=False)

    def token_strings(self) -> list[str]:
        """The vocabulary as stored, by id; grammars are compiled against it."""
        by_id = {token_id: token for token, token_id in self._full.get_vocab(with_added_tokens=True).items()}
        return [by_id.get(i, "") for i in range(max(by_id) + 1)]

    def to_json(self) -> str:
        """The tokenizer as `tokenizer.json` holds it."""
        return self._full.to_str()

    def replaced(self, full: FastTokenizer, chat_template: str | None) -> "Tokenizer":
        """The same roles over another vocabulary and template."""
        return Tokenizer(full, self.eos_token, full.id_to_token(self.pad_id), self.bos_token, chat_template, self._roles)

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` and `tokenizer_config.json` so that transformers reads them too."""
        (folder / "tokenizer.json").write_text(self._full.to_str(pretty=True), encoding="utf-8")
        settings: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": self.eos_token,
            "pad_token": self._full.id_to_token(self.pad_id),
            "clean_up_tokenization_spaces": False,
            **self._roles,
        }
        settings |= {"bos_token": self.bos_token} if self.bos_token else {}
        settings |= {"chat_template": self.chat_template} if self.chat_template else {}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings, ensure_ascii=False, indent=1), encoding="utf-8")

    def _encode_plain(self, text: str) -> tuple[int, ...]:
        return tuple(self._plain.encode(text, add_special_tokens=False).ids)


class IncrementalDecoder:
    """Turns token ids into text as they come; a character that takes several tokens is held back until it is whole."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._context: list[int] = []
        self._pending: list[int] = []

    def push(self, token_ids: list[int] | tuple[int, ...]) -> str:
        """The text that became certain by these ids."""
        self._pending.extend(i for i in token_ids if i not in self._tokenizer.special_ids)
        text = self._pending_text()
        if text.endswith("\N{REPLACEMENT CHARACTER}") and len(self._pending) < _MAX_PENDING_TOKENS:
            return ""
        return self._take(text)

    def flush(self) -> str:
        """What is left at the end; the beginning of a character that never became whole is dropped."""
        text = self._pending_text()
        whole = self._tokenizer.encode(text) == self._pending  # the replacement character itself, as the model wrote it
        return self._take(text if whole else text.rstrip("\N{REPLACEMENT CHARACTER}"))

    def _pending_text(self) -> str:
        if not self._pending:
            return ""
        before = self._tokenizer.decode(self._context)  # some decoders write a token differently at the beginning of a text
        return self._tokenizer.decode(self._context + self._pending)[len(before) :]

    def _take(self, text: str) -> str:
        if self._pending:
            self._context, self._pending = self._pending[-4:], []
        return text


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a GGUF file or a Hugging Face folder. Raises ModelError, DependencyError."""
    return _from_folder(path) if path.is_dir() else _from_gguf(path)


def _from_gguf(path: Path) -> Tokenizer:
    fields = read_metadata(path)

    def get(key: str, default: Any = None) -> Any:
        return fields.get(f"tokenizer.{key}", GgufField(kind=0, item_kind=None, value=default)).value

    tokens: list[str] | None = get("ggml.tokens")
    if not tokens or get("ggml.eos_token_id") is None:
        raise ModelError(f"'{path}' carries no tokenizer. Name a GGUF file made from a chat model in `[model] base`.")
    pre = get("ggml.pre", "gpt-2")
    if get("ggml.model") != "gpt2" or pre not in PRE_TOKENIZERS:
        full = _converted_by_transformers(path)
    else:
        merges = [tuple(merge.split(" ", 1)) for merge in get("ggml.merges", [])]
        kinds, size = get("ggml.token_type", []), len(tokens)
        named = max(get(f"ggml.{role}_token_id") or 0 for role in ("bos", "eos", "padding"))
        while size > named + 1 and kinds[size - 1 : size] == [UNUSED]:  # rows of the embedding that no token has
            size -= 1
        full = byte_level(pre, {token: i for i, token in enumerate(tokens[:size])}, merges)
        full.add_special_tokens([AddedToken(t, special=True, normalized=False) for t, kind in zip(tokens, kinds, strict=False) if kind == CONTROL])
        full.add_tokens([AddedToken(t, special=False, normalized=False) for t, kind in zip(tokens, kinds, strict=False) if kind == USER_DEFINED])
    pad, bos = get("ggml.padding_token_id"), get("ggml.bos_token_id")
    return Tokenizer(
        full,
        eos_token=tokens[get("ggml.eos_token_id")],
        pad_token=tokens[pad] if pad is not None else None,
        bos_token=tokens[bos] if bos is not None else None,
        chat_template=get("chat_template"),
    )


def byte_level(pre: str, vocab: Mapping[str, int], merges: Sequence[tuple[str, ...]]) -> FastTokenizer:
    """A byte-level BPE tokenizer that takes text apart into words as `pre`, llama.cpp's name for it, says."""
    # Llama 3 takes a word that is a token as it is, whatever the merges make of it.
    full = FastTokenizer(models.BPE(vocab=dict(vocab), merges=list(merges), fuse_unk=False, ignore_merges=pre == "llama-bpe"))  # type: ignore[arg-type]
    normalizer, full.pre_tokenizer = PRE_TOKENIZERS[pre]()
    if normalizer is not None:
        full.normalizer = normalizer
    full.decoder = decoders.ByteLevel()
    return full


def _from_folder(path: Path) -> Tokenizer:
    if not (path / "tokenizer.json").is_file():
        raise ModelError(
            f"'{path}' has no tokenizer.json. Save the model's fast tokenizer there (`AutoTokenizer.from_pretrained(...).save_pretrained`)."
        )
    try:
        full = FastTokenizer.from_file(str(path / "tokenizer.json"))
        full.no_padding()  # sentence encoders' files pad and cut every text to 128 tokens
        full.no_truncation()
        settings = json.loads((path / "tokenizer_config.json").read_text(encoding="utf-8")) if (path / "tokenizer_config.json").is_file() else {}
    except Exception as error:  # tokenizers raises bare Exception
        raise ModelError(f"The tokenizer in '{path}' cannot be read: {error}.") from error
    template = settings.get("chat_template")
    if template is None and (path / "chat_template.jinja").is_file():
        template = (path / "chat_template.jinja").read_text(encoding="utf-8")
    if isinstance(template, list):
        template = next((t["template"] for t in template if t.get("name") == "default"), None)

    def text_of(name: str) -> str | None:
        token = settings.get(name)
        return token.get("content") if isinstance(token, dict) else token

    eos = text_of("eos_token") or text_of("sep_token")
    if eos is None:
        raise ModelError(f"'{path / 'tokenizer_config.json'}' names no `eos_token`, and no `sep_token`.")
    roles = {role: token for role in OTHER_ROLES if (token := text_of(role))}
    return Tokenizer(full, eos_token=eos, pad_token=text_of("pad_token"), bos_token=text_of("bos_token"), chat_template=template, roles=roles)


def _converted_by_transformers(path: Path) -> FastTokenizer:
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise DependencyError(f"The tokenizer in '{path}' must be converted by transformers: run `make install` in the clone of Noria.") from error
    try:
        return AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name).backend_tokenizer
    except Exception as error:  # whatever the converter stumbles over
        raise ModelError(f"The tokenizer in '{path}' is of a kind that cannot be read: {error}.") from error


def _without_added_tokens(full: FastTokenizer) -> FastTokenizer:
    """The same tokenizer, which makes a special token of no text but what is unknown to it."""
    settings = json.loads(full.to_str())
    added = settings["added_tokens"]
    settings["added_tokens"] = []
    settings["post_processor"] = None
    if settings["model"].get("ignore_merges"):
        # A word that the vocabulary holds is taken as it is: those that no merge makes were never pieces of text.
        pieces = {"".join(merge.split(" ") if isinstance(merge, str) else merge) for merge in settings["model"]["merges"]}
        for token in added:
            if token["content"] not in pieces and len(token["content"]) > 1:
                settings["model"]["vocab"].pop(token["content"], None)
    if settings["model"]["type"] == "Unigram":
        # Its special tokens are pieces like others, at the best score there is. A piece without characters is found in no text.
        for token_id in (token["id"] for token in added if token["special"]):
            if token_id < len(settings["model"]["vocab"]):
                settings["model"]["vocab"][token_id][0] = ""
    return FastTokenizer.from_str(json.dumps(settings))


def _split(pattern: str) -> pre_tokenizers.PreTokenizer:
    parts = [pre_tokenizers.Split(Regex(pattern), behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    return pre_tokenizers.Sequence(parts)  # type: ignore[arg-type]


def _gpt2_layout() -> tuple[Any, pre_tokenizers.PreTokenizer]:
    return None, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _smollm_layout() -> tuple[Any, pre_tokenizers.PreTokenizer]:
    parts = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    return None, pre_tokenizers.Sequence(parts)  # type: ignore[arg-type]


def _qwen_layout() -> tuple[Any, pre_tokenizers.PreTokenizer]:
    return normalizers.NFC(), _split(_QWEN_SPLIT)


def _llama_layout() -> tuple[Any, pre_tokenizers.PreTokenizer]:
    return None, _split(_LLAMA_SPLIT)


PRE_TOKENIZERS = {"smollm": _smollm_layout, "gpt-2": _gpt2_layout, "default": _gpt2_layout, "qwen2": _qwen_layout, "llama-bpe": _llama_layout}
