"""The wheel on real dialogues: the services of Schema-Guided Dialogue as tools, its dialogues as operators' demonstrations.

    python benchmarks/sgd_loop.py --data DIR --minutes 40 [--out DIR] [--no-wheel] [--no-trl] [--no-curve]

Makes a project, improves its base model within the minutes (evaluation and gate included), and counts exact tool calls on 60 held-out
dialogues, base model against promoted release. Then the learning curve over fewer dialogues, and the speed of training beside TRL's
SFTTrainer on the same examples, weights and machine. Each part writes results of its own: sgd_loop, sgd_trl, sgd_curve.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from _harness import print_figures, write_results
from trainers import beside

from noria.agent.hints import hints
from noria.config import Project

SPLIT_SEED = 20260301
NUM_HELD_OUT = 60
NUM_TRAIN = 305
CURVE = (25, 50, 100, 200)
TODAY = date(2019, 3, 1)  # the day all dialogues of the data set take place
SYSTEM = f"Today is {TODAY:%A} {TODAY}."
TRAIN = {"method": "lora", "learning_rate": 1.5e-3, "call_weight": 6.0, "batch_tokens": 768, "epochs": 3.0}
Row = dict[str, Any]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with train_sample.jsonl and train_schema.json")
    parser.add_argument("--minutes", type=float, default=40.0, help="from base model to promoted release")
    parser.add_argument("--no-wheel", action="store_true", help="leave out the project that is improved")
    parser.add_argument("--no-curve", action="store_true", help="leave out the learning curve")
    parser.add_argument("--no-trl", action="store_true", help="leave out the comparison of training speed")
    parser.add_argument("--rounds", type=int, default=1, help="of the comparison of training speed; figures are medians")
    parser.add_argument("--out", type=Path, help="folder of the work; an interrupted run goes on there (default: a temporary one)")
    return parser.parse_args()


class Services:
    """The data set's services as tools, and its dialogues as chat rows."""

    def __init__(self, data: Path) -> None:
        schema = json.loads((data / "train_schema.json").read_text(encoding="utf-8"))
        self.services = {service["service_name"]: service for service in schema}
        self.dialogues = [json.loads(line) for line in (data / "train_sample.jsonl").read_text(encoding="utf-8").splitlines()]

    def split(self) -> tuple[list[Row], list[Row]]:
        """Training and held-out rows, by dialogue."""
        dialogues = sorted(self.dialogues, key=lambda d: d["dialogue_id"])
        random.Random(SPLIT_SEED).shuffle(dialogues)
        return [self.row(d) for d in dialogues[NUM_HELD_OUT:]], [self.row(d) for d in dialogues[:NUM_HELD_OUT]]

    def tools(self, service: str) -> list[Row]:
        slots = {slot["name"]: slot for slot in self.services[service]["slots"]}
        tools = []
        for intent in self.services[service]["intents"]:
            names = [*intent["required_slots"], *intent["optional_slots"]]
            parameters = {
                "type": "object",
                "properties": {name: _slot_schema(slots[name]) for name in names},
                "required": list(intent["required_slots"]),
                "additionalProperties": False,
            }
            tools.append({"type": "function", "function": {"name": intent["name"], "description": "", "parameters": parameters}})
        return tools

    def recorded(self) -> dict[str, dict[str, Any]]:
        """Intent and arguments to the best result, as the dialogues have it."""
        found: dict[str, dict[str, Any]] = {}
        for frame in (f for d in self.dialogues for t in d["turns"] for f in t["frames"] if f.get("service_results")):
            call = frame["service_call"]
            found.setdefault(call["method"], {})[json.dumps(call["parameters"], sort_keys=True)] = frame["service_results"][0]
        return found

    def row(self, dialogue: Mapping[str, Any]) -> Row:
        """A dialogue as the agent would have led it: calls, their best result, replies."""
        messages: list[Row] = [{"role": "system", "content": SYSTEM}]
        for turn in dialogue["turns"]:
            if turn["speaker"] == "USER":
                found = list(hints(turn["utterance"], TODAY))
                messages.append({"role": "user", "content": turn["utterance"], **({"hints": found} if found else {})})
                continue
            for frame in turn["frames"]:
                if "service_call" in frame:
                    messages += _call_and_result(frame["service_call"], frame["service_results"], len(messages))
            messages.append({"role": "assistant", "content": turn["utterance"]})
        tools = [tool for service in dialogue["services"] for tool in self.tools(service)]
        return {"id": dialogue["dialogue_id"], "messages": messages, "tools": tools}


