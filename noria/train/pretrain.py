"""Pre-training: a corpus in, a base model out, as a Hugging Face folder that every later stage takes.

In: files of text, an output folder. Out, in the folder: `config.json`, `model.safetensors`, the tokenizer, `curve.jsonl` with its picture and, last,
`pretrain.json` with what was done. What is needed to go on after a kill stands in `.run/` until then. Run it with `noria pretrain`.
Several processes (`accelerate launch`, `torchrun`, Ray Train) train one model together; the first of them reads the corpus and writes.
"""

import json
import math
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from noria.data import Corpus, Document, Encoded, Shards, ShardSplit, is_finished, open_corpus, open_shards, split_of, word_starts, write_shards
from noria.data.corpus import passed_over_sentences
from noria.data.documents import batches
from noria.data.parser import Parser
from noria.data.readers import Track, read_documents
from noria.errors import ConfigError, DataError, StoreError
from noria.model import ARCHITECTURES, Tokenizer, check_architecture, load_tokenizer, make_config, new_model, num_parameters, train_tokenizer
from noria.model.precision import dtype_of
from noria.store import claim, claimed, finished, hardware, other_version, sizes, versions, write_file
from noria.train import checkpoint
from noria.train.attention import use_own_attention, use_packed_attention
from noria.train.compiled import compiles, use_compiled_layers
from noria.train.curve import draw
from noria.train.dropout import use_dropout
from noria.train.memory import give_back_freed_memory, keep_freed_memory
from noria.train.optimizers import adamw, layer_matrices, muon_and_adamw
from noria.train.pretrain_config import PretrainConfig
from noria.train.pretrain_objective import PretrainObjective, check_tokens, freeze_unused, make_objective, sentence_weight
from noria.train.pretrain_plan import DEFAULT_MINUTES, FIRST_VOCAB, PretrainPlan, Speed, derived_vocab_size, plan_run
from noria.train.processes import Processes, join_processes, training_device
from noria.train.products import use_lean_products, use_own_products
from noria.train.run import Progress, Run, RunConfig
from noria.train.sharding import shard, whole

SCRATCH = ".run"
DONE = "pretrain.json"

COMPRESSED, COMPRESSION = (".gz", ".bz2", ".xz", ".zst"), 4
"""Text is about four times as long as its compressed file."""
SMALL_VOCAB, MAX_MORE_TOKENS, MAX_UNKNOWN = 1000, 1.6, 0.02
"""By which a tokenizer is held to know a corpus: it spends fewer tokens than a small one learnt from a sample of it, or hardly more."""
SAMPLED_FILES, SAMPLED_PIECES, SAMPLED_PLACES, PIECE = 50, 200, 20, 2000
"""What that sample is, at most: files, pieces in all and of one document, characters of a piece."""
LEFT_OUT = "left_out.json"
WITH_UNKNOWN = ("wordpiece", "unigram")
"""Kinds that spell nothing which is not in their vocabulary, and that leave out words which are too long."""

Report = Callable[[str, float, float], None]
"""Told a stage's name, what is done and what there is in all."""
Say = Callable[[str], None]
InTime = Callable[[Iterable[Document]], Iterator[Document]]
"""Documents as they are, as long as there is time to read them."""


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """Where the model is, and what the run found."""

    folder: Path
    plan: PretrainPlan
    metrics: dict[str, Any]


def pretrain(config: PretrainConfig, corpus: Sequence[Path], out: Path, report: Report, say: Say, tokenizer: Path | None = None) -> Pretrained:
    """Train a new model on the text in `corpus`; a finished `out` is returned as it is, a begun one is gone on with.

    Args:
        say: told, in a sentence each, what was chosen and why.
        tokenizer: folder of a tokenizer to use instead of a new one.

    Raises:
        ConfigError: settings that contradict one another, or an `out` that was begun with others.
        ArtifactError: `out` is damaged, or another version made it.
        DataError: no text, or too little.
        ModelError: the loss is not a number.
        StoreError: another process is at work in `out`, or the disk refuses.
    """
    architecture = check_architecture(config.architecture or ARCHITECTURES[config.objective][0], config.objective)
    minutes = DEFAULT_MINUTES if config.minutes is None and config.steps is None else config.minutes
    config = config.model_copy(update={"architecture": architecture, "minutes": minutes})
    sentence_weight(config)
    if config.shard and (config.objective != "clm" or config.optimizer != "adamw"):
        raise ConfigError("`shard` parts decoders that AdamW trains: Muon needs whole matrices. Set `objective=clm` and `optimizer=adamw`.")
    if config.size is not None and (config.width or config.layers):
        raise ConfigError("`--size` chooses `width` and `layers`. Leave it out, or them.")
    if config.heads is not None and not (config.width or config.layers):
        raise ConfigError("`heads` parts a given width: set `width` too, or leave it out.")
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    began = time.monotonic()
    files = open_corpus(corpus).without(out)
    request = _request(config, files, tokenizer)
    if told := finished(out, DONE, out / SCRATCH, request, "plan", "metrics"):
        return _read(out, told)
    processes = join_processes()
    if not processes.first:
        report, say = (lambda *_: None), (lambda _: None)
    with _held(out, request) if processes.first else nullcontext():
        return _pretrained(config, files, out, report, say, tokenizer, processes, began)


