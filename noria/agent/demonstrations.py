"""A demonstration's calls, held against the tools that its turn had: what is learnt from must be a call that the agent could have made.

In: a receipt and the value of a piece of feedback. Out: nothing, or an error that says what the tool takes. A tool of the project takes what it
takes when it is run and its schema allows, which decisions are made by; one that a client brought with its request is held to its own schema,
as far as that can be read here.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time
from functools import partial
from pathlib import Path
from typing import Any

from jsonschema import Draft4Validator, Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.validators import extend

from noria.agent.tools import Toolbox
from noria.errors import ConfigError, DataError, ToolRetry
from noria.schema import Message, ToolSpec, canonical_json
from noria.store import Traces


class UnknownToolError(DataError):
    """The turn had no tool of this name."""


def project_tools(path: Path) -> Toolbox:
    """The tools of the file at `path`; none where it is missing or broken: what people say is kept all the same."""
    try:
        return Toolbox.load(path)
    except ConfigError:
        return Toolbox()


def check_demonstration(traces: Traces, toolbox: Toolbox, receipt: str, value: Any) -> None:
    """Refuse calls that the agent could not have made in this turn; whether `value` is a message at all is the store's to say.

    Args:
        toolbox: the project's own tools.

    Raises:
        DataError: naming the tool and its argument; `UnknownToolError` for a tool that the turn did not have.
    """
    if not isinstance(value, dict):
        return
    calls = Message.from_openai(value).tool_calls
    shown = [step.inputs.get("tools") for step in traces.steps(receipt) if step.kind == "model"] if calls else []
    if not shown or not isinstance(shown[-1], str):
        return
    known = {spec.name: spec for spec in traces.tools(shown[-1])}
    for call in calls:
        if call.name not in known:
            raise UnknownToolError(f"The agent had no tool {call.name!r:.80} here; it had: {', '.join(known) or 'none'}.")
        _check_arguments(toolbox, known[call.name], call.arguments)


def _check_arguments(toolbox: Toolbox, tool: ToolSpec, arguments: Mapping[str, Any]) -> None:
    own = toolbox.get(tool.name)
    if own is None or own.spec.parameters != tool.parameters:
        wrong = _fault(_plain(tool.parameters), arguments, _MAX_WORK)
    else:
        try:
            own.signature.checked(tool.name, arguments)
            # A tool that is run takes "2" for 2; the grammar of decisions never writes it, so no agent could learn to call the tool like this.
            wrong = _fault(tool.parameters, arguments)
        except ToolRetry as retry:
            wrong = str(retry)
    if wrong is not None:
        raise DataError(f"`{tool.name}` does not take these arguments: {wrong}")


def _fault(schema: Mapping[str, Any], arguments: Mapping[str, Any], max_work: int | None = None) -> str | None:
    """What the schema forbids, an optional argument that is null aside; None also where it is more work than `max_work` to say."""
    required = schema.get("required", ())
    given = {name: value for name, value in arguments.items() if value is not None or name in required}
    try:
        if max_work is not None and len(canonical_json(schema)) * len(canonical_json(given)) > max_work:
            return None
        error = best_match(_Validator(schema, format_checker=_FORMATS).iter_errors(given))
    except RecursionError:
        return None
    return None if error is None else "".join(f"`{part}`: " for part in error.path) + f"{error.message:.200}."


def _plain(schema: Any, depth: int = 0) -> Any:
    """What can be checked of a schema that a client wrote, whatever it wrote: a place that says anything beyond it takes any value."""
    if isinstance(schema, bool):
        return schema
    readable = depth <= _MAX_DEPTH and isinstance(schema, dict)
    if not readable or not all(key in _UNCHECKED or (key in _CHECKED and _CHECKED[key](value)) for key, value in schema.items()):
        return {}
    plain = {key: value for key, value in schema.items() if key in _CHECKED}
    for key in {"items", "additionalProperties"} & plain.keys():
        plain[key] = _plain(plain[key], depth + 1)
    if "properties" in plain:
        plain["properties"] = {name: _plain(value, depth + 1) for name, value in plain["properties"].items()}
    return plain


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _is_type(value: Any) -> bool:
    return isinstance(value, str) and value in Draft4Validator.META_SCHEMA["definitions"]["simpleTypes"]["enum"]


def _are(item: Callable[[Any], bool], value: Any) -> bool:
    return isinstance(value, list) and all(map(item, value))


def _formats() -> FormatChecker:
    """Dates and times as tools of a project take them; jsonschema's own need a package more, and know no time without a zone."""
    checker = FormatChecker(())
    readers: dict[str, Callable[[str], object]] = {"date": date.fromisoformat, "time": time.fromisoformat, "date-time": datetime.fromisoformat}
    for name, read in readers.items():
        checker.checks(name, raises=ValueError)(partial(_is_read, read))
    return checker


def _is_read(read: Callable[[str], object], value: object) -> bool:
    return not isinstance(value, str) or read(value) is not None


def _unheeded(*_: Any) -> Iterator[ValidationError]:
    yield from ()


_MAX_WORK = 10_000_000
"""Characters of a client's schema times characters of the arguments: what is larger could keep the server busy for long."""
_MAX_DEPTH = 50
_UNCHECKED = frozenset(
    {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment", "$schema", "$defs", "definitions"}
)
"""Keywords that forbid nothing by themselves."""
_CHECKED: dict[str, Callable[[Any], bool]] = {
    "type": lambda value: _is_type(value) or (bool(value) and _are(_is_type, value)),
    "const": lambda _: True,
    "enum": lambda value: isinstance(value, list),
    "required": partial(_are, lambda item: isinstance(item, str)),
    "properties": lambda value: isinstance(value, dict),
    "items": lambda value: isinstance(value, dict | bool),
    "additionalProperties": lambda value: isinstance(value, dict | bool),
    "format": lambda value: isinstance(value, str),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems"), _is_number),
}
"""Keywords whose check takes time in proportion and cannot fail, with the values that they take. Beyond them stand references and combinations
(which a few lines make endless), patterns, `uniqueItems` (quadratic) and `multipleOf` (which overflows)."""
_FORMATS = _formats()
_Validator = extend(
    Draft202012Validator,
    dict.fromkeys(("pattern", "patternProperties", "multipleOf", "uniqueItems"), _unheeded),
    type_checker=Draft4Validator.TYPE_CHECKER,  # 2.0 is no integer: the grammar of decisions does not write it either
)
"""For a schema of the project, whose tool has already held to what is left out here: patterns are another language's, the rest is slow or fails
on huge values."""