def _slot_schema(slot: Mapping[str, Any]) -> Row:
    if slot["is_categorical"] and slot["possible_values"]:
        return {"type": "string", "enum": slot["possible_values"]}
    if "date" in slot["name"]:
        return {"type": "string", "format": "date"}
    return {"type": "string"}


def _call_and_result(call: Mapping[str, Any], results: Sequence[Mapping[str, Any]], index: int) -> list[Row]:
    """The call and what the agent is told of it: how many were found, and the best without what was asked for."""
    arguments = json.dumps(call["parameters"], ensure_ascii=False)
    made = {"id": f"call_{index}", "type": "function", "function": {"name": call["method"], "arguments": arguments}}
    best = {k: v for k, v in results[0].items() if call["parameters"].get(k) != v} if results else {}
    told = json.dumps({"found": len(results), "first": best}, ensure_ascii=False, separators=(",", ":"))
    return [{"role": "assistant", "content": None, "tool_calls": [made]}, {"role": "tool", "tool_call_id": f"call_{index}", "content": told}]


def held_out_decisions(row: Row) -> Row:
    """What is judged of a held-out dialogue: every call, and one reply (drawn by the dialogue's name), where a call would be premature."""
    replies = [i for i, m in enumerate(row["messages"]) if m["role"] == "assistant" and not m.get("tool_calls")]
    picked = random.Random(row["id"]).choice(replies)
    judged = [{**m, "train": bool(m.get("tool_calls")) or i == picked} if m["role"] == "assistant" else m for i, m in enumerate(row["messages"])]
    return {**row, "messages": judged}


def make_project(folder: Path, services: Services) -> tuple[Project, Path]:
    """A project whose tools are the services, and the folder of demonstrations to improve from."""
    train, held_out = services.split()
    folder.mkdir(parents=True, exist_ok=True)
    settings = "\n".join(f"{name} = {json.dumps(value)}" for name, value in TRAIN.items())
    (folder / "noria.toml").write_text(f'[project]\nname = "services"\n\n[model]\nbase = "smollm2-135m"\n\n[train]\n{settings}\n', encoding="utf-8")
    (folder / "tools.py").write_text(tools_source(services), encoding="utf-8")
    (folder / "prompts").mkdir(exist_ok=True)
    (folder / "prompts" / "system.md").write_text(SYSTEM, encoding="utf-8")  # the rows bring their own, which is the same
    data = folder / "data" / "demonstrations"
    data.mkdir(parents=True, exist_ok=True)
    (folder / "data" / "recorded.json").write_text(json.dumps(services.recorded()), encoding="utf-8")
    write_rows(data / "train" / "chat.jsonl", train)
    write_rows(data / "evaluation" / "chat.jsonl", [held_out_decisions(row) for row in held_out])
    return Project.load(folder), data


def tools_source(services: Services) -> str:
    """tools.py: one typed function for each intent of each service, which answers with what the service answered in the data."""
    lines = [
        '"""The services of the data set, answering with recorded results."""',
        "",
        "import json",
        "from pathlib import Path",
        "",
        "from noria.agent import tool",
        "",
    ]
    lines += ['RECORDED = Path(__file__).parent / "data" / "recorded.json"', "", ""]
    seen: set[str] = set()
    for service in services.services.values():
        for intent in service["intents"]:
            if intent["name"] in seen:
                continue
            seen.add(intent["name"])
            required, optional = intent["required_slots"], list(intent["optional_slots"])
            signature = ", ".join([*(f"{name}: str" for name in required), *(f"{name}: str | None = None" for name in optional)])
            lines += ["@tool()", f"def {intent['name']}({signature}) -> dict[str, str]:", f'    """{intent["description"]}."""']
            arguments = ", ".join(f'"{name}": {name}' for name in [*required, *optional])
            lines += [f"    wanted = json.dumps({{k: v for k, v in {{{arguments}}}.items() if v is not None}}, sort_keys=True)"]
            lines += [f'    return json.loads(RECORDED.read_text(encoding="utf-8")).get("{intent["name"]}", {{}}).get(wanted, {{}})', "", ""]
    return "\n".join(lines)


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def run_wheel(project: Project, data: Path, minutes: float) -> dict[str, Any]:
    """Improve once; the figures of base model and candidate on the same held-out decisions, and the gate's report."""
    from noria.lifecycle.improve import improve

    shown: dict[str, int] = {}

    def progress(stage: str, done: float, total: float) -> None:
        tenth = int(10 * done / max(total, 1))
        if shown.get(stage) != tenth:
            shown[stage] = tenth
            print(f"{time.strftime('%H:%M:%S')} {stage}: {done:.0f} of {total:.0f}", flush=True)

    started = time.monotonic()
    result = improve(project, progress=progress, minutes=minutes, source=str(data))
    total_minutes = (time.monotonic() - started) / 60
    print(result.report.model_dump_json(indent=2))
    print(json.dumps(result.train, indent=2))
    return {
        "exact_before": result.before["exact_calls"],
        "exact_after": result.after["exact_calls"],
        "name_before": result.before["named_calls"],
        "name_after": result.after["named_calls"],
        "decisions_before": result.before["success"],
        "decisions_after": result.after["success"],
        "promoted": result.promoted,
        "gate_p": next(s.p for s in result.report.suites if s.role == "objective"),
        "train_minutes": round(result.train["train_seconds"] / 60, 2),
        "train_epochs": result.train["epochs"],
        "train_tokens_per_second": result.train["tokens_per_second"],
        "total_minutes": round(total_minutes, 2),
    }


