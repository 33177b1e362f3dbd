"""Tools: the plain typed functions of a project that the model may call.

In: `tools.py` of a project, whose functions carry `@tool`. Out: a `Toolbox` with the schemas the model sees and a checked `call`.

    @tool(effect="writes")
    def book_table(date: date, time: time, guests: int, ctx: ToolContext) -> dict[str, str]:
        '''Book a table

        Args:
            guests: How many people eat.
        '''

A tool that changes something takes a `ToolContext` and does its work once for each `ctx.idempotency_key`: after a kill it is run again with
the same key. Not covered: killing a tool that hangs (its thread is left behind and the model is told that the outcome is unknown).
"""

import contextvars
import importlib.util
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, overload

from noria.agent.results import render_result
from noria.agent.signature import Signature, read_signature
from noria.errors import ConfigError, DataError, NeedsApproval, ToolFailed, ToolRetry
from noria.schema import ToolSpec
from noria.schema.messages import Effect

log = logging.getLogger(__name__)
EFFECTS = ("reads", "writes", "sends", "pays")
_MARK = "__noria_tool__"
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class ToolContext:
    """What a tool may know besides its arguments; injected into the parameter annotated with this type."""

    state_dir: Path
    """The folder the tool keeps its world in."""
    idempotency_key: str
    """The same for every run of the same step: a tool that finds it already done returns what it returned then."""
    today: date
    conversation_id: str = ""
    user_id: str = ""
    language: str = "en"
    """Language of the user: en or zh."""


@dataclass(frozen=True, kw_only=True)
class ToolOptions:
    """What `@tool` was given."""

    effect: Effect = "reads"
    confirm: bool = False
    """Whether the user must say yes to each call first."""
    timeout_seconds: float = 30.0
    max_result_characters: int = 2000
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class ToolResult:
    """What goes back to the model. `state` done: it happened; retry: called wrongly; failed: could not be done; unknown: nobody knows."""

    state: Literal["done", "retry", "failed", "unknown"]
    content: str


@dataclass(frozen=True)
class Tool:
    """One function with its schema and options."""

    function: Callable[..., Any]
    options: ToolOptions
    signature: Signature
    spec: ToolSpec = field(init=False)

    def __post_init__(self) -> None:
        name = self.options.name or self.function.__name__
        spec = ToolSpec(name=name, description=self.signature.description, parameters=self.signature.schema, effect=self.options.effect)
        try:
            spec.check_name()
        except DataError as error:
            raise ConfigError(f"`{self.function.__name__}`: {error}") from error
        object.__setattr__(self, "spec", spec)

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def repeatable(self) -> bool:
        """Whether a call whose outcome is unknown may be run again with the same key: it only reads, or it takes the key."""
        return self.options.effect == "reads" or self.signature.context_name is not None


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(
    *, effect: Effect = "reads", confirm: bool = False, timeout_seconds: float = 30.0, max_result_characters: int = 2000, name: str | None = None
) -> Callable[[F], F]: ...
def tool(function: Any = None, /, **options: Any) -> Any:
    """Mark a function as a tool; it stays the plain function it was.

    Args:
        function: the function, when the decorator stands without brackets.
        options: fields of `ToolOptions`: effect (reads, writes, sends, pays), confirm, timeout_seconds, max_result_characters, name.
    """
    if options.get("effect", "reads") not in EFFECTS:
        raise ConfigError(f"`@tool(effect=...)` is {options['effect']!r}; allowed: {', '.join(EFFECTS)}.")

    def mark(marked: Any) -> Any:
        setattr(marked, _MARK, ToolOptions(**options))
        return marked

    return mark if function is None else mark(function)


