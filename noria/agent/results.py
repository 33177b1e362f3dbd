"""What a tool returned, as the text a model reads: compact JSON, capped with a note of what was left out."""

import json
from dataclasses import asdict, is_dataclass
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel


def render_result(value: Any, max_characters: int) -> str:
    """Compact text of a tool's return value; a text stays as it is, nothing becomes "done".

    Over `max_characters` the end is left out and the text says how much: of a list whole items, of everything else characters.

    Raises:
        TypeError: the value is not JSON-able; the message names the type.
    """
    if value is None:
        return "done"
    text = value if isinstance(value, str) else _compact(value)
    if len(text) <= max_characters:
        return text
    if isinstance(value, list | tuple):
        return _capped_list(list(value), max_characters)
    return f"{text[:max_characters]} [cut: {len(text) - max_characters} of {len(text)} characters left out]"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain, allow_nan=False)


def _capped_list(items: list[Any], max_characters: int) -> str:
    parts: list[str] = []
    size = 2
    for item in items:
        part = _compact(item)
        if parts and size + len(part) + 1 > max_characters:
            break
        if not parts and len(part) > max_characters:
            part = json.dumps(f"{part[:max_characters]} [cut: {len(part) - max_characters} characters left out]", ensure_ascii=False)
        parts.append(part)
        size += len(part) + 1
    note = f" [cut: {len(items) - len(parts)} of {len(items)} items left out]" if len(parts) < len(items) else ""
    return f"[{','.join(parts)}]{note}"


def _plain(value: Any) -> Any:
    """JSON-able form of the types tools like to return."""
    if isinstance(value, time):
        return value.strftime("%H:%M") if not value.second else value.isoformat()
    if isinstance(value, datetime):
        return value.isoformat(timespec="minutes" if not value.second else "seconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, BaseModel):
        return value.model_dump()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"`{type(value).__name__}` is not JSON-able")