@contextmanager
def _held(out: Path, request: dict[str, Any]) -> Generator[None]:
    """Claim the folder and keep a second process out of it, and free it where the work turns out to be impossible. The lock dies with its holder."""
    scratch = out / SCRATCH
    claim(out, scratch, request, "noria pretrain")
    try:
        with FileLock(scratch / "lock", timeout=0, is_singleton=False):
            claim(out, scratch, request, "noria pretrain")  # anew, where the one before us has just given it up
            with checkpoint.given_up_on_failure(out, scratch):
                yield
    except Timeout as error:
        raise StoreError(f"Another `noria pretrain` is at work in '{out}'. Wait for it, or stop it and run this again.") from error


def _pretrained(
    config: PretrainConfig, files: Corpus, out: Path, report: Report, say: Say, tokenizer: Path | None, processes: Processes, began: float
) -> Pretrained:
    scratch, architecture = out / SCRATCH, config.architecture
    assert architecture is not None
    if processes.first:
        for sentence in passed_over_sentences(files.passed_over):
            say(sentence)
        in_time = partial(_in_time, minutes=config.minutes, began=began)
        _shards(config, files, _tokenizer(config, files, scratch, tokenizer, report, say, in_time, processes), scratch, report, in_time)
    processes.wait()
    left_out = _left_out(scratch, say)
    words = load_tokenizer(tokenizer or scratch / "tokenizer")
    shards = _held_out(config, scratch)
    keep_freed_memory()
    seconds = None if config.minutes is None else config.minutes * 60 - (time.monotonic() - began)
    special = {"bos": words.bos_id, "eos": words.eos_id, "pad": words.pad_id}
    made = partial(make_config, architecture, vocab_size=words.vocab_size, special={k: v for k, v in special.items() if v is not None})
    trial = partial(_trial, config, shards, words, made, processes)
    plan = plan_run(scratch, config, shards.train, seconds, made, trial, dtype_of(config.precision, training_device()), processes)
    for reason in plan.reasons:
        say(reason)
    objective = make_objective(config, words, plan.context, plan.batch_tokens, processes.count)
    objective.check(shards.validation)
    model: Any = new_model(made(plan.shape()), config.seed)
    model.to(training_device())
    run = _run(config, plan, model, objective, shards, processes, scratch)
    resumed = run.resume()
    run.run(plan.num_steps, partial(_told, report, plan))
    metrics = _scored(run, objective, shards.validation, plan.scored_tokens or len(shards.validation.tokens)) | {
        "num_parameters": num_parameters(made(plan.shape())),
        "context": plan.context,
        "num_steps": run.step,
        "tokens": run.tokens,
        "epochs": round(run.tokens / len(shards.train.tokens), 3),
        "resumed_at_step": resumed,
        "num_returns": run.watch.num_returns,
        "num_processes": processes.count,
        "train_seconds": round(run.seconds, 1),
        "first_step_seconds": round(run.first_seconds, 1),
        "tokens_per_second": round(run.tokens / max(run.seconds, 1e-9), 1),
        "wall_seconds_of_this_process": round(time.monotonic() - began, 1),
        "left_out": left_out,
    }
    use_own_products(model)
    give_back_freed_memory()
    made_of = Pretrained(folder=out, plan=plan, metrics=metrics)
    weights = whole(dict(model.state_dict()), processes.first)
    if processes.first:
        _write(made_of, use_own_attention(model), weights, words)
    processes.wait()
    return made_of


