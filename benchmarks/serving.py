"""Many chats at once: `noria serve` beside llama.cpp's server and `transformers serve`, the same weights, prompts and client.

    python benchmarks/serving.py [--rounds 3] [--chats 16] [--tokens 64]

Users who share a system prompt and differ in their history ask at the same moment; each then asks a second question (the warm line, where
what was read before can help). Measured by the client over HTTP: generated tokens a second of all chats together, and the time to the first
token. Servers run one at a time and start anew in every round, interleaved; figures are medians over the rounds. A rival that can run in
several ways runs in all of them, and the best of each figure counts; Noria runs as it comes and, where the processor has bf16, with
`[engine] cache_precision = "bf16"`, each with ratios of its own.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from _harness import print_figures, rival_python, write_results

from noria.model import exact_gguf, plain_checkpoint, resolve
from noria.testing.project import write_small_project

Chat = list[dict[str, str]]
START_SECONDS = 180.0
CONTEXT_TOKENS = 2048  # of one chat
SYSTEM = """\
You are the front desk of the Hotel Aurora in Lindau, a house of forty rooms at the lake. You answer guests by chat, in their language, and \
you are friendly, precise and never in a hurry.

The house. Single rooms cost 98 euros a night, double rooms 142, the two suites with a terrace 230. Breakfast is served from 7:00 to 10:30 \
in the winter garden and is part of every price; who leaves earlier gets a bag, if the desk hears of it before 20:00. Rooms are ready from \
15:00 and are given back by 11:00; luggage can stay with us until the evening. The sauna is open from 16:00 to 22:00, the boat house from May \
to September. Bicycles are lent for 15 euros a day, for children for 8. A place in the garage costs 12 euros a night and has to be booked, \
because there are only eighteen.

The restaurant. Dinner is from 18:00 to 21:30, on Sundays until 20:30, and the kitchen is closed on Mondays. The menu changes each week; there \
are always two dishes without meat and one without gluten.

Bookings. A booking needs a name, the day of arrival, the number of nights and of guests, and a telephone number. It can be cancelled without \
cost until 18:00 on the day before arrival; later we charge the first night. Changes are possible at any time if there is room. We do not take \
card numbers by chat: guests pay at the desk, by card or in cash, or get a link by mail.

