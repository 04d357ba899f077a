"""`python -m gpt_model.speculative`: writing with a draft against plain writing, in turn, on the same prompts.

    python -m gpt_model.speculative ckpt=assets draft=ngram,layers:1,lookup
    python -m gpt_model.speculative ckpt=RUN draft=SMALLER_RUN draft_tokens=[3]

Drafts, several with a comma: `ngram` (a table counted on `corpus`, as many texts as `documents` says), `lookup` (the
text itself), `layers:N` (the model's own first layers), a checkpoint with the same tokenizer, or `none`, which never
guesses: what the loop itself costs or saves beside the engine, so that a draft gets no credit for it. Prompts are the
beginnings of texts that come after those the table has seen. Greedy ids are compared with plain ones before any
clock runs; each way of writing gives equally many tokens. What a draft gains is the ratio of the two times, beside
the share of guesses that were kept and the tokens each pass of the model gave. Left out: quality, which is that of
plain writing (a law).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from utils.config import command_words, parse_args
from utils.errors import UserError
from utils.timing import Timer, compare, write_result

RESULT = Path(__file__).with_name("results") / "speculative.json"


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class SpeculativeBenchmarkConfig:
    """Which model, which drafts, how often."""

    ckpt: str = _key("assets", "the model: assets, last, best, a run, or a checkpoint folder")
    draft: str = _key(
        "ngram,lookup,layers:1", "ngram, lookup, layers:N, none or a checkpoint; several with a comma"
    )
    draft_tokens: tuple[int, ...] = _key((4, 8), "guesses a pass; each number is measured")
    temperatures: tuple[float, ...] = _key((0.0, 0.8), "0 is greedy; each is measured")
    corpus: str = _key("storyland", "texts for prompts and for the table of draft=ngram")
    documents: int = _key(3000, "draft=ngram: texts to count")
    order: int = _key(6, "draft=ngram, lookup: newest ids to look at")
    sure: float = _key(0.4, "draft=ngram: share of the cases from which on to guess, see `NgramDraft.train`")
    prompts: int = _key(8, "prompts")
    prompt_tokens: int = _key(16, "tokens of each prompt")
    new: int = _key(128, "new tokens for each")
    rounds: int = _key(5, "rounds of the comparison")
    threads: int | None = _key(None, "threads of torch; null: what it takes by itself")
    device: str = _key("cpu", "cpu or cuda")
    seed: int = _key(0, "of the texts and of what is drawn")
    out: str = _key(str(RESULT), "results file")

    def __post_init__(self) -> None:
        for name in ("documents", "order", "prompts", "prompt_tokens", "new", "rounds"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: at least one is needed")
        if not self.draft_tokens or not self.temperatures or not self.draft:
            raise UserError("draft, draft_tokens and temperatures each need at least one entry")


def texts(config: SpeculativeBenchmarkConfig, tokenizer: Any) -> tuple[list[list[int]], list[list[int]]]:
    """Ids of the texts to count, and the prompts: beginnings of other texts, behind the end of the one before."""
    from working_with_text_data import load_documents

    end = tokenizer.special_tokens.get("<|endoftext|>")
    first = [] if end is None else [end]
    ids: list[list[int]] = []
    wanted = config.documents + config.prompts
    for document in islice(load_documents(config.corpus, max_documents=None, seed=config.seed), wanted):
        ids.append([*first, *tokenizer.encode_ordinary(document.text)])
    if len(ids) < wanted:
        raise UserError(f"{config.corpus} has {len(ids)} texts, {wanted} are needed: lower documents")
    return ids[: config.documents], [text[: config.prompt_tokens] for text in ids[config.documents :]]


def make_draft(name: str, config: SpeculativeBenchmarkConfig, model: Any, counted: list[list[int]]) -> Any:
    """The draft that a name means."""
    from gpt_model.drafts import NgramDraft, PromptLookup, first_layers
    from gpt_model.loading import load_model

    if name == "none":
        return NgramDraft([])
    if name == "ngram":
        return NgramDraft.train(counted, order=config.order, sure=config.sure)
    if name == "lookup":
        return PromptLookup(config.order)
    kind, _, number = name.partition(":")
    if kind == "layers":
        if not number.isdigit():
            raise UserError(f"draft is {name!r}: say how many layers, such as layers:1")
        return first_layers(model, int(number))
    return load_model(name, device=config.device).model


def measure(config: SpeculativeBenchmarkConfig) -> dict[str, Any]:
    """Plain and speculative writing in turn, for every draft, number of guesses and temperature."""
    from gpt_model.generation import generate
    from gpt_model.loading import load_model
    from gpt_model.sampling import Sampling
    from gpt_model.speculative import Statistics, generate_speculative

    loaded = load_model(config.ckpt, device=config.device)
    model, block = loaded.model, loaded.config.block_size
    if loaded.tokenizer is None:
        raise UserError(f"{loaded.path} has no tokenizer.json of ours: prompts cannot be made")
    if config.prompt_tokens + config.new > block:
        raise UserError(
            f"prompts of {config.prompt_tokens} and {config.new} new tokens do not fit block_size {block}"
        )
    counted, prompts = texts(config, loaded.tokenizer)
    drafts, made = {}, {}
    for name in (part.strip() for part in config.draft.split(",")):
        with Timer() as timer:
            drafts[name] = make_draft(name, config, model, counted)
        made[name] = timer.seconds
    figures: dict[str, Any] = {"parameters": model.num_parameters(), "draft_seconds": made, "rows": []}
    for temperature in config.temperatures:
        sampling = Sampling(temperature=temperature, seed=config.seed)
        plainly = partial(generate, model, max_new_tokens=config.new, sampling=sampling)
        one_by_one = partial(_alone, plainly, prompts)
        ways: dict[str, Callable[[], Any]] = {"plain": one_by_one}
        gained: dict[str, dict[str, Any]] = {}
        for name, draft in drafts.items():
            for count in config.draft_tokens[: 1 if name == "none" else None]:
                way, statistics = f"{name}, {count} guesses", Statistics()
                ways[way] = partial(
                    generate_speculative, model, draft, prompts, max_new_tokens=config.new,
                    draft_tokens=count, sampling=sampling, statistics=statistics,
                )  # fmt: skip
                gained[way] = {"draft": name, "draft_tokens": count, "statistics": statistics}
        if sampling.greedy:
            own = one_by_one()
            for way, gain in gained.items():
                gain["same_texts"] = sum(a == b for a, b in zip(own, ways[way](), strict=True)) / len(own)
        timed = compare(ways, rounds=config.rounds)
        tokens = len(prompts) * config.new
        for way, clock in timed["candidates"].items():
            row: dict[str, Any] = {"temperature": temperature, "way": way, **gained.get(way, {})}
            if statistics := row.pop("statistics", None):
                row |= {name: getattr(statistics, name) for name in ("acceptance_rate", "tokens_per_pass")}
            figures["rows"].append({**row, **clock, "tokens_per_second": tokens / clock["median_s"]})
    return figures


def _alone(plainly: Callable[..., Any], prompts: list[list[int]]) -> list[list[int]]:
    """Row after row, as speculation writes them: a batch would be another comparison."""
    return [plainly([prompt])[0] for prompt in prompts]


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write the results file."""
    config, _ = parse_args(
        argv,
        SpeculativeBenchmarkConfig,
        prog="python -m gpt_model.speculative",
        description="Writing with a draft that guesses ahead, against plain writing, in turn.",
        aliases={"--out": "out", "--rounds": "rounds", "--device": "device"},
    )
    import torch

    from utils.device import pick_device

    pick_device(config.device)
    if config.threads:
        torch.set_num_threads(config.threads)
    with Timer() as timer:
        figures = measure(config)
    figures |= {"threads": torch.get_num_threads(), "load_average": list(os.getloadavg())}
    for row in figures["rows"]:
        line = f"temperature {row['temperature']}: {row['way']}: {row['tokens_per_second']:,.0f} tokens/s"
        if "acceptance_rate" in row:
            line += (
                f", {row['speedup']:.2f} x ({row['speedup_min']:.2f} to {row['speedup_max']:.2f}); "
                f"{row['acceptance_rate']:.0%} of the guesses kept, {row['tokens_per_pass']:.2f} tokens a pass"
            )
        if "same_texts" in row:
            line += f", {row['same_texts']:.0%} of the texts equal"
        print(line)
    path = write_result(
        Path(config.out),
        name="speculative",
        figures=figures,
        command=" ".join(["python -m gpt_model.speculative", *command_words(config)]),
        seed=config.seed,
        notes="One prompt after another in both. speedup: plain time over this one's, within each round.",
    )
    print(f"wrote {path} after {timer.seconds:.0f} s")
    return 0