def _read(out: Path, told: dict[str, Any]) -> Pretrained:
    """What a finished folder tells. Raises ArtifactError where another version wrote it."""
    try:
        return Pretrained(folder=out, plan=PretrainPlan.model_validate(told["plan"]), metrics=told["metrics"])
    except ValueError as error:
        raise other_version(out / DONE) from error


def _request(config: PretrainConfig, files: Corpus, tokenizer: Path | None) -> dict[str, Any]:
    """What makes two requests the same."""
    settings = config.model_dump(mode="json") | {"--tokenizer": str(tokenizer.resolve()) if tokenizer else None}
    return {"settings": settings, "files": sizes(files.files)}


def _tokenizer(
    config: PretrainConfig, files: Corpus, scratch: Path, given: Path | None, report: Report, say: Say, in_time: InTime, processes: Processes
) -> Tokenizer:
    if given is not None:
        words = load_tokenizer(given)
        check_tokens(config.objective, words, str(given))
        check_fit(words, sample_of(files), str(given))
        return words
    folder = scratch / "tokenizer"
    if (folder / "tokenizer_config.json").is_file():
        return load_tokenizer(folder)
    num_bytes = sum(p.stat().st_size * (COMPRESSION if p.suffix in COMPRESSED else 1) for p in files.files)
    report("tokenizer", 0, 1)
    kind = config.tokenizer or "bpe"
    precision = dtype_of(config.precision, training_device())
    size = config.vocab_size or derived_vocab_size(config, num_bytes, partial(sample_of, files), precision, processes.count)
    words = train_tokenizer(kind, (d.text for d in in_time(files)), size, config.objective, at_most=config.vocab_size is None)
    if kind in WITH_UNKNOWN and (unknown := _unknown_share(words, sample_of(files))) > MAX_UNKNOWN:
        raise DataError(
            f"A `{kind}` tokenizer learnt from this corpus takes {unknown:.0%} of it for unknown. Set `tokenizer=bpe`, to which nothing is."
        )
    folder.mkdir(exist_ok=True)
    words.save(folder)
    report("tokenizer", 1, 1)
    say(f"Tokenizer learnt: {words.vocab_size:,} tokens.")
    return words


def sample_of(files: Corpus) -> list[str]:
    """Pieces of text from all over the corpus: some of its files, some documents of each, places all along a long one."""
    chosen = files.files[:: math.ceil(len(files.files) / SAMPLED_FILES)]
    pieces: list[str] = []
    with Parser() as parser:
        for path in chosen:
            documents = (item for item in read_documents(path, parser, Track()) if isinstance(item, Document))
            for document in islice(documents, math.ceil(SAMPLED_PIECES / len(chosen))):
                apart = max(PIECE, math.ceil(len(document.text) / SAMPLED_PLACES))
                pieces += [document.text[at : at + PIECE] for at in range(0, len(document.text), apart)]
    return pieces[:: math.ceil(len(pieces) / SAMPLED_PIECES) or 1]


def check_fit(tokenizer: Tokenizer, sample: list[str], name: str) -> None:
    """Refuse a tokenizer that was learnt from another language. Raises DataError.

    It takes much of this text for unknown, or spends many more tokens on it than a small vocabulary learnt from it.
    """
    unknown = _unknown_share(tokenizer, sample)
    own = train_tokenizer("bpe", sample, min(SMALL_VOCAB, max(FIRST_VOCAB, tokenizer.vocab_size)), "clm", at_most=True)
    many = sum(map(len, tokenizer.encode_batch(sample))) / max(sum(map(len, own.encode_batch(sample))), 1)
    by_character = all(len(token) == 1 for token in tokenizer.token_strings() if token not in tokenizer.added_tokens)
    if unknown <= MAX_UNKNOWN and (many <= MAX_MORE_TOKENS or by_character):
        return
    what = f"takes {unknown:.0%} of this corpus for unknown" if unknown > MAX_UNKNOWN else f"spends {many:.1f} times the tokens that it would need"
    raise DataError(f"The tokenizer '{name}' {what}: it was learnt from another language. Leave `--tokenizer` out to learn one.")


def _unknown_share(tokenizer: Tokenizer, sample: list[str]) -> float:
    """Share of the tokens that stand for what the tokenizer does not know: text becomes a special token nowhere else."""
    ids = [token_id for row in tokenizer.encode_batch(sample) for token_id in row]
    return sum(token_id in tokenizer.special_ids for token_id in ids) / max(len(ids), 1)