How you answer. Say first what the guest asked for, then what else they should know. Repeat days with their weekday, times with hours and \
minutes, and prices with their currency. If something is not written here, say that you will ask and come back to it; never invent an offer, a \
price or a time. If a guest is angry, say what you can do now, and by when the rest will be done. Complaints about noise, heating or water go \
to the night porter at once, with the number of the room. Never tell anybody who stays in the house or in which room."""
GUESTS = ("Anna", "Bernard", "Chiara", "Daniel", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Katya", "Liam", "Mei", "Noor", "Oskar", "Paula")
PLACES = ("Bregenz", "Ulm", "St. Gallen", "Munich")
FIRST = "Hello, this is {name}. We are {guests} people and will arrive in {month} from {place}, for {nights} nights. Is breakfast included?"
FIRST_ANSWER = "Good day, {name}! Yes: breakfast is part of every price, from 7:00 to 10:30 in the winter garden, for all {guests} of you."
SECOND = "Good. We come with {bicycles} bicycles and a car. Where do we put them, and what does the garage cost for the {nights} nights?"
SECOND_ANSWER = "The bicycles stand in the boat house free of charge. The garage is 12 euros a night, {cost} euros for {nights} nights."
THIRD = "We would like to have dinner on the evening of our arrival, which is a {weekday}. One of us eats no gluten."
THIRD_ANSWER = "Noted for {weekday}, {guests} guests, one dish without gluten. The kitchen opens at 18:00."
QUESTION = "Write a detailed plan of our stay in {month}, {nights} days for {guests} people, as a numbered list with at least ten entries, please."
SECOND_QUESTION = "Now write a long letter to my friend in {place} that tells in detail what we are going to do on each of the {nights} days."


@dataclass(frozen=True, kw_only=True)
class Server:
    """How a server is started and spoken to. `rival` is under which name its figures count; `extra` are its own fields of a request."""

    name: str
    rival: str
    command: list[str]
    model: str
    health: str = "/health"
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class Answer:
    """One streamed answer. Seconds count from the moment the request was sent; `ended_at` is a time of the clock."""

    text: str = ""
    first_token_seconds: float = 0.0
    ended_at: float = 0.0
    prompt_tokens: int = 0
    tokens: int = 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--chats", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64, help="length of each answer")
    parser.add_argument("--only", nargs="*", help="names of the servers to measure; then nothing is written")
    return parser.parse_args()


def chat(index: int) -> tuple[Chat, str]:
    """The first request of a chat, three turns and a question, and its second question."""
    facts = {
        "name": GUESTS[index % len(GUESTS)],
        "guests": 2 + index % 5,
        "month": ("May", "June", "July", "August", "September")[index % 5],
        "place": PLACES[index % len(PLACES)],
        "nights": 3 + index % 7,
        "bicycles": 1 + index % 3,
        "cost": 12 * (3 + index % 7),
        "weekday": ("Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")[(index // 2) % 5],
    }
    texts = [text.format(**facts) for text in (FIRST, FIRST_ANSWER, SECOND, SECOND_ANSWER, THIRD, THIRD_ANSWER, QUESTION)]
    roles = ("user", "assistant")
    messages = [{"role": roles[at % 2], "content": text} for at, text in enumerate(texts)]
    return [{"role": "system", "content": SYSTEM}, *messages], SECOND_QUESTION.format(**facts)


def servers(port: int, chats: int, tokens: int, scratch: Path) -> list[Server]:
    """Noria and the rivals, with the settings that measured best for each on a processor with two cores."""
    base = resolve("smollm2-135m")
    flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    dtype = "bfloat16" if {"avx512_bf16", "amx_bf16"} & flags else "float32"
    found: list[Server] = []
    for way, precision in (("noria", "f32"), ("noria_bf16", "bf16"))[: 2 if dtype == "bfloat16" else 1]:
        limits = f"[serve]\nmax_concurrent = {max(32, chats)}\n\n[engine]\nmax_concurrent = {max(32, chats)}\ncache_precision = '{precision}'\n"
        project = write_small_project(scratch / way, limits)
        noria = [sys.executable, "-m", "noria.cli.main", "serve", "--project", str(project.root), "--port", str(port)]
        found.append(Server(name=way, rival="noria", command=noria, model=f"{project.about.name}:raw", health="/healthz"))

    rivals = Path(__file__).resolve().parent / "rivals"
    llamacpp = str(rival_python("xllamacpp", "xllamacpp==2026.10.11549"))
    for way, weights, slots in (("q8_0", exact_gguf(base.path), chats), ("q4_1", base.path, chats), ("few_slots", exact_gguf(base.path), chats // 4)):
        options = ["--gguf", str(weights), "--port", str(port), "--slots", str(max(1, slots)), "--context", str(CONTEXT_TOKENS)]
        command = [llamacpp, str(rivals / "llamacpp_server.py"), *options]
        found.append(Server(name=f"llamacpp_{way}", rival="llamacpp", command=command, model="any", extra={"ignore_eos": True}))

    python = rival_python("transformers", "torch==2.13.0", "transformers[serving]==5.23.0")
    model = str(plain_checkpoint(base))
    command = [str(python.parent / "transformers"), "serve", model, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", dtype]
    command += ["--continuous-batching", "--cb-num-blocks", str(8 * chats), "--cb-max-batch-tokens", "512"]
    unending = {"generation_config": json.dumps({"eos_token_id": -1, "do_sample": False, "max_new_tokens": tokens})}
    found.append(Server(name="transformers_serve", rival="transformers", command=command, model=model, extra=unending))
    command = [str(python), str(rivals / "transformers_server.py"), "--model", model, "--port", str(port), "--dtype", dtype]
    found.append(Server(name="transformers_generate", rival="transformers", command=command, model=model))
    return found


@contextmanager
def running(server: Server, address: str, log: Path) -> Iterator[None]:
    """The server in a process group of its own, ready to answer and warmed up; ended with all its processes."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
    with log.open("wb") as out:
        process = subprocess.Popen(server.command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, env=environment)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _is_ready(address + server.health):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{server.name} did not start:\n{log.read_text(encoding='utf-8', errors='replace')[-3000:]}")
            time.sleep(0.1)
        asyncio.run(ask_all(server, address, [[{"role": "user", "content": "Count from one to ten."}]], 8))
        yield
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


async def ask_all(server: Server, address: str, chats: list[Chat], tokens: int) -> list[Answer]:
    """All chats at the same moment."""
    async with httpx.AsyncClient(base_url=address, timeout=600, limits=httpx.Limits(max_connections=None), trust_env=False) as client:
        return await asyncio.gather(*(ask(client, server, messages, tokens) for messages in chats))


