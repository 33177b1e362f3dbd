"""The three engines pass one conformance suite on the embedded model."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from noria.engine import OpenVINOGenerator, RemoteGenerator, TransformersGenerator
from noria.engine.openvino_process import EngineProcess
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


def test_openvino_answers_the_same_when_prompts_begin_alike(openvino: Subject) -> None:
    """Nobody has read the long system prompt when all of them ask; one reads it for the others."""
    system = Message(role="system", content=" ".join(f"Rule {number}: be brief, and be kind." for number in range(30)))
    requests = [
        GenerationRequest(messages=(system, Message(role="user", content=f"Tell me about the number {number}.")), max_tokens=8) for number in range(4)
    ]
    with ThreadPoolExecutor(len(requests)) as pool:
        together = [generation.token_ids for generation in pool.map(openvino.generator.generate, requests)]
    assert together == [openvino.generator.generate(request).token_ids for request in requests]


def test_openvino_goes_on_when_the_prompt_others_wait_for_is_cancelled(weights: BaseModel) -> None:
    settings = {"gguf": str(weights.path), "device": "CPU", "properties": {"INFERENCE_NUM_THREADS": 1}, "cache_gb": 1, "max_concurrent": 4}
    process = EngineProcess({**settings, "max_batched_tokens": 64, "prefix_caching": True, "stop_ids": [0], "eos_id": 0})
    asked = {"max_tokens": 1, "temperature": 0.0, "top_p": 1.0, "seed": 0, "grammar": None}
    shared = list(range(100, 700))
    try:
        reading = process.add({**asked, "prompt": [*shared, 1]})
        waiting = [process.add({**asked, "prompt": [*shared, 2 + number]}) for number in range(2)]
        waiting[0].cancel()
        reading.cancel()
        token_ids, _, end = waiting[1].get()
        assert (len(token_ids), end) == (1, "length")
    finally:
        process.close()
