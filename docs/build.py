"""Renew the generated parts of the documentation; run by `make docs`, and by `make check` with `--check`.

Comes in: the configuration classes (`Section`), the command line, the HTTP application, benchmarks/results/*.json. Goes out: docs/results.md,
docs/configuration.md, docs/commands.md, and in every other page the part between `<!-- generated: KIND ARGUMENT -->` and `<!-- end -->`.
Nothing else is touched.

    .venv/bin/python docs/build.py [--check]
"""

import ast
import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reference import commands_page, config_table, configuration_page, fields_table, routes_table

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BLOCK = re.compile(r"(<!-- generated: (?P<kind>[a-z-]+)(?: (?P<argument>[^>]*?))? -->\n).*?(<!-- end -->)", re.DOTALL)

HEADLINES = (
    (
        "fresh_clone",
        "demo_success_before",
        "guests of the demo served, embedded model as it came (n 60, judged by the database)",
        "演示中服务成功的客人比例，内置模型原样（60 位，以数据库判定）",
    ),
    ("fresh_clone", "demo_success_after", "the same, candidate after 7 minutes of training", "同上，训练 7 分钟后的候选版本"),
    ("fresh_clone", "demo_seconds", "seconds of `make demo`, installation included", "`make demo` 的秒数，含安装"),
    (
        "corpus",
        "noria_duplicate_recall",
        "planted near-duplicates found among 200,000 documents in English and Chinese",
        "20 万篇中英文文档中植入的近似重复被找出的比例",
    ),
    ("corpus", "noria_contamination_recall", "planted evaluation passages found in them", "其中植入的评测段落被找出的比例"),
    (
        "corpus",
        "ratio_speed_to_datatrove",
        "documents cleaned a second, as a multiple of datatrove's own example pipeline",
        "每秒清洗的文档数，与 datatrove 自带示例流程之比",
    ),
    (
        "sgd_loop",
        "exact_before",
        "exact tool calls in 60 held-out dialogues (SGD), embedded model as it came",
        "60 段留出对话（SGD）中完全正确的工具调用比例，内置模型原样",
    ),
    ("sgd_loop", "exact_after", "the same, promoted release", "同上，上线的版本"),
    ("sgd_loop", "name_after", "right tool called, promoted release", "选对工具的比例，上线的版本"),
    ("sgd_loop", "train_minutes", "minutes of training, two cores", "训练分钟数，双核"),
    ("tasks_banking77", "mean", "Banking77, test accuracy, mean of three seeds", "Banking77 测试准确率，三个种子的均值"),
    (
        "tasks_banking77_large",
        "mean",
        "Banking77 from all-mpnet-base-v2, test accuracy, mean of three seeds",
        "Banking77，用编码器 all-mpnet-base-v2，测试准确率，三个种子的均值",
    ),
    (
        "tasks_banking77_10",
        "mean",
        "Banking77 with ten rows a class, test accuracy, mean of three seeds",
        "Banking77 每类十条，测试准确率，三个种子的均值",
    ),
    ("tasks_resume_ner", "mean", "entities of Chinese résumés, test F1, mean of three seeds", "中文简历实体识别，测试 F1，三个种子的均值"),
    (
        "tasks_eprstmt",
        "mean",
        "Chinese sentiment (FewCLUE eprstmt), test accuracy, mean of three seeds",
        "中文情感（FewCLUE eprstmt），测试准确率，三个种子的均值",
    ),
    (
        "tasks_tnews",
        "mean",
        "Chinese headlines (FewCLUE tnews), test accuracy, mean of three seeds",
        "中文标题（FewCLUE tnews），测试准确率，三个种子的均值",
    ),
    (
        "trainers",
        "ratio_to_best_lora",
        "useful tokens a second of LoRA tuning, as a multiple of the best of transformers' Trainer, TRL and LLaMA-Factory",
        "LoRA 微调每秒有效词元数，与 transformers Trainer、TRL、LLaMA-Factory 中最快者之比",
    ),
    ("trainers", "ratio_to_best_full", "the same of full tuning", "同上，全参数微调"),
    (
        "serving",
        "ratio_tokens_llamacpp",
        "16 chats at once: tokens a second, as a multiple of those of llama.cpp's server",
        "16 个并发对话：每秒词元数，与 llama.cpp 服务器之比",
    ),
    (
        "serving",
        "ratio_first_token_llamacpp",
        "the same: time to the first token, as a multiple (less is better)",
        "同上：首个词元的时间之比（越小越好）",
    ),
    (
        "serving",
        "ratio_tokens_transformers",
        "the same: tokens a second, as a multiple of those of `transformers serve`",
        "同上：每秒词元数，与 `transformers serve` 之比",
    ),
    (
        "gate",
        "fooled_worst",
        "chance that ten candidates in a row, none better, get one promoted (alpha is 0.05)",
        "连续十个并无改进的候选中有一个上线的概率（alpha 为 0.05）",
    ),
    (
        "gate",
        "power_paired_first_loss_0.05",
        "chance that a true gain of 10 points is promoted, 200 items (5 % get worse, 15 % better)",
        "真实提升 10 个百分点、200 道题（5% 变差、15% 变好）时上线的概率",
    ),
    ("gate", "power_unpaired_first_loss_0.05", "the same with an unpaired z-test", "同上，用非配对 z 检验"),
)
"""What the READMEs show of the results: benchmark, figure, the words for it in English and in Chinese."""