class Toolbox:
    """The tools of a project, by name, in the order of the file."""

    def __init__(self, functions: Iterable[Callable[..., Any]] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        for function in functions:
            made = Tool(function, getattr(function, _MARK, ToolOptions()), read_signature(function, ToolContext))
            if made.name in self._tools:
                raise ConfigError(f"Two tools are called `{made.name}`; rename one, or give it another name with `@tool(name=...)`.")
            self._tools[made.name] = made

    @classmethod
    def load(cls, path: Path) -> Self:
        """The functions of the file at `path` that carry `@tool`; imported and private ones are none. Raises ConfigError."""
        module = _imported(path)
        functions = [f for f in vars(module).values() if hasattr(f, _MARK) and getattr(f, "__module__", None) == module.__name__]
        private = [f for f in functions if f.__name__.startswith("_")]
        if private:
            raise ConfigError(f"{path}: `{private[0].__name__}` is private and cannot be a tool. Rename it, or take `@tool` away.")
        if not functions:
            raise ConfigError(f"{path} has no tool. Write `@tool` above each function the model may call (`from noria.agent import tool`).")
        return cls(functions)

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        return tuple(made.spec for made in self._tools.values())

    def get(self, name: str) -> Tool | None:
        return self._tools.get(name)

    def check(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Python values for the arguments of a call. Raises ToolRetry naming what is wrong and what is allowed."""
        made = self._tools.get(name)
        if made is None:
            raise ToolRetry(f"There is no tool `{name}`; the tools are: {', '.join(self._tools) or 'none'}.")
        return made.signature.checked(name, arguments)

    def call(self, name: str, arguments: Mapping[str, Any], ctx: ToolContext) -> ToolResult:
        """Check the arguments, run the tool, and say what happened; never raises for what a tool or a model does wrong."""
        try:
            values = self.check(name, arguments)
        except ToolRetry as retry:
            return ToolResult(state="retry", content=str(retry))
        made = self._tools[name]
        if made.signature.context_name:
            values[made.signature.context_name] = ctx
        return _run(made, values)


def _run(made: Tool, values: dict[str, Any]) -> ToolResult:
    """Run the function in a thread of its own, so that one that hangs does not stop the conversation."""
    outcome: list[ToolResult] = []
    context = contextvars.copy_context()
    thread = threading.Thread(target=lambda: outcome.append(context.run(_guarded, made, values)), name=f"tool-{made.name}", daemon=True)
    thread.start()
    thread.join(made.options.timeout_seconds)
    if outcome:
        return outcome[0]
    log.error("Tool `%s` did not end within %g seconds; its thread is left behind.", made.name, made.options.timeout_seconds)
    if made.options.effect == "reads":
        return ToolResult(state="failed", content=f"`{made.name}` did not answer within {made.options.timeout_seconds:g} seconds.")
    return ToolResult(
        state="unknown", content=f"`{made.name}` did not answer within {made.options.timeout_seconds:g} seconds; whether it happened is unknown."
    )


def _guarded(made: Tool, values: dict[str, Any]) -> ToolResult:
    try:
        return ToolResult(state="done", content=render_result(made.function(**values), made.options.max_result_characters))
    except ToolRetry as retry:
        return ToolResult(state="retry", content=str(retry) or f"`{made.name}` was called wrongly.")
    except (ToolFailed, NeedsApproval) as failed:
        return ToolResult(state="failed", content=str(failed) or f"`{made.name}` could not be done.")
    except BaseException as error:  # a tool is foreign code: whatever it raises is told safely and logged in full
        log.exception("Tool `%s` raised %s.", made.name, type(error).__name__)
        return ToolResult(state="failed", content=f"`{made.name}` failed because of an internal error.")


def _imported(path: Path) -> Any:
    """The module of a project's file, under a name of its own so that two projects do not meet."""
    if not path.is_file():
        raise ConfigError(f"No tools file at '{path}'. Write one, or run `noria new DIR --template front-desk`.")
    name = f"noria_project_tools_{sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"'{path}' is no Python file; tools stand in `tools.py`.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and type hints look their module up
    try:
        spec.loader.exec_module(module)
    except ConfigError as error:
        sys.modules.pop(name, None)
        raise ConfigError(f"{path}: {error}") from error
    except Exception as error:
        sys.modules.pop(name, None)
        line = _line_of(error, path)
        raise ConfigError(f"{path}:{line}: the tools file cannot be loaded: {type(error).__name__}: {error}.") from error
    return module


def _line_of(error: Exception, path: Path) -> int:
    """The last line of the project's own file in the traceback."""
    if isinstance(error, SyntaxError) and error.lineno:
        return error.lineno
    line, frame = 0, error.__traceback__
    while frame is not None:
        if Path(frame.tb_frame.f_code.co_filename) == path:
            line = frame.tb_lineno
        frame = frame.tb_next
    return line