def curve_point(count: int, data: Path, epochs: float, scratch: Path) -> dict[str, float]:
    """The same training on the first `count` dialogues alone, each passed as often as all were."""
    from noria.align import finetune
    from noria.engine import EngineConfig, open_generator
    from noria.evaluate.suites import chat_suite, mean_metrics, run_suite
    from noria.model import resolve
    from noria.model.export import export_gguf
    from noria.train import TuneConfig

    rows = [json.loads(line) for line in (data / "train" / "chat.jsonl").read_text(encoding="utf-8").splitlines()]
    suite = chat_suite(data / "evaluation" / "chat.jsonl", "heldout")
    base = resolve("smollm2-135m")
    folder = scratch / f"curve-{count}"
    write_rows(folder / "data" / "chat.jsonl", rows[:count])
    finetune(TuneConfig(**{**TRAIN, "epochs": epochs}), folder / "data", base, folder / "run")
    export_gguf(folder / "run" / "model", base.path, folder / "model.gguf")
    generator = open_generator(EngineConfig(), folder, gguf_override=folder / "model.gguf")
    try:
        found = mean_metrics(run_suite(suite, generator).results)
    finally:
        generator.close()
    print(f"{count} dialogues: exact {found['exact_calls']:.3f}, by name {found['named_calls']:.3f}", flush=True)
    return {f"exact_at_{count}": found["exact_calls"], f"name_at_{count}": found["named_calls"]}


def beside_trl(data: Path, scratch: Path, rounds: int) -> dict[str, float]:
    """Useful tokens a second and held-out loss after one pass over the same examples: Noria, and TRL at its best and as it comes."""
    rows = [json.loads(line) for line in (data / "train" / "chat.jsonl").read_text(encoding="utf-8").splitlines()]
    return beside(rows, ["trl"], scratch, rounds)


def part(scratch: Path, name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The figures of one part, measured once: the benchmark started again with the same `--out` goes on behind the parts it has."""
    path = scratch / f"{name}.figures.json"
    if not path.is_file():
        path.write_text(json.dumps(measure()), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def main() -> None:
    arguments = parse_arguments()
    scratch = arguments.out or Path(tempfile.mkdtemp(prefix="noria-sgd-"))
    project, data = make_project(scratch / "project", Services(arguments.data))
    epochs = TRAIN["epochs"]
    if not arguments.no_wheel:
        held_out = [json.loads(line) for line in (data / "evaluation" / "chat.jsonl").read_text(encoding="utf-8").splitlines()]
        figures: dict[str, Any] = {"num_calls": sum(bool(m.get("tool_calls")) for row in held_out for m in row["messages"])}
        figures |= part(scratch, "wheel", lambda: run_wheel(project, data, arguments.minutes))
        report("sgd_loop", figures)
        epochs = figures["train_epochs"]
    if not arguments.no_trl:
        report("sgd_trl", part(scratch, "trl", lambda: beside_trl(data, scratch / "trl", arguments.rounds)))
    curve: dict[str, Any] = {"epochs": epochs}
    for count in () if arguments.no_curve else CURVE:
        curve |= part(scratch, f"curve-{count}", partial(curve_point, count, data, epochs, scratch))
        report("sgd_curve", curve)


def report(name: str, figures: Mapping[str, Any]) -> None:
    write_results(name, figures)
    print_figures(figures)


if __name__ == "__main__":
    main()
