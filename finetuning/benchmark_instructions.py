"""`python -m finetuning.benchmark_instructions`: base, prompted, tuned, preferred: the whole way, over several seeds.

    python -m finetuning.benchmark_instructions
    python -m finetuning.benchmark_instructions seeds=[1] minutes=2 tune_minutes=2

For each seed a base is pretrained on stories alone, asked, asked with solved examples, tuned on requests, asked, tuned
on preferences, asked: every time the same held-out requests, judged by their verifiers. A stage is an ordinary command
in a process of its own, as a person would type it, and its wall and CPU seconds are kept. Every row is written at once;
the same command goes on where it was stopped. Between seeds everything differs: corpus, weights, training requests.

Settings were chosen with other seeds than these, but replay was added when seed 1 had shown what it forgets (`LOG.md`).
Left out: other corpora; judges that are models.
Notebook: `05_did_it_get_better.ipynb`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetuning.instruction_results import ARMS, GOAL, RESULTS, analyse
from finetuning.recipes import recipe
from utils.cli import run_main
from utils.config import command_words, parse_args
from utils.errors import RunFailure, UserError


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class InstructionsBenchmark:
    """How long, how often, how many. The defaults take about 70 minutes on two quiet cores."""

    seeds: tuple[int, ...] = _key((1, 2, 3), "of corpus, weights and training requests, one whole way each")
    minutes: float = _key(10.0, "of pretraining")
    tune_minutes: float = _key(10.0, "of instruction tuning")
    dpo_epochs: float = _key(1.0, "of preference tuning, passes over its pairs")
    requests: int = _key(680, "held-out requests asked of every arm; a multiple of 17")
    question_seed: int = _key(20, "of these requests")
    shots: int = _key(3, "solved examples before each request in the prompted row")
    base_words: tuple[str, ...] = _key((), "more settings of pretraining, key=value")
    sft_words: tuple[str, ...] = _key((), "more settings of instruction tuning")
    dpo_words: tuple[str, ...] = _key((), "more settings of preference tuning")
    arms: tuple[str, ...] = _key(ARMS, "rows to make; each needs those before it")
    val_tokens: int = _key(50_000, "predictions of the validation text for the loss of each model")
    at_most: int | None = _key(None, "make so many rows in this call and stop")
    fresh: bool = _key(False, "forget what the results file holds and begin again")
    runs: str = _key("runs/benchmark_instructions", "folder for the runs of this benchmark")
    out: str = _key(str(RESULTS), "results file")

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise UserError(f"seeds={list(self.seeds)}: give at least one, each once")
        if unknown := [arm for arm in self.arms if arm not in ARMS]:
            raise UserError(f"arms has {unknown[0]!r}: choose among {', '.join(ARMS)}")
        for name in ("minutes", "tune_minutes", "dpo_epochs"):
            if getattr(self, name) <= 0:
                raise UserError(f"{name} is {getattr(self, name)}, but a budget is positive: set {name}=1")
        if self.requests < 17:
            raise UserError(f"requests is {self.requests}, but there are 17 kinds: set requests=17 or more")

    def same_study(self) -> dict[str, Any]:
        """The settings that must agree for rows to stand in one table."""
        names = ("minutes", "tune_minutes", "dpo_epochs", "requests", "question_seed", "shots")
        return {
            name: getattr(self, name)
            for name in (*names, "base_words", "sft_words", "dpo_words", "val_tokens")
        }


@dataclass(frozen=True)
class Stage:
    """One command of the way: what to run, and which run folder it leaves."""

    name: str
    stage: str
    words: list[str]


def stage_of(config: InstructionsBenchmark, arm: str, seed: int, root: Path, before: Path | None) -> Stage:
    """The command that makes the model of an arm. `before` is the run that it starts from."""
    from pretraining.child_process import python

    seeds = [f"seed={seed}", f"data_seed={seed}"]
    if arm == "base":
        words = [
            "pretraining.train",
            "--config",
            str(recipe("storyland_base")),
            f"minutes={config.minutes:g}",
        ]
        return Stage(arm, "pretrain", python("-m", *words, *seeds, f"runs={root}", *config.base_words))
    start = [f"ckpt={before}", f"runs={root}"]
    if arm == "sft":
        words = ["finetuning.instruction.train", "--config", str(recipe("storyland_sft"))]
        words += [f"minutes={config.tune_minutes:g}"]
        return Stage(arm, "sft", python("-m", *words, *seeds, *start, *config.sft_words))
    words = ["finetuning.preference.dpo", f"epochs={config.dpo_epochs:g}"]
    return Stage(arm, "dpo", python("-m", *words, *seeds, *start, *config.dpo_words))


def run_stage(stage: Stage, root: Path) -> dict[str, Any]:
    """Run it, unless a complete run of it is there; the run's folder, and the wall and CPU seconds it took.

    Raises RunFailure with the command's last words when it fails.
    """
    import resource

    from pretraining.child_process import Child
    from utils.runs import list_runs

    kept = root / "stage.json"
    if kept.is_file():
        made: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        if Path(made["run"]).is_dir():
            return made
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    child = Child(stage.words, root / "log.txt")
    try:
        child.process.wait()
    except BaseException:  # Ctrl-C reaches this process only
        child.stop()
        child.process.wait()
        raise
    end, seconds = child.ended(), child.seconds
    assert end is not None
    if end.status != "complete":
        raise RunFailure(f"{stage.name} failed: {end.reason} (all it said: {root / 'log.txt'})")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = [run for run in list_runs(stage=stage.stage, root=root) if run.status == "complete"]
    if not done:
        raise RunFailure(f"{stage.name} left no complete run in {root}: look at {root / 'log.txt'}")
    result = done[0].meta.get("result") or {}
    judged = (result.get("preferences") or {}).get("accuracy", {})
    made = {
        "run": str(done[0].path),
        "wall_seconds": seconds,
        "cpu_seconds": after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime,
        "training_seconds": result.get("seconds"),
        "steps": result.get("step"),
        **({"pairs_in_order": judged["hits"] / judged["total"]} if judged else {}),
    }
    from utils.files import atomic_write_json

    atomic_write_json(kept, made)
    return made


def questions_of(config: InstructionsBenchmark) -> tuple[list[Any], str]:
    """The requests that every arm of every seed is asked, and a hash of their words."""
    from finetuning.instruction.data import held_out_requests

    asked = held_out_requests(config.requests, seed=config.question_seed)
    return asked, hashlib.sha256("\n".join(r.prompt for r in asked).encode()).hexdigest()


def measure(
    config: InstructionsBenchmark, arm: str, seed: int, folder: Path, asked: Sequence[Any]
) -> dict[str, Any]:
    """Make the model of an arm, where it is not there yet, and ask it: one row of the table."""
    from finetuning.evaluation.compare import share_figures
    from finetuning.evaluation.instructions import exact_match, judge
    from finetuning.evaluation.prompting import prompted_answers
    from gpt_model.loading import load_model

    made: dict[str, Any] = {}
    before: Path | None = None
    for own in ("base", "sft", "dpo"):
        root = folder / f"seed{seed}" / own
        made = run_stage(stage_of(config, own, seed, root, before), root)
        before = Path(made["run"])
        if own == arm or (arm, own) == ("prompted", "base"):
            break
    loaded = load_model(str(before))
    if arm == "prompted":
        answers = prompted_answers(loaded.model, loaded.tokenizer, asked, shots=config.shots, seed=seed)
        score, cost = judge(asked, answers), {}
    else:
        score = exact_match(loaded.model, loaded.tokenizer, asked)
        cost = {**{k: v for k, v in made.items() if k != "run"}, **_loss(config, seed, loaded)}
    return {
        "seed": seed,
        "arm": arm,
        "overall": share_figures(score.overall),
        "by_kind": {kind: share_figures(share) for kind, share in score.by_kind.items()},
        "right": "".join("1" if a.correct else "0" for a in score.answers),
        "parameters": loaded.model.num_parameters(),
        "wrong": [{"prompt": a.prompt, "answer": a.answer} for a in score.answers if not a.correct][:10],
        **cost,
    }


def _loss(config: InstructionsBenchmark, seed: int, loaded: Any) -> dict[str, Any]:
    """Nats per token and perplexity on the validation stories of this seed's base."""
    from finetuning.evaluation.sources import pretraining_split
    from pretraining.prepared_data import encode_documents
    from pretraining.source_evaluation import evaluate_parts
    from utils.runs import list_runs

    (base, *_) = list_runs(stage="pretrain", root=Path(config.runs) / f"seed{seed}" / "base")
    _, split = pretraining_split(base.path)
    ids = encode_documents(split.val, loaded.tokenizer, at_least=config.val_tokens + 1)
    block = loaded.config.block_size
    (part,) = evaluate_parts(
        loaded.model,
        {"stories": ids},
        block_size=block,
        max_tokens=config.val_tokens,
        tokenizer=loaded.tokenizer,
    ).values()
    found = part.to_dict()
    return {"loss": found["loss"], "perplexity": found["perplexity"]}


