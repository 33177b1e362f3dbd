"""`generate` of transformers behind HTTP: what arrives together is one batch with left padding. Runs in an environment of its own.

A batch is answered to its end before the next one begins; the end-of-text token is ignored, so that all answers are equally long. Only what
the benchmark's client sends is understood: greedy, streamed chat completions.
"""

import argparse
import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from tokenizers.decoders import DecodeStream
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.generation.streamers import BaseStreamer

GATHER_SECONDS = 0.05

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--dtype", required=True)
arguments = parser.parse_args()
model: Any = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=arguments.dtype).eval()
tokenizer: Any = AutoTokenizer.from_pretrained(arguments.model, padding_side="left")
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
app = FastAPI()
waiting: list[tuple[dict[str, Any], asyncio.Queue[str | None]]] = []
arrived = asyncio.Event()


class Rows(BaseStreamer):
    """Hands each row's new text to the queue of its request."""

    def __init__(self, queues: list[asyncio.Queue[str | None]], loop: asyncio.AbstractEventLoop) -> None:
        self.queues, self.loop = queues, loop
        self.decoders = [DecodeStream(skip_special_tokens=True) for _ in queues]
        self.is_prompt = True

    def put(self, value: torch.Tensor) -> None:
        if self.is_prompt:
            self.is_prompt = False
            return
        for queue, decoder, token_id in zip(self.queues, self.decoders, value.tolist(), strict=True):
            self.loop.call_soon_threadsafe(queue.put_nowait, decoder.step(tokenizer._tokenizer, token_id) or "")

    def end(self) -> None:
        for queue in self.queues:
            self.loop.call_soon_threadsafe(queue.put_nowait, None)


def generate(batch: list[tuple[dict[str, Any], asyncio.Queue[str | None]]], loop: asyncio.AbstractEventLoop) -> None:
    chats = [body["messages"] for body, _ in batch]
    inputs = tokenizer.apply_chat_template(chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True)
    length = max(body["max_tokens"] for body, _ in batch)
    with torch.inference_mode():
        model.generate(**inputs, max_new_tokens=length, min_new_tokens=length, do_sample=False, streamer=Rows([q for _, q in batch], loop))


async def work() -> None:
    while True:
        await arrived.wait()
        await asyncio.sleep(GATHER_SECONDS)
        arrived.clear()
        batch, waiting[:] = list(waiting), []
        await asyncio.to_thread(generate, batch, asyncio.get_running_loop())


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/v1/chat/completions")
async def complete(request: Request) -> StreamingResponse:
    body = await request.json()
    queue: asyncio.Queue[str | None] = asyncio.Queue()
    waiting.append((body, queue))
    arrived.set()
    return StreamingResponse(stream(body, queue), media_type="text/event-stream")


async def stream(body: dict[str, Any], queue: asyncio.Queue[str | None]) -> AsyncIterator[str]:
    num_tokens = 0
    while (text := await queue.get()) is not None:
        num_tokens += 1
        yield f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': text}}]})}\n\n"
    prompt = len(tokenizer.apply_chat_template(body["messages"], add_generation_prompt=True, return_dict=True)["input_ids"])
    yield f"data: {json.dumps({'choices': [], 'usage': {'prompt_tokens': prompt, 'completion_tokens': num_tokens}})}\n\n"
    yield "data: [DONE]\n\n"


async def main() -> None:
    worker = asyncio.create_task(work())
    await uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=arguments.port, log_level="warning")).serve()
    worker.cancel()


asyncio.run(main())
