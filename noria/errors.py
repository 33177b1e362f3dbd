"""The errors of Noria and the signals of its agent.

    NoriaError
    |-- ConfigError       a project file, a flag or an environment variable is wrong
    |-- DataError         a file, a record or a request breaks its format
    |-- ArtifactError     an artifact is missing, unfinished, corrupt or locked
    |-- StoreError        the database or the disk refuses
    |   `-- PathError     the path given cannot be one
    |-- DependencyError   an optional package or default weights are not installed
    |-- ModelError        a model cannot be read, or cannot do what is asked
    |-- AgentError        the agent cannot go on with a turn
    |-- ServeError        the server refuses a request (carries the HTTP status)
    `-- Interrupted       a person or the system stopped the work; running it again resumes it

A message is one sentence or two: what is wrong with which value, what is allowed, what to run.
Signals are no failures: `ToolRetry` and `ToolFailed` go back to the model as a tool result, `NeedsApproval` to a person.
"""


class NoriaError(Exception):
    """Base of all errors a user can act on; the command line prints the message and leaves with `exit_code`."""

    exit_code = 1


class ConfigError(NoriaError):
    exit_code = 2


class DataError(NoriaError):
    """`field`: the field of the record that is wrong, where one alone is."""

    exit_code = 2

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class ArtifactError(NoriaError):
    pass


class StoreError(NoriaError):
    pass


class PathError(StoreError):
    """A path that nothing can be written to or read from, whatever the disk's state."""

    exit_code = 2


class DependencyError(NoriaError):
    pass


class ModelError(NoriaError):
    pass


class ContextOverflowError(ModelError):
    """The rendered prompt and the room for the answer do not fit the model's context."""

    def __init__(self, prompt_tokens: int, max_tokens: int, context_tokens: int) -> None:
        super().__init__(
            f"The prompt has {prompt_tokens} tokens and the answer may take {max_tokens}, but the model's context holds {context_tokens}. "
            "Send fewer messages, or lower `max_tokens`."
        )
        self.prompt_tokens = prompt_tokens
        self.context_tokens = context_tokens


class AgentError(NoriaError):
    pass


class ServeError(NoriaError):
    def __init__(self, message: str, status: int = 400, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param


class Interrupted(NoriaError):
    pass


class Signal(Exception):
    """Something for the model or a person to deal with; never an error of the run."""


class ToolRetry(Signal):
    """A tool was called wrongly; the text tells the model how to call it."""


class ToolFailed(Signal):
    """A tool was called rightly and could not do it; the text tells the model why."""


class NeedsApproval(Signal):
    """An action waits for a person."""
