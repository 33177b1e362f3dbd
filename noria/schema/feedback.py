"""Feedback: what people and environments say of an answer, always bound to its receipt."""

import json
from datetime import datetime
from typing import Any, Literal, Self, get_args

from pydantic import ValidationError

from noria.errors import DataError
from noria.schema.messages import Message, Record, canonical_json

FeedbackKind = Literal["thumb", "score", "comment", "demonstration", "preference", "outcome", "implicit"]
FeedbackRole = Literal["user", "operator", "environment", "system"]


class Feedback(Record):
    """One piece of feedback on the turn `receipt`.

    `value` by kind: thumb bool; score float in 0..1; comment text; demonstration a `Message` of the assistant (what should have been said
    or called; `step` says at which decision of the turn, counted from 0); preference {"chosen", "rejected"} as assistant messages;
    outcome {"success": bool, ...}; implicit {"signal": text, ...}.
    """

    id: str
    receipt: str
    kind: FeedbackKind
    value: Any
    source: str
    """Who or what said it: a user id, an operator's name, an environment's name."""
    role: FeedbackRole
    step: int | None = None
    created_at: datetime

    @classmethod
    def checked(cls, **fields: Any) -> Self:
        """Build from outside input; the value is checked against its kind. Raises DataError."""
        kind: Any = fields.get("kind")
        if kind not in get_args(FeedbackKind):
            raise DataError(f"Feedback `kind` is {kind!r}; allowed: {', '.join(get_args(FeedbackKind))}.", "kind")
        try:
            fields["value"] = _checked_value(kind, fields.get("value"))
            return cls(**fields)
        except DataError as error:
            raise DataError(str(error), "value") from error
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            raise DataError(f"Feedback field `{field}` is {first['input']!r:.80}: {first['msg']}.", field) from error


def _shown(value: Any) -> str:
    """As the client wrote it, at most 80 characters."""
    return f"{json.dumps(value, ensure_ascii=False, default=str):.80}"


def _checked_value(kind: str, value: Any) -> Any:
    if kind == "thumb" and not isinstance(value, bool):
        raise DataError(f"Feedback `value` of kind 'thumb' is true or false, not {_shown(value)}.")
    if kind == "score" and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1):
        raise DataError(f"Feedback `value` of kind 'score' is a number from 0 to 1, not {_shown(value)}.")
    if kind == "comment" and (not isinstance(value, str) or not value.strip()):
        raise DataError("Feedback `value` of kind 'comment' is a text that is not empty.")
    if kind == "demonstration":
        return _assistant_message(value, "value")
    if kind == "preference":
        if not isinstance(value, dict) or set(value) != {"chosen", "rejected"}:
            raise DataError("Feedback `value` of kind 'preference' is an object with `chosen` and `rejected`.")
        pair = {side: _assistant_message(value[side], f"value.{side}") for side in ("chosen", "rejected")}
        if canonical_json(pair["chosen"]) == canonical_json(pair["rejected"]):
            raise DataError("Feedback of kind 'preference' has the same `chosen` and `rejected`.")
        return pair
    if kind == "outcome" and (not isinstance(value, dict) or not isinstance(value.get("success"), bool)):
        raise DataError("Feedback `value` of kind 'outcome' is an object with `success` true or false.")
    if kind == "implicit" and (not isinstance(value, dict) or not isinstance(value.get("signal"), str)):
        raise DataError("Feedback `value` of kind 'implicit' is an object with `signal` as text.")
    try:
        json.dumps(value, allow_nan=False)
    except ValueError as error:
        raise DataError(f"Feedback `value` of kind {kind!r} holds a number that JSON cannot: {error!s:.80}.") from error
    return value


def _assistant_message(value: Any, field: str) -> dict[str, Any]:
    """Text, an OpenAI message or a Message's own dump; kept as an OpenAI assistant message, the form of the task files."""
    if isinstance(value, str):
        value = {"role": "assistant", "content": value}
    message = value if isinstance(value, Message) else Message.from_openai(value)
    if message.role != "assistant" or not (message.content or message.tool_calls):
        raise DataError(f"Feedback `{field}` must be an assistant message with `content` or `tool_calls`.")
    return message.to_openai()
