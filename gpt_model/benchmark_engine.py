"""`python -m gpt_model.benchmark_engine`: many requests at once against one after another, and who waits how long.

    python -m gpt_model.benchmark_engine models=[assets] rounds=3

The idea: the same requests, of mixed lengths, are served twice in turn (A B A B …): each by itself, then all by one
engine. What batching gains is the ratio. What it may cost is the wait for a first token, so a request is also sent
into an engine that is busy with all others, at several moments, and its wait is set beside that of a lone one.

Every answer is greedy, and the share of tokens that agree with the lone run is reported: in float32 two nearly equal
candidates may change places, because padding changes the order of sums. Left out: quality, and a faster step.
"""

from __future__ import annotations

import os
import random
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.cli import run_main
from utils.config import command_words, parse_args
from utils.errors import UserError
from utils.timing import Timer, compare, synchronize, write_result

RESULT = Path(__file__).with_name("results") / "engine.json"


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class EngineBenchmarkConfig:
    """Which models, which requests, how often."""

    models: tuple[str, ...] = _key(
        ("assets", "gpt2"), "assets, a checkpoint, or a preset with random weights"
    )
    requests: int = _key(16, "requests, all there at the start")
    prompt: tuple[int, ...] = _key((8, 96), "shortest and longest prompt, in tokens")
    new: tuple[int, ...] = _key((8, 64), "shortest and longest answer, in tokens")
    probes: int = _key(7, "moments at which a request is sent to a busy engine")
    prefill_chunk: int = _key(256, "places of prompts that a step reads")
    rounds: int = _key(3, "rounds of the comparison")
    dtype: str = _key("fp32", "fp32 or bf16")
    threads: int | None = _key(None, "threads of torch; null: what it takes by itself")
    device: str = _key("cpu", "cpu or cuda")
    seed: int = _key(0, "of prompts, lengths and random weights")
    out: str = _key(str(RESULT), "results file")

    def __post_init__(self) -> None:
        if not self.models:
            raise UserError("models=[]: name at least one, such as assets or gpt2")
        for name in ("requests", "probes", "rounds", "prefill_chunk"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: at least one is needed")
        for name in ("prompt", "new"):
            span = getattr(self, name)
            if len(span) != 2 or not 1 <= span[0] <= span[1]:
                raise UserError(f"{name}={list(span)}: give the shortest and the longest, at least 1 token")
        if self.dtype not in ("fp32", "bf16"):
            raise UserError(f"dtype is {self.dtype!r}: choose fp32 or bf16")


def load(name: str, config: EngineBenchmarkConfig) -> Any:
    """A preset with random weights, or whatever `load_model` finds."""
    import torch

    from gpt_model.config import PRESETS, preset
    from gpt_model.gpt import GPT
    from gpt_model.loading import load_model

    if name in PRESETS:
        torch.manual_seed(config.seed)
        model = GPT(preset(name))
    else:
        model = load_model(name).model
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[config.dtype]
    return model.to(device=config.device, dtype=dtype).eval()


def make_requests(model: Any, config: EngineBenchmarkConfig) -> list[Any]:
    """Random prompts and lengths, evenly spread between the two ends, in random order."""
    from gpt_model.request import Request
    from gpt_model.sampling import Sampling

    draw, greedy = random.Random(config.seed), Sampling(temperature=0.0)
    spread = [i / max(config.requests - 1, 1) for i in range(config.requests)]
    prompts, answers = ([round(a + (b - a) * x) for x in spread] for a, b in (config.prompt, config.new))
    draw.shuffle(prompts)
    draw.shuffle(answers)
    vocab = model.config.vocab_size
    return [
        Request([draw.randrange(vocab) for _ in range(length)], new, greedy)
        for length, new in zip(prompts, answers)
    ]


def serve(model: Any, requests: list[Any], chunk: int) -> list[list[int]]:
    """All requests by one engine: their new ids."""
    from gpt_model.engine import Engine

    engine = Engine(model, max_rows=len(requests), prefill_chunk=chunk, reuse_prefixes=False)
    rows: dict[int, list[int]] = {engine.submit(request): [] for request in requests}
    for event in engine.run():
        if event.token is not None:
            rows[event.request].append(event.token)
    return list(rows.values())


def first_token(engine: Any, request: Any) -> float:
    """Seconds from `submit` to the request's first token."""
    with Timer() as timer:
        number = engine.submit(request)
        while not any(event.request == number for event in engine.step()):
            pass
        synchronize()
    engine.cancel(number)
    engine.step()
    return timer.seconds


def first_tokens(model: Any, requests: list[Any], config: EngineBenchmarkConfig) -> dict[str, Any]:
    """How long a request waits for its first token: alone, and beside all others while these write."""
    from dataclasses import replace

    from gpt_model.engine import Engine

    def engine() -> Any:
        return Engine(model, max_rows=len(requests), prefill_chunk=config.prefill_chunk, reuse_prefixes=False)

    probe = sorted(requests, key=lambda r: len(r.ids))[len(requests) // 2]
    room = model.config.block_size
    busy = engine()
    others = [r for r in requests if r is not probe]
    for other in others:  # they write as long as the probes need
        busy.submit(replace(other, max_new_tokens=room - len(other.ids), on_overflow="stop"))
    for _ in range(2 * len(others) + 2):
        busy.step()
    alone, beside, steps = [], [], []
    first_token(engine(), probe)  # warm-up
    for _ in range(config.probes):
        alone.append(first_token(engine(), probe))
        beside.append(first_token(busy, probe))
        with Timer() as timer:
            busy.step()
            synchronize()
        steps.append(timer.seconds)
    return {
        "prompt_tokens": len(probe.ids),
        "others": len(others),
        "alone_s": statistics.median(alone),
        "beside_s": statistics.median(beside),
        "beside_max_s": max(beside),
        "step_s": statistics.median(steps),
        "ratio": statistics.median(b / a for a, b in zip(alone, beside)),
        "ratio_worst": statistics.median((b + s) / a for a, b, s in zip(alone, beside, steps)),
    }


def waits_at_once(model: Any, requests: list[Any], chunk: int) -> dict[str, float]:
    """All requests come at one moment: the wait for a first token, of the middle one and of the last."""
    from gpt_model.engine import Engine

    engine = Engine(model, max_rows=len(requests), prefill_chunk=chunk, reuse_prefixes=False)
    waits: dict[int, float] = {}
    with Timer() as timer:
        for request in requests:
            engine.submit(request)
        while len(waits) < len(requests):
            events = engine.step()
            synchronize()
            for event in events:
                waits.setdefault(event.request, timer.seconds)
    return {"median_s": statistics.median(waits.values()), "last_s": max(waits.values())}


def measure(name: str, config: EngineBenchmarkConfig) -> dict[str, Any]:
    """One model: both ways of serving in turn, then the wait for a first token."""
    model = load(name, config)
    block = model.config.block_size
    if config.prompt[1] + config.new[1] > block:
        raise UserError(
            f"prompts of {config.prompt[1]} and answers of {config.new[1]} tokens do not fit block_size {block} of "
            f"{name}: ask for shorter ones"
        )
    requests = make_requests(model, config)
    answers: dict[str, list[list[int]]] = {}

    def one_after_another() -> None:
        answers["alone"] = [serve(model, [request], config.prefill_chunk)[0] for request in requests]

    def together() -> None:
        answers["together"] = serve(model, requests, config.prefill_chunk)

    timed = compare({"one_after_another": one_after_another, "together": together}, rounds=config.rounds)
    tokens = sum(map(len, answers["alone"]))
    for row in timed["candidates"].values():
        row["tokens_per_second"] = tokens / row["median_s"]
    pairs = [
        (a, b)
        for one, other in zip(answers["alone"], answers["together"], strict=True)
        for a, b in zip(one, other)
    ]
    return {
        "parameters": model.num_parameters(),
        "new_tokens": tokens,
        "prompt_tokens": sum(len(request.ids) for request in requests),
        "served": timed,
        "times_sooner": timed["candidates"]["together"]["speedup"],
        "equal_tokens": sum(a == b for a, b in pairs) / len(pairs),
        "first_token": first_tokens(model, requests, config),
        "all_at_once": waits_at_once(model, requests, config.prefill_chunk),
    }


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write the results file."""
    config, _ = parse_args(
        argv,
        EngineBenchmarkConfig,
        prog="python -m gpt_model.benchmark_engine",
        description="Serve many requests at once and one after another; measure both, and the first token's wait.",
        aliases={"--out": "out", "--rounds": "rounds", "--device": "device"},
    )
    import torch

    from utils.device import pick_device

    pick_device(config.device)
    if config.threads:
        torch.set_num_threads(config.threads)
    figures: dict[str, Any] = {
        "requests": config.requests,
        "dtype": config.dtype,
        "device": config.device,
        "threads": torch.get_num_threads(),
        "load_average": list(os.getloadavg()),
        "models": {},
    }
    with Timer() as timer:
        for name in config.models:
            figures["models"][name] = own = measure(name, config)
            wait = own["first_token"]
            print(
                f"{name}: {config.requests} requests, {own['new_tokens']} new tokens: "
                f"{own['times_sooner']:.2f} x sooner together than one after another "
                f"({own['equal_tokens']:.1%} of the ids equal)\n"
                f"  first token: {wait['alone_s'] * 1000:.0f} ms alone, {wait['beside_s'] * 1000:.0f} ms beside "
                f"{wait['others']} others ({wait['ratio']:.2f} x; {wait['ratio_worst']:.2f} x just after a step "
                "began)\n"
                f"  all at one moment: first token after {own['all_at_once']['median_s'] * 1000:.0f} ms (median), "
                f"{own['all_at_once']['last_s'] * 1000:.0f} ms (the last)"
            )
    path = write_result(
        Path(config.out),
        name="engine",
        figures=figures,
        command=" ".join(["python -m gpt_model.benchmark_engine", *command_words(config)]),
        seed=config.seed,
        notes="Greedy; presets have random weights. ratio: the request came between two steps of the busy engine; "
        "ratio_worst: at the beginning of one, which it has to wait for.",
    )
    print(f"wrote {path} after {timer.seconds:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
