"""What a request may say, and the sentence for each thing it may not."""

import pytest
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from noria.errors import ServeError
from noria.serve.problems import _field_error
from noria.serve.wire import ChatBody, ChatRequest, read_chat

HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


def read(**fields: object) -> ChatRequest:
    try:
        return read_chat(ChatBody.model_validate({"model": "desk", "messages": HELLO, **fields}))
    except ValidationError as error:
        raise _field_error(RequestValidationError(error.errors())) from error


def test_defaults_leave_sampling_to_the_agent() -> None:
    request = read()
    assert (request.temperature, request.top_p, request.seed, request.max_tokens, request.stream) == (None, None, None, None, False)
    assert request.user_id == "anonymous"
    assert not request.own_model_call


def test_either_name_of_the_token_limit_is_read() -> None:
    assert read(max_tokens=5).max_tokens == 5
    assert read(max_completion_tokens=6).max_tokens == 6
    assert read(max_completion_tokens=6, max_tokens=6).max_tokens == 6


def test_a_named_function_narrows_the_tools_and_requires_a_call() -> None:
    other = {"type": "function", "function": {"name": "other"}}
    request = read(tools=[TOOL, other], tool_choice={"type": "function", "function": {"name": "look"}})
    assert [tool.name for tool in request.tools] == ["look"]
    assert request.tool_choice == "required"
    assert request.own_model_call


def test_response_formats() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert read(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}).response_schema == schema
    assert read(response_format={"type": "json_object"}).response_schema == {"type": "object"}
    assert read(response_format={"type": "text"}).response_schema is None


def test_developer_messages_are_system_messages() -> None:
    assert read(messages=[{"role": "developer", "content": "Be brief."}, *HELLO]).messages[0].role == "system"


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"temperature": 3}, "temperature", "less than or equal to 2"),
        ({"temperature": "hot"}, "temperature", '"hot"'),
        ({"temprature": 0.5}, "temprature", "unknown"),
        ({"n": 2}, "n", "not supported"),
        ({"messages": []}, "messages", "at least one"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0]", "role"),
        ({"messages": [*HELLO, {"role": "assistant", "content": "Hi"}]}, "messages", "assistant"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages[0]", "text parts"),
        ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "max_completion_tokens", "differ"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "one to four"),
        ({"stop": ""}, "stop", "none empty"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "`stream` true"),
        ({"stream": True, "stream_options": {"usage": True}}, "stream_options.usage", "unknown"),
        ({"tools": [{"type": "function"}]}, "tools[0]", "tools[0]"),
        ({"tools": [{"type": "function", "function": {"name": "book a table"}}]}, "tools[0]", "no space; 'book a table' is none"),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools[0]", "1 to 128 characters"),
        ({"tool_choice": "required"}, "tool_choice", "empty"),
        ({"tools": [TOOL], "tool_choice": "sometimes"}, "tool_choice", "auto, required, none"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "gone"}}}, "tool_choice", "'gone'"),
        ({"response_format": {"type": "yaml"}}, "response_format", "json_schema"),
        ({"response_format": {"type": "json_object"}, "tools": [TOOL]}, "response_format", "exclude"),
        ({"frequency_penalty": 0.5}, "frequency_penalty", "not supported"),
        ({"logit_bias": {"5": 1.0}}, "logit_bias", "not supported"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, object], param: str, words: str) -> None:
    with pytest.raises(ServeError, match=".") as caught:
        read(**fields)
    assert caught.value.status == 400
    assert caught.value.param == param
    assert words in str(caught.value)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ValidationError) as caught:
        ChatBody.model_validate({"messages": HELLO})
    error = _field_error(RequestValidationError(caught.value.errors()))
    assert (error.param, error.code, str(error)) == ("model", "missing_required_parameter", "Field `model` is missing.")