def run_benchmark(config: InstructionsBenchmark, command: str) -> dict[str, Any]:
    """Make the rows that are missing, writing the results after each; returns the figures."""
    from utils.kept_rows import kept_rows
    from utils.timing import write_result

    asked, words = questions_of(config)
    settings = {**config.same_study(), "questions_sha256": words}
    rows = list(
        kept_rows(config.out, settings, rows="rows", study="instruction benchmark", fresh=config.fresh) or []
    )
    done = {(row["seed"], row["arm"]) for row in rows}
    wanted = [(seed, arm) for seed in config.seeds for arm in ARMS if arm in config.arms]
    todo = [each for each in wanted if each not in done][: config.at_most]
    figures: dict[str, Any] = {}
    for seed, arm in [*todo, *([] if todo else [(None, None)])]:
        if seed is not None:
            rows.append(measure(config, str(arm), seed, Path(config.runs).absolute(), asked))
            share = rows[-1]["overall"]
            print(
                f"seed {seed}  {arm:8} {100 * share['value']:5.1f} %  ({share['hits']} of {share['total']})",
                flush=True,
            )
        order = {each: i for i, each in enumerate(wanted)}
        rows.sort(key=lambda row: order.get((row["seed"], row["arm"]), len(order)))
        complete = all(each in {(row["seed"], row["arm"]) for row in rows} for each in wanted)
        figures = {"settings": settings, "complete": complete, "rows": rows, **analyse(rows)}
        write_result(
            config.out, name=Path(config.out).stem, figures=figures, command=command, seed=config.seeds[0],
            notes="exact: share of held-out requests whose greedy answer the verifier accepts. Mean over seeds with "
            "Student's interval; within a seed the paired bootstrap. training s: of that stage, by its own clock.",
        )  # fmt: skip
    return figures


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns 0."""
    config, _ = parse_args(
        argv,
        InstructionsBenchmark,
        prog="python -m finetuning.benchmark_instructions",
        description="Base, prompted, tuned, preferred: the same held-out requests, over several seeds.",
        aliases={"--out": "out"},
    )
    words = command_words(config, ("out", "at_most", "fresh", "runs"))
    figures = run_benchmark(config, " ".join(["python -m finetuning.benchmark_instructions", *words]))
    print(figures["table"])
    reached = figures["reached"]
    said = "not measured" if reached is None else f"reached {100 * reached:.1f} %"
    print(f"goal: tuned on requests, at least {100 * GOAL:.0f} % exact; {said}")
    print(f"wrote {config.out}")
    if not figures["complete"]:
        print("not all rows are made yet: the same command goes on", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))  # type: ignore[arg-type]
