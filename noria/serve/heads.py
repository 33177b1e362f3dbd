"""`POST /v1/classify` and `/v1/embeddings`: what the tuned folders of `[serve] heads` say of texts, of tokens, or of questions.

In: a text, several, or rows of the task (`{"tokens": [...]}`, `{"question", "context"}`). Out: for each what `noria predict` writes; for labels the
probabilities too, as vLLM's server gives them; and `num_cut`, the tokens that the model did not read. A folder is opened at its first request and
stays open. A request occupies a thread until it is answered, so only `MAX_AT_ONCE` are taken at a time.
"""

import base64
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from noria.data import Example
from noria.data.examples import EXAMPLES
from noria.data.tasks import first_fault, half_of_a_pair
from noria.engine.heads import Classifier, Input, OpenHead, Prediction, open_head
from noria.errors import ServeError
from noria.schema import new_id

MAX_INPUTS, MAX_AT_ONCE = 2048, 8
T = TypeVar("T", str, str | dict[str, Any])


class ClassifyBody(BaseModel):
    """`POST /v1/classify`."""

    model_config = ConfigDict(strict=True, extra="forbid")

    model: str | None = Field(default=None, max_length=256)
    """A name of `[serve] heads`; may be left out where there is one."""
    input: str | dict[str, Any] | list[str | dict[str, Any]]
    """A text, a row of the model's task, or a list of them."""
    user: str | None = Field(default=None, max_length=256)


class EmbeddingsBody(BaseModel):
    """`POST /v1/embeddings`."""

    model_config = ConfigDict(strict=True, extra="forbid")

    model: str | None = Field(default=None, max_length=256)
    """A name of `[serve] heads`; may be left out where there is one."""
    input: str | list[str]
    """A text, or a list of them."""
    encoding_format: Literal["float", "base64"] = "float"
    """base64: the bytes of 32-bit numbers, the lowest first, as OpenAI's clients ask for."""
    dimensions: int | None = None
    """Only the width that the model has."""
    user: str | None = Field(default=None, max_length=256)


class Heads:
    """The tuned folders of a project, by name.

    Args:
        opened: opens a folder, at the first request for it.
    """

    def __init__(self, folders: Mapping[str, str], root: Path, opened: Callable[[Path], OpenHead] = open_head) -> None:
        self._folders = {name: (root / folder).resolve() for name, folder in folders.items()}
        self._open: dict[str, OpenHead] = {}
        self._open_head = opened
        self._opening = {name: threading.Lock() for name in folders}
        self._room = threading.Semaphore(MAX_AT_ONCE)

    def answer(self, body: ClassifyBody | EmbeddingsBody) -> dict[str, Any]:
        """Raises ServeError (400, 404, 429), ArtifactError, ModelError."""
        if not self._room.acquire(blocking=False):
            raise ServeError(f"{MAX_AT_ONCE} requests are being answered; try again in a moment.", 429, "too_many_requests")
        try:
            return self._embeddings(body) if isinstance(body, EmbeddingsBody) else self._answer(body)
        finally:
            self._room.release()

    def _answer(self, body: ClassifyBody) -> dict[str, Any]:
        name = self._name(body.model)
        head = self._opened(name)
        if head.told.task == "embed":
            raise ServeError(f"{name!r} gives vectors; ask it by `POST /v1/embeddings`.", 400, "invalid_value", "model")
        inputs = _inputs(body.input)
        rows = [_row(head.told.task, given, index) for index, given in enumerate(inputs)]
        read = head.reader.inputs(rows)
        num_cut = dict.fromkeys(range(len(rows)), 0)
        for one in read:
            num_cut[one.row] = max(num_cut[one.row], one.num_cut)
        said = head.said(rows, read)
        data = [{"index": index, **one.output, **_probabilities(head, one), "num_cut": num_cut[index]} for index, one in enumerate(said)]
        return {"id": new_id("cls"), "object": "list", "created": int(time.time()), "model": name, "data": data, "usage": _usage(read)}

    def _embeddings(self, body: EmbeddingsBody) -> dict[str, Any]:
        name = self._name(body.model)
        head = self._opened(name)
        if head.told.task != "embed":
            raise ServeError(f"{name!r} was tuned for the task {head.told.task!r}; ask it by `POST /v1/classify`.", 400, "invalid_value", "model")
        inputs = _inputs(body.input)
        rows = [_row("embed", given, index) for index, given in enumerate(inputs)]
        read = head.reader.inputs(rows)
        too_long = next((one.row for one in read if one.num_cut), None)
        if too_long is not None:
            longest = head.reader.cut_field[1]
            raise ServeError(f"`input[{too_long}]` has more than the {longest} tokens that {name!r} reads.", 400, "context_length_exceeded", "input")
        vectors = [np.asarray(one.output["embedding"], dtype=np.float32) for one in head.said(rows, read)]
        width = len(vectors[0])
        if body.dimensions not in (None, width):
            raise ServeError(f"`dimensions` is {body.dimensions}; {name!r} has {width}. Leave it out.", 400, "invalid_value", "dimensions")
        shown = [base64.b64encode(one.tobytes()).decode() if body.encoding_format == "base64" else one.tolist() for one in vectors]
        data = [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(shown)]
        return {"object": "list", "data": data, "model": name, "usage": _usage(read)}

    def _name(self, wanted: str | None) -> str:
        if wanted is None and len(self._folders) == 1:
            return next(iter(self._folders))
        if wanted is None or wanted not in self._folders:
            there = ", ".join(sorted(self._folders)) or "none; name folders of `noria tune` in `[serve] heads`"
            what = "`model` is not given" if wanted is None else f"There is no head {wanted!r:.80}"
            raise ServeError(f"{what}. There are: {there}.", 404, "model_not_found", "model")
        return wanted

    def _opened(self, name: str) -> OpenHead:
        with self._opening[name]:  # the others are not held up while one is loaded
            if name not in self._open:
                self._open[name] = self._open_head(self._folders[name])
            return self._open[name]


def _usage(read: Sequence[Input]) -> dict[str, int]:
    num_tokens = sum(len(one.token_ids) for one in read)
    return {"prompt_tokens": num_tokens, "total_tokens": num_tokens}


def _inputs(given: T | list[T]) -> list[T]:
    inputs = given if isinstance(given, list) else [given]
    if not 0 < len(inputs) <= MAX_INPUTS:
        raise ServeError(f"`input` has {len(inputs)} entries; from 1 to {MAX_INPUTS} are allowed.", 400, "invalid_value", "input")
    return inputs


def _row(task: str, given: str | dict[str, Any], index: int) -> Example:
    if half := half_of_a_pair(given):
        raise ServeError(f"`input[{index}]`: the text holds {half!r}, half of a character pair.", 400, "invalid_value", f"input[{index}]")
    kind = EXAMPLES[task]  # type: ignore[index]
    fields = {"text": given} if isinstance(given, str) else given
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise ServeError(f"`input[{index}]`: {first_fault(error, kind)}", 400, "invalid_value", f"input[{index}]") from error


def _probabilities(head: OpenHead, said: Prediction) -> dict[str, Any]:
    if not isinstance(head.reader, Classifier):
        return {}
    return {"probs": [round(score, 6) for score in said.scores], "num_classes": len(head.reader.labels)}