def results() -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))}


def results_page() -> str:
    parts = [
        "# Results",
        "",
        "Measured figures and the command that made each; this page is made from `benchmarks/results/*.json` by `make docs`.",
        "A ratio compares both sides in one run on one machine. A figure that is not here has not been measured.",
    ]
    measured = results()
    if not measured:
        parts += ["", "Nothing has been measured yet."]
    for name, result in measured.items():
        parts += ["", f"## {name}", "", *([about] if (about := benchmark_title(result["command"])) else []), ""]
        parts += [f"`{result['command']}`, {result['date']}, {machine_text(result['machine'])}, commit {str(result['commit'])[:9]}", ""]
        parts += ["| figure | value |", "|---|---|"]
        parts += [f"| {figure} | {number(value)} |" for figure, value in result["figures"].items()]
    return "\n".join(parts) + "\n"


def benchmark_title(command: str) -> str:
    """What the script that a command runs says of itself."""
    path = ROOT / shlex.split(command)[1]
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) if path.exists() else None
    return (docstring or "").split("\n\n")[0].replace("\n", " ")


def machine_text(machine: Any) -> str:
    if isinstance(machine, dict):
        return ", ".join(f"{key} {value}" for key, value in machine.items())
    return str(machine)


def number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def headline_table(language: str) -> str:
    """The few figures of the READMEs; only what was measured stands there."""
    measured = results()
    zh = language == "zh"
    rows = [
        f"| {words_zh if zh else words} | {number(measured[name]['figures'][figure])} | `{measured[name]['command']}` |"
        for name, figure, words, words_zh in HEADLINES
        if figure in measured.get(name, {}).get("figures", {})
    ]
    if not rows:
        return "尚无测量结果。\n" if zh else "Nothing has been measured yet.\n"
    head = "| 项目 | 数值 | 命令 |" if zh else "| what | value | made by |"
    return "\n".join([head, "|---|---|---|", *rows]) + "\n"


GENERATORS: dict[str, Callable[[str], str]] = {
    "config": config_table,
    "fields": fields_table,
    "results": headline_table,
    "routes": routes_table,
}


def with_blocks(text: str) -> str:
    def renew(match: re.Match[str]) -> str:
        body = GENERATORS[match["kind"]](match["argument"] or "")
        return f"{match[1]}{body}{match[4]}"

    return BLOCK.sub(renew, text)


def pages() -> dict[Path, str]:
    """Every page with a generated part, as it should be."""
    made = {
        ROOT / "docs/results.md": results_page(),
        ROOT / "docs/configuration.md": configuration_page(),
        ROOT / "docs/commands.md": commands_page(),
    }
    for path in (*ROOT.glob("README*.md"), *sorted((ROOT / "docs").rglob("*.md"))):
        text = path.read_text(encoding="utf-8")
        if BLOCK.search(text) and path not in made:
            made[path] = with_blocks(text)
    return made


def main() -> int:
    stale = []
    for path, wanted in pages().items():
        if not path.exists() or path.read_text(encoding="utf-8") != wanted:
            stale.append(str(path.relative_to(ROOT)))
            if "--check" not in sys.argv[1:]:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(wanted, encoding="utf-8")
    if "--check" in sys.argv[1:]:
        if stale:
            print(f"Out of date: {', '.join(stale)}. Run `make docs` and commit what it changes.", file=sys.stderr)
        return 1 if stale else 0
    print(f"Renewed: {', '.join(stale) or 'nothing, all was current'}.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