def _in_time(documents: Iterable[Document], minutes: float | None, began: float) -> Iterator[Document]:
    """The documents. Raises ConfigError where there are more of them and all of the minutes are over."""
    for document in documents:
        if minutes is not None and time.monotonic() - began > 60 * minutes:
            raise ConfigError(f"After {minutes:g} minutes the corpus was not read to its end. Give more with `--minutes`, or a part of it.")
        yield document


def _shards(config: PretrainConfig, files: Corpus, tokenizer: Tokenizer, scratch: Path, report: Report, in_time: InTime) -> None:
    folder = scratch / "shards"
    if is_finished(folder):
        return
    total, read = max(files.num_bytes, 1), 0

    def documents() -> Iterator[tuple[str, Encoded]]:
        nonlocal read
        for batch in batches(in_time(files)):
            for document, encoded in zip(batch, _encoded(config, tokenizer, [d.text for d in batch]), strict=True):
                read += encoded.num_bytes
                yield split_of(document, config.validation_share, config.seed), encoded
            report("tokens", min(read, total), total)
        write_file(scratch / LEFT_OUT, [json.dumps(files.left_out) + "\n"])

    write_shards(folder, documents(), tokenizer.vocab_size)
    report("tokens", total, total)


def _encoded(config: PretrainConfig, tokenizer: Tokenizer, texts: list[str]) -> Iterator[Encoded]:
    """Documents as token ids: a decoder's begin with their own token, an encoder's know where words begin."""
    sizes = [len(text.encode()) for text in texts]
    if config.objective == "mlm-nsp":
        for text, size, (ids, offsets) in zip(texts, sizes, tokenizer.encode_with_offsets(texts), strict=True):
            yield Encoded(token_ids=ids, num_bytes=size, word_starts=word_starts(text, offsets))
        return
    begin = [tokenizer.bos_id] if config.objective == "clm" and tokenizer.bos_id is not None else []
    for size, ids in zip(sizes, tokenizer.encode_batch(texts), strict=True):
        yield Encoded(token_ids=[*begin, *ids], num_bytes=size)


def _left_out(scratch: Path, say: Say) -> list[list[str]]:
    """Files that could not be read whole, each with its reason, also where an earlier call read the corpus; what it was kept in has no more than
    that, so one that is damaged is no reason to begin anew."""
    try:
        found: list[list[str]] = json.loads((scratch / LEFT_OUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    if found:
        path, reason = found[0]
        say(f"{'1 file was' if len(found) == 1 else f'{len(found):,} files were'} not read whole ('{path}' first: {reason}).")
    return found


def _held_out(config: PretrainConfig, scratch: Path) -> Shards:
    shards = open_shards(scratch / "shards")
    if "train" not in shards.splits:
        raise DataError("The corpus holds no text to train on. Check the paths given with `--corpus`.")
    return shards.with_held_out(max(config.validation_share, 0.01))


def _trial(
    config: PretrainConfig, shards: Shards, tokenizer: Tokenizer, made: Any, processes: Processes, plan: PretrainPlan, compiled: bool
) -> Speed:
    """How fast a plan is trained, from a few steps."""
    config = config if compiled else config.model_copy(update={"compile": False})
    objective = make_objective(config, tokenizer, plan.context, plan.batch_tokens, processes.count)
    model: Any = new_model(made(plan.shape()), config.seed)
    model.to(training_device())
    run = _run(config, plan, model, objective, shards, processes, Path("unused"))
    number, tokens, seconds = run.measure(max_steps=4, seconds=min(5.0, 0.01 * 60 * (config.minutes or math.inf)))
    return Speed(tokens_per_second=processes.agreed(tokens / seconds), tokens_per_step=processes.agreed(tokens / number))


def prepare_model(model: Any, config: PretrainConfig) -> torch.dtype:
    """Give a new model the attention, products and dropout that it is trained with; returns the precision of its products."""
    if not model.config.is_encoder_decoder:
        use_packed_attention(model)
    freeze_unused(model, config)
    dtype = dtype_of(config.precision, training_device())
    use_lean_products(model, dtype, config.checkpoint_activations)
    use_dropout(model, config.dropout)
    passages = config.objective == "mlm-nsp"  # of many lengths
    compiled = compiles(config.compile, config.minutes) and use_compiled_layers(model, dtype, config.dropout, of_any_length=passages)
    if config.compile and not compiled:
        raise ConfigError(f"Layers of a {model.config.model_type!r} have no compiled form. Leave `compile` out.")
    if config.checkpoint_activations:
        model.activation_checkpointing_enable({"use_reentrant": False})
    return dtype


def _run(
    config: PretrainConfig, plan: PretrainPlan, model: Any, objective: PretrainObjective, shards: Shards, processes: Processes, folder: Path
) -> Run:
    dtype = prepare_model(model, config)
    if config.shard and processes.count > 1:
        shard(model)
    betas = (0.9, config.beta2)
    if config.optimizer == "muon":
        optimizers = muon_and_adamw(model, layer_matrices(model), plan.muon_rate, plan.learning_rate, config.weight_decay, betas)
    else:
        optimizers = [adamw(model, plan.learning_rate, config.weight_decay, betas)]
    settings = RunConfig(
        rate=partial(rate_share, config=config),
        max_grad_norm=config.max_grad_norm,
        precision=dtype,
        seed=config.seed,
        checkpoint_every=max(1, math.ceil(plan.num_steps / config.num_validations)),
        seconds=plan.seconds,
        num_checkpoints=config.num_checkpoints,
        validate=partial(objective.score, model, shards.validation, plan.validation_tokens or config.validation_tokens),
        num_validations=config.num_validations,
        average=config.average,
        spike=config.spike,
    )
    return Run(model, model, objective.steps(shards.train), optimizers, settings, folder, processes)


def rate_share(step: int, num_steps: int, config: PretrainConfig) -> float:
    """Share of the peak rate at a step."""
    warmup = max(1, math.ceil(config.warmup * num_steps))
    rise = min(1.0, (step + 1) / warmup)
    left = (num_steps - step) / num_steps
    if config.schedule == "trapezoid":
        return min(rise, 1.0, left / config.cooldown)
    if config.schedule == "linear":
        return rise * left
    return rise * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (1 - left))))