async def ask(client: httpx.AsyncClient, server: Server, messages: Chat, tokens: int) -> Answer:
    body = {"model": server.model, "messages": messages, "max_tokens": tokens, "temperature": 0, "stream": True}
    body |= {"stream_options": {"include_usage": True}, **server.extra}
    answer, started = Answer(), time.perf_counter()
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        if response.status_code != 200:
            raise SystemExit(f"{server.name} answered {response.status_code}: {(await response.aread()).decode()[:1000]}")
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line[6:])
            text = "".join(choice["delta"].get("content") or "" for choice in chunk.get("choices", ()))
            if text and not answer.text:
                answer.first_token_seconds = time.perf_counter() - started
            answer.text += text
            if usage := chunk.get("usage"):
                answer.prompt_tokens, answer.tokens = usage["prompt_tokens"], usage["completion_tokens"]
            if "error" in chunk:
                raise SystemExit(f"{server.name}: {chunk['error']}")
    answer.ended_at = time.perf_counter()
    return answer


def measure(server: Server, address: str, chats: int, tokens: int, log: Path) -> dict[str, float]:
    """One round of one server: a question in every chat, then the second one."""
    asked = [chat(index) for index in range(chats)]
    figures: dict[str, float] = {}
    with running(server, address, log):
        requests = [messages for messages, _ in asked]
        for line in ("", "warm_"):
            started = time.perf_counter()
            answers = asyncio.run(ask_all(server, address, requests, tokens))
            seconds = max(answer.ended_at for answer in answers) - started
            waits = [answer.first_token_seconds for answer in answers]
            figures[f"{line}tokens_per_second"] = sum(answer.tokens for answer in answers) / seconds
            figures[f"{line}first_token_seconds_median"] = statistics.median(waits)
            figures[f"{line}first_token_seconds_p95"] = statistics.quantiles(waits, n=20, method="inclusive")[-1]
            figures[f"{line}prompt_tokens"] = statistics.fmean(answer.prompt_tokens for answer in answers)
            figures[f"{line}output_tokens"] = statistics.fmean(answer.tokens for answer in answers)
            requests = [
                [*messages, {"role": "assistant", "content": answer.text}, {"role": "user", "content": second}]
                for (messages, second), answer in zip(asked, answers, strict=True)
            ]
    print(f"{server.name}: " + ", ".join(f"{name} {value:.4g}" for name, value in figures.items()), flush=True)
    return figures


def summary(rounds: dict[str, list[dict[str, float]]], found: list[Server]) -> dict[str, float]:
    """Medians over the rounds for each server, the best of each rival's ways, and Noria's ratios to them."""
    medians = {name: {key: statistics.median(r[key] for r in of) for key in of[0]} for name, of in rounds.items()}
    figures = {key: medians["noria"][key] for key in ("prompt_tokens", "warm_prompt_tokens", "output_tokens", "warm_output_tokens")}
    figures |= {f"{server.name}_{key}": value for server in found for key, value in medians[server.name].items() if "prompt_" not in key}
    for rival in sorted({server.rival for server in found} - {"noria"}):
        ways = [medians[server.name] for server in found if server.rival == rival]
        for line in ("", "warm_"):
            best = {f"{line}tokens_per_second": max(way[f"{line}tokens_per_second"] for way in ways)}
            for key in (f"{line}first_token_seconds_median", f"{line}first_token_seconds_p95"):
                best[key] = min(way[key] for way in ways)
            figures |= {f"{rival}_{key}": value for key, value in best.items()}
            for short, key in (("tokens", "tokens_per_second"), ("first_token", "first_token_seconds_median")):
                for way in [server.name for server in found if server.rival == "noria"]:
                    suffix = way.removeprefix("noria")
                    figures[f"ratio_{line}{short}_{rival}{suffix}"] = medians[way][f"{line}{key}"] / best[f"{line}{key}"]
    return figures


def main() -> None:
    arguments = parse_arguments()
    scratch = Path(tempfile.mkdtemp(prefix="noria-serving-"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    try:
        found = servers(port, arguments.chats, arguments.tokens, scratch)
        found = [server for server in found if not arguments.only or server.name in arguments.only]
        rounds: dict[str, list[dict[str, float]]] = {server.name: [] for server in found}
        for _ in range(arguments.rounds):
            for server in found:
                figures = measure(server, f"http://127.0.0.1:{port}", arguments.chats, arguments.tokens, scratch / f"{server.name}.log")
                rounds[server.name].append(figures)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if arguments.only:
        return
    figures = {"num_chats": arguments.chats, "num_rounds": arguments.rounds, **summary(rounds, found)}
    write_results("serving", figures)
    print_figures(figures)


if __name__ == "__main__":
    main()
