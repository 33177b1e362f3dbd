"""The three engines pass one conformance suite on the embedded model."""

from collections.abc import Callable, Iterator, Sequence

import pytest

from noria.engine import OpenVINOGenerator, RemoteGenerator, TransformersGenerator
from noria.model import BaseModel, exact_gguf, load_for_training, resolve
from noria.schema import GenerationRequest, Message
from noria.testing.generator_suite import CHECKS, Subject
from noria.testing.openai_server import openai_server

Teacher = Callable[[Sequence[int], Sequence[int]], list[float]]


@pytest.fixture(scope="module")
def weights() -> BaseModel:
    """The embedded model as it is served."""
    return BaseModel(name="embedded", kind="gguf", path=exact_gguf(resolve("smollm2-135m").path))


@pytest.fixture(scope="module")
def reference(weights: BaseModel) -> object:
    return load_for_training(weights)[0]


@pytest.fixture(scope="module")
def teacher(reference) -> Teacher:
    import torch

    def logprobs(prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
        with torch.inference_mode():
            logits = reference(input_ids=torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
        return logits.log_softmax(-1).gather(1, torch.tensor([list(answer)]).T).flatten().tolist()

    return logprobs


@pytest.fixture(scope="module")
def openvino(weights: BaseModel, teacher: Teacher) -> Iterator[Subject]:
    with OpenVINOGenerator(weights.path) as generator:
        yield Subject(generator=generator, teacher=teacher, tolerance=1e-3, tokens=12)


@pytest.fixture(scope="module")
def transformers(weights: BaseModel, reference, teacher: Teacher) -> Subject:
    # One step at a time, unbatched: short answers keep the suite quick.
    return Subject(generator=TransformersGenerator(weights, model=reference), teacher=teacher, tolerance=1e-3, tokens=6)


@pytest.fixture(scope="module")
def remote(openvino: Subject) -> Iterator[Subject]:
    with openai_server(openvino.generator) as server, RemoteGenerator(server.url, "embedded") as generator:
        yield Subject(generator=generator, tokens=12)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("engine", ["openvino", "transformers", "remote"])
def test_conformance(engine: str, check: Callable[[Subject], None], request: pytest.FixtureRequest) -> None:
    check(request.getfixturevalue(engine))


def test_openvino_agrees_with_transformers(openvino: Subject, transformers: Subject) -> None:
    request = GenerationRequest(messages=(Message(role="user", content="What is the capital of France?"),), max_tokens=8)
    assert openvino.generator.generate(request).token_ids == transformers.generator.generate(request).token_ids
