"""`python -m gpt_model.benchmark`: how fast tokens are written, beside transformers, llms-from-scratch and litgpt.

    python -m gpt_model.benchmark
    python -m gpt_model.benchmark parts=[batch1] modes=[int8] peers=[transformers] rounds=3

GPT-2 124M with random weights, a prompt of 64 tokens and 200 new ones, greedy. Parts, any of which can be left out:
- batch1, batch8: ours in fp32, bf16, int8 and int4, eager and compiled, in turn with the peers (A B A B …);
- uncached: the same model without a cache, as the sum over growing contexts, beside int8 with one (batch 8).

The idea: a step reads every weight once, so the bytes of the weights over the rate at which this machine reads memory,
measured in the same run, is the shortest time a step can take. The share of that rate stands beside every row. Ids
and logits are compared before anything is timed (`benchmark_decode`). A part that is not measured now keeps its figures
in the results file, each with the command and the date of its own. On a GPU `device=cuda` runs the same.
Left out: sampling, the engine's scheduling (`benchmark_engine`), attention at long contexts (`benchmark_attention`).
"""

from __future__ import annotations

import os
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli import run_main
from utils.config import command_words, parse_args
from utils.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from gpt_model.gpt import GPT

PARTS = ("batch1", "batch8", "uncached")
BATCH = {"batch1": 1, "batch8": 8, "uncached": 8}
MODES = ("fp32", "bf16", "int8", "int4")
PEERS = ("transformers", "transformers static", "llms-from-scratch", "litgpt")
RESULT = Path(__file__).with_name("results") / "decode.json"
# (part, ours, over whom) -> least ratio.
GOALS = {
    ("batch1", "fp32 eager", "transformers"): 1.4,
    ("batch1", "fp32 compiled", "transformers"): 2.2,
    ("batch1", "bf16 eager", "transformers"): 2.0,
    ("batch1", "bf16 compiled", "transformers"): 3.5,
    ("batch1", "int8 eager", "transformers"): 4.0,
    ("batch1", "int8 compiled", "transformers"): 6.5,
    ("batch8", "bf16 eager", "transformers"): 2.9,
    ("batch8", "bf16 compiled", "transformers"): 3.6,
    ("batch1", "fp32 eager", "llms-from-scratch"): 1.0,
    ("batch1", "fp32 eager", "litgpt"): 1.0,
    ("batch8", "fp32 eager", "llms-from-scratch"): 1.0,
    ("uncached", "int8", "no cache"): 20.0,
}


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class DecodeBenchmarkConfig:
    """What is measured, and how."""

    parts: tuple[str, ...] = _key(PARTS, "some of batch1, batch8, uncached")
    modes: tuple[str, ...] = _key(MODES, "some of fp32, bf16, int8, int4")
    peers: tuple[str, ...] = _key(PEERS, "some of these; also 'transformers compiled' (minutes to compile)")
    compile: bool = _key(
        True, "also compiled steps (about half a minute each, where a C++ compiler is found)"
    )
    preset: str = _key("gpt2", "shape of the model, weights at random")
    prompt: int = _key(64, "tokens of the prompt")
    new: int = _key(200, "tokens to write")
    rounds: int = _key(5, "rounds of each comparison")
    threads: int | None = _key(None, "threads of torch; null: what it takes by itself")
    device: str = _key("cpu", "cpu or cuda")
    seed: int = _key(0, "of weights and prompts")
    out: str = _key(str(RESULT), "results file")

    def __post_init__(self) -> None:
        known_peers = (*PEERS, "transformers compiled")
        for name, known in (("parts", PARTS), ("modes", MODES), ("peers", known_peers)):
            if set(getattr(self, name)) - set(known):
                raise UserError(f"{name}={list(getattr(self, name))} must name some of {list(known)}")
        if not self.parts or not self.modes:
            raise UserError("give at least one part and one mode")
        for name in ("prompt", "rounds"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: at least one is needed")
        if self.new < 2:
            raise UserError(
                f"new is {self.new}: the first token comes from the prompt, so at least 2 are needed"
            )


def measure_part(
    part: str, base: GPT, config: DecodeBenchmarkConfig, rates: dict[str, float]
) -> dict[str, Any]:
    """batch1 or batch8: name -> figures of every candidate that could be built and equals what it must."""
    from functools import partial

    from gpt_model.benchmark_decode import OurRun, check_logits, model_for, part_at_ties, reference_ids
    from gpt_model.benchmark_peers import SAME_WEIGHTS, make_peer
    from utils.timing import compare

    batch, capacity = BATCH[part], config.prompt + config.new
    ids = random_ids(base, batch, config)
    expected = reference_ids(base, ids, config.new)
    runs: dict[str, Any] = {}
    rows: dict[str, dict[str, Any]] = {}
    notes: dict[str, str] = {}
    for name in config.peers:
        run, note = make_peer(name, base, batch, capacity)
        if run is not None and name in SAME_WEIGHTS:
            rows[name] = {
                "rows_parted_at_ties": part_at_ties(base, ids, expected, run(ids, config.new), name)
            }
        elif run is not None:
            rows[name] = {"other_architecture": True}
        if run is None:
            notes[name] = note
        else:
            runs[name] = run
    for mode in config.modes:
        model = model_for(base, mode)
        for compiled in (False, True) if config.compile else (False,):
            name = f"{mode} {'compiled' if compiled else 'eager'}"
            own = OurRun(model, mode, batch, capacity, compile=compiled)
            if compiled and not own.step.compiled:
                notes[name] = "not measured: no compiler, or it failed"
                continue
            rows[name] = check_logits(own, base, ids, expected[:, :-1], name)
            if mode == "fp32":
                parted = part_at_ties(base, ids, expected, own(ids, config.new), name)
                rows[name]["rows_parted_at_ties"] = parted
            rows[name] |= {"build_s": own.build_s, "bytes_read": own.step_bytes}
            runs[name] = own
    timed = compare({name: partial(run, ids, config.new) for name, run in runs.items()}, rounds=config.rounds)
    for name, own in timed["candidates"].items():
        row = rows[name] = {**rows[name], **own}
        row["tokens_per_s"] = batch * config.new / own["median_s"]
        if isinstance(runs[name], OurRun):
            row["prefill_s"] = statistics.median(runs[name].prefill_s[-config.rounds :])
            row["step_s"] = (own["median_s"] - row["prefill_s"]) / (config.new - 1)
            row["bytes_per_s"] = row["bytes_read"] / row["step_s"]
            row["share_of_memory"] = row["bytes_per_s"] / rates["read_bytes_per_s"]
    return {
        "baseline": timed["baseline"],
        "batch": batch,
        "candidates": rows,
        "notes": notes,
        "ratios": ratios(rows),
    }


def measure_uncached(base: GPT, config: DecodeBenchmarkConfig) -> dict[str, Any]:
    """Writing without a cache, from passes over three contexts (Simpson's rule), beside int8 with one."""
    import torch

    from gpt_model.benchmark_decode import OurRun, model_for
    from utils.timing import compare

    batch = BATCH["uncached"]
    ids = random_ids(base, batch, config)
    text = random_ids(base, batch, config, extra=config.new)
    model = model_for(base, "int8")
    own = OurRun(model, "int8", batch, config.prompt + config.new, compile=config.compile)
    contexts = [config.prompt, config.prompt + (config.new - 1) // 2, config.prompt + config.new - 1]

    def whole(context: int) -> Any:
        def run() -> Any:
            with torch.inference_mode():
                return base(text[:, :context], last_only=True)

        return run

    calls = {"int8": lambda: own(ids, config.new), **{str(c): whole(c) for c in contexts}}
    timed = compare(calls, rounds=min(config.rounds, 3))["candidates"]
    # The mean over the contexts by Simpson's rule, times the tokens.
    rounds = list(zip(*(timed[str(c)]["seconds"] for c in contexts), strict=True))
    seconds = [config.new * (a + 4 * b + c) / 6 for a, b, c in rounds]
    found = [slow / fast for slow, fast in zip(seconds, timed["int8"]["seconds"], strict=True)]
    ratio = {"median": statistics.median(found), "min": min(found), "max": max(found)}
    return {
        "baseline": "no cache",
        "batch": batch,
        "candidates": {
            "int8": timed["int8"],
            "no cache": {"median_s": statistics.median(seconds), "seconds": seconds},
        },
        "contexts": {str(c): timed[str(c)]["median_s"] for c in contexts},
        "notes": {"no cache": "float32, from passes over three contexts by Simpson's rule"},
        "ratios": {"int8 over no cache": ratio},
    }


def random_ids(model: GPT, batch: int, config: DecodeBenchmarkConfig, extra: int = 0) -> Tensor:
    """Prompts (batch, prompt + extra) of random ids, the same ones for the same seed."""
    import torch

    draw = torch.Generator().manual_seed(config.seed)
    ids = torch.randint(0, model.config.vocab_size, (batch, config.prompt + extra), generator=draw)
    return ids.to(model.device)


def ratios(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """How many times as fast ours are as each peer: the ratio within each round, median and range."""
    found = {}
    for name, row in rows.items():
        for peer, other in rows.items():
            if "bytes_read" in row and "bytes_read" not in other:
                pairs = [b / a for a, b in zip(row["seconds"], other["seconds"], strict=True)]
                median = statistics.median(pairs)
                found[f"{name} over {peer}"] = {"median": median, "min": min(pairs), "max": max(pairs)}
    return found


def show(part: str, figures: dict[str, Any], rates: dict[str, float]) -> None:
    """One line for each candidate."""
    print(f"{part}: memory is read at {rates['read_bytes_per_s'] / 1e9:.1f} GB/s")
    for name, row in figures["candidates"].items():
        if "tokens_per_s" not in row:
            continue
        over = figures["ratios"].get(f"{name} over transformers")
        times = "" if over is None else f"  × {over['median']:.2f} ({over['min']:.2f} to {over['max']:.2f})"
        bound = ""
        if "share_of_memory" in row:
            bound = (
                f"  step {row['step_s'] * 1e3:6.2f} ms reads {row['bytes_read'] / 1e6:6.1f} MB "
                f"at {row['share_of_memory']:4.0%} of memory's rate"
            )
        print(f"  {name:22} {row['tokens_per_s']:8.1f} tokens/s{times}{bound}")
    for name, note in figures["notes"].items():
        print(f"  {name}: {note}")


def compare_with_goals(parts: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each goal: what was reached, or that it was not measured."""
    rows = []
    for (part, ours, over), least in GOALS.items():
        found = parts.get(part, {}).get("ratios", {}).get(f"{ours} over {over}")
        row = {"part": part, "goal": f"{ours} over {over}", "least": least}
        rows.append({**row, "measured": False} if found is None else {**row, **found, "measured": True})
    return rows


def show_goals(rows: list[dict[str, Any]]) -> None:
    """The goals and what was reached, one line each."""
    for row in rows:
        what = f"{row['part']}: {row['goal']} at least {row['least']:g}"
        if not row["measured"]:
            print(f"{what}: not measured")
        else:
            print(
                f"{what}: {row['median']:.2f}, {'reached' if row['median'] >= row['least'] else 'NOT reached'}"
            )


def earlier_parts(path: Path) -> dict[str, Any]:
    """Parts that an earlier run left in the results file."""
    import json

    try:
        return json.loads(path.read_text(encoding="utf-8"))["figures"]["parts"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write the results file after each part."""
    config, _ = parse_args(
        argv,
        DecodeBenchmarkConfig,
        prog="python -m gpt_model.benchmark",
        description="Tokens a second of greedy writing, beside other libraries.",
        aliases={"--out": "out", "--rounds": "rounds", "--device": "device"},
    )
    import torch

    from attention_mechanisms.benchmark_harness import bandwidth
    from gpt_model.benchmark_decode import TOLERANCE
    from gpt_model.config import preset
    from gpt_model.gpt import GPT
    from utils.device import pick_device
    from utils.provenance import now
    from utils.timing import Timer, write_result

    device = pick_device(config.device)
    if config.threads:
        torch.set_num_threads(config.threads)
    shape = preset(config.preset)
    if config.prompt + config.new > shape.block_size:
        raise UserError(f"prompt + new is {config.prompt + config.new} but block_size is {shape.block_size}")
    torch.manual_seed(config.seed)
    base = GPT(shape).to(device).eval()
    command = " ".join(["python -m gpt_model.benchmark", *command_words(config)])
    parts = earlier_parts(Path(config.out))
    for part in config.parts:
        rates = bandwidth(device)
        with Timer() as timer:
            own = (
                measure_uncached(base, config)
                if part == "uncached"
                else measure_part(part, base, config, rates)
            )
        own |= {"bandwidth": rates, "command": command, "date": now(), "load_average": list(os.getloadavg())}
        parts[part] = own
        show(part, own, rates)
        goals = compare_with_goals(parts)
        figures = {
            "shape": shape.to_dict(),
            "prompt": config.prompt,
            "new": config.new,
            "tolerance": TOLERANCE,
        }
        path = write_result(
            config.out,
            name="decode",
            figures={**figures, "parts": parts, "goals": goals},
            command=command,
            seed=config.seed,
            notes="Random weights. Ratios are taken within a round; a part has the command and date of its own run.",
        )
        print(f"wrote {path} after {timer.seconds:.0f} s", flush=True)
    show_goals(goals)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