def _told(report: Report, plan: PretrainPlan, progress: Progress) -> None:
    bits = progress.validation.get("bits_per_byte")
    found = f", {bits:.3f} bits a byte" if bits else f", held out {progress.validation['loss']:.3f}" if progress.validation else ""
    speed = f"{progress.tokens_per_second:,.0f} tokens/s"
    if plan.peak_tokens_per_second:
        speed += f", {progress.tokens_per_second / plan.peak_tokens_per_second:.0%} of peak"
    report(f"training (loss {progress.loss:.3f}{found}, {speed})", progress.step, progress.num_steps)


def _scored(run: Run, objective: PretrainObjective, held_out: ShardSplit, max_tokens: int) -> dict[str, Any]:
    """Take the best weights and score them on everything held out, or on as much as there is time for."""
    run.processes.wait()
    best = checkpoint.load_best(run.folder)
    if best is not None:
        checkpoint.restore(run.parameters, best["weights"])
    run.model.eval()
    with torch.no_grad(), run.autocast:
        found = objective.score(run.model, held_out, max_tokens)
    scores = {f"validation_{name}" if name == "loss" else name: value for name, value in found.items()}
    return {**scores, "best_step": best["step"] if best else run.step, "validation_tokens": min(max_tokens, len(held_out.tokens))}


def _write(made: Pretrained, model: Any, weights: dict[str, torch.Tensor], tokenizer: Tokenizer) -> None:
    """Write the model, then what was done, then drop what was needed to go on. Raises StoreError."""
    out = made.folder
    with checkpoint.model_errors(out):
        model.save_pretrained(str(out), state_dict=weights)
        tokenizer.save(out)
        shutil.copyfile(out / SCRATCH / "curve.jsonl", out / "curve.jsonl")
        draw(out / "curve.jsonl", out)
        told = {
            "plan": made.plan.model_dump(mode="json"),
            "metrics": made.metrics,
            "request": claimed(out / SCRATCH),
            "weights": sha256((out / "model.safetensors").read_bytes()).hexdigest(),
            "versions": versions(),
            "hardware": hardware(),
        }
        # In ASCII, as the request is: names of files need not be UTF-8.
        write_file(out / DONE, [json.dumps(told, indent=2) + "\n"])
        shutil.rmtree(out / SCRATCH, ignore_errors=True)  # on a network drive the lock that is held stays until it is let go
