"""`python -m finetuning.evaluation.compare base=RUN tuned=RUN`: did it get better, at what, and at what cost?

    python -m finetuning.evaluation.compare base=RUN tuned=RUN out=comparison

Both models are asked the same held-out requests, and the base once more with solved examples before each (`prompting`).
The report has the share of right answers by kind with intervals, how often the tuned model wins with the interval of
the pairs (`resampling`), the loss on the pretraining validation part before and after (`forgetting`), what the
questions share with the training data (`contamination`), and answers side by side. It is one HTML page, one Markdown
text and one JSON file. Left out: judges that are models (`instruction.judge`).
Notebook: `05_did_it_get_better.ipynb`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli import run_main
from utils.config import parse_args
from utils.errors import UserError

if TYPE_CHECKING:
    from finetuning.evaluation.instructions import InstructionScore

ARMS = ("base", "prompted", "tuned")


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class CompareConfig:
    """Which two models, and on what."""

    base: str = _key("", "the model before tuning: a run, a checkpoint folder, assets")
    tuned: str = _key("last", "the model after tuning")
    questions: str = _key("storyland", "storyland, or a file of conversations with one right answer each")
    requests: int = _key(
        340, "held-out requests to ask; a multiple of 17 has Storyland's kinds equally often"
    )
    seed: int = _key(0, "of the requests, the shown examples and the bootstrap")
    shots: int = _key(3, "solved examples before each request in the prompted row")
    examples: str | None = _key(None, "file of solved examples to show; null: Storyland's own of each kind")
    template: str | None = _key(None, "how the tuned model is asked; null: as its run was tuned")
    text: str | None = _key(
        None, "text for the loss before and after; null: the base run's own validation part"
    )
    val_tokens: int | None = _key(100_000, "predictions of that text; null: all")
    ngram: int = _key(8, "words of an n-gram that counts as shared with training")
    samples: int = _key(17, "requests shown with all answers")
    device: str = _key("auto", "auto, cpu, cuda, mps")
    out: str = _key("comparison", "folder of the report")

    def __post_init__(self) -> None:
        if not self.base:
            raise UserError(
                "base is not given: name the model before tuning, such as base=RUN or base=assets"
            )
        for name, least in (("requests", 1), ("ngram", 1), ("shots", 0), ("samples", 0)):
            if getattr(self, name) < least:
                raise UserError(
                    f"{name} is {getattr(self, name)}, but the least is {least}: set {name}={least}"
                )
        if self.val_tokens is not None and self.val_tokens < 1:
            raise UserError(
                f"val_tokens is {self.val_tokens}, but the least is 1: set val_tokens=null for all"
            )


def compare_runs(config: CompareConfig) -> dict[str, Any]:
    """All figures of the comparison, JSON-safe. Raises UserError for models that cannot be asked."""
    from finetuning.evaluation.instructions import exact_match, judge
    from finetuning.evaluation.prompting import prompted_answers
    from finetuning.evaluation.sources import load_questions
    from finetuning.templates import has_roles, template_of
    from gpt_model.loading import load_model
    from utils.device import pick_device

    device = pick_device(config.device)
    base, tuned = (load_model(ref, device=device) for ref in (config.base, config.tuned))
    for loaded in (base, tuned):
        if loaded.tokenizer is None:
            raise UserError(f"{loaded.path} has no tokenizer.json of ours: it cannot be asked anything")
    questions = load_questions(config.questions, config.requests, seed=config.seed)
    plain = template_of(base.path)
    if plain == "scratchbook" and not has_roles(base.tokenizer):
        plain = "plain"
    own = config.template or template_of(tuned.path)
    scores = {"base": exact_match(base.model, base.tokenizer, questions, template=plain)}
    shown = _examples(config)
    written = prompted_answers(
        base.model, base.tokenizer, questions, shots=config.shots, seed=config.seed, examples=shown
    )
    scores["prompted"] = judge(questions, written)
    scores["tuned"] = exact_match(tuned.model, tuned.tokenizer, questions, template=own)
    shared = _contamination(config, base, tuned, scores["tuned"])
    return {
        "base": str(base.path),
        "tuned": str(tuned.path),
        "questions": config.questions,
        "asked": len(questions),
        "shots": config.shots,
        "templates": {"base": plain, "tuned": own},
        **score_figures(scores, seed=config.seed),
        "forgetting": _forgetting(config, base, tuned, str(device)),
        "contamination": shared,
        "samples": side_by_side(scores, config.samples),
    }


def _examples(config: CompareConfig) -> list[Any] | None:
    """What the prompted row is shown: a file's, Storyland's own (None), or nothing: what is asked is not shown."""
    from finetuning.evaluation.sources import load_questions

    if config.examples is not None:
        return load_questions(config.examples, config.shots, seed=config.seed)
    return None if config.questions == "storyland" else []


def score_figures(scores: Mapping[str, InstructionScore], *, seed: int = 0) -> dict[str, Any]:
    """Shares of every arm by kind, and the pairs of the last arm against each other one."""
    from finetuning.evaluation.resampling import paired_difference, win_rate

    arms = {
        name: {
            "overall": share_figures(score.overall),
            "by_kind": {kind: share_figures(share) for kind, share in score.by_kind.items()},
        }
        for name, score in scores.items()
    }
    *others, last = scores
    after = scores[last].answers
    pairs: dict[str, Any] = {}
    for name in others:
        before = scores[name].answers
        right = [a.correct for a in before], [a.correct for a in after]
        kinds = {}
        for kind in scores[last].by_kind:
            own = [i for i, a in enumerate(after) if a.kind == kind]
            kinds[kind] = paired_difference(*([side[i] for i in own] for side in right), seed=seed).to_dict()
        pairs[name] = {
            "difference": paired_difference(*right, seed=seed).to_dict(),
            "win_rate": win_rate(*right, seed=seed).to_dict(),
            "by_kind": kinds,
        }
    return {"arms": arms, "over": pairs}


def share_figures(share: Any) -> dict[str, Any]:
    """A `Share` as plain numbers."""
    low, high = share.interval
    return {"hits": share.hits, "total": share.total, "value": share.value, "low": low, "high": high}


def side_by_side(scores: Mapping[str, InstructionScore], count: int) -> list[dict[str, Any]]:
    """`count` requests with the answers of all arms, one of each kind before a second of any."""
    arms = {name: score.answers for name, score in scores.items()}
    first = next(iter(arms.values()))
    seen: dict[str, int] = {}
    turns = []
    for number, answered in enumerate(first):
        turns.append((seen.get(answered.kind, 0), number))
        seen[answered.kind] = seen.get(answered.kind, 0) + 1
    rows = []
    for _, number in sorted(turns)[:count]:
        asked = first[number]
        said = {name: asdict(answers[number]) for name, answers in arms.items()}
        rows.append(
            {
                "kind": asked.kind,
                "prompt": asked.prompt,
                "expected": asked.expected,
                "answers": {n: {"answer": a["answer"], "correct": a["correct"]} for n, a in said.items()},
            }
        )
    return rows


def _forgetting(config: CompareConfig, base: Any, tuned: Any, device: str) -> dict[str, Any]:
    from finetuning.evaluation.forgetting import measure_forgetting
    from finetuning.evaluation.sources import pretraining_split

    try:
        if config.text is not None:
            from working_with_text_data.documents import load_documents

            name, documents = Path(config.text).name, list(load_documents(config.text))
        else:
            name, split = pretraining_split(base.path)
            documents = split.val
    except UserError as error:
        return {"not_measured": str(error)}
    found = measure_forgetting(base, tuned, documents, text=name, max_tokens=config.val_tokens, device=device)
    return found.to_dict()


def _contamination(config: CompareConfig, base: Any, tuned: Any, score: InstructionScore) -> dict[str, Any]:
    """What the questions share with tuning and with pretraining, and the score on those that share nothing."""
    from finetuning.evaluation.contamination import contamination
    from finetuning.evaluation.sources import pretraining_split, tuning_prompts

    prompts = [answered.prompt for answered in score.answers]

    def tuning() -> Any:
        return tuning_prompts(tuned.path)

    def pretraining() -> Any:
        return (document.text for document in pretraining_split(base.path)[1].train)

    report: dict[str, Any] = {}
    for name, texts in (("tuning", tuning), ("pretraining", pretraining)):
        try:
            found = contamination(texts(), prompts, n=config.ngram)
        except UserError as error:
            report[name] = {"not_measured": str(error)}
            continue
        report[name] = found.to_dict()
        for side, wanted in (("sharing", True), ("clean", False)):
            own = [a.correct for a, has in zip(score.answers, found.shared, strict=True) if has is wanted]
            report[name][side] = {"hits": sum(own), "total": len(own)}
    return report


def write_comparison(config: CompareConfig, figures: Mapping[str, Any]) -> Path:
    """comparison.json, .md and .html in `config.out`; returns the page."""
    from finetuning.evaluation.compare_page import html_page, markdown
    from utils.files import atomic_write_text
    from utils.timing import write_result

    folder = Path(config.out)
    words = [f"base={config.base}", *(w for w in _words(config) if not w.startswith("base="))]
    command = " ".join(["python -m finetuning.evaluation.compare", *words])
    folder.mkdir(parents=True, exist_ok=True)
    write_result(
        folder / "comparison.json", name="comparison", figures=figures, command=command, seed=config.seed
    )
    atomic_write_text(folder / "comparison.md", markdown(figures))
    atomic_write_text(folder / "comparison.html", html_page(figures, command))
    return folder / "comparison.html"


def _words(config: CompareConfig) -> list[str]:
    known = CompareConfig(base="?")
    return [
        f"{key}={value}"
        for key, value in vars(config).items()
        if value != getattr(known, key) and key not in ("out", "base")
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, write the report, say the figure that matters. Returns 0."""
    config, _ = parse_args(
        argv,
        CompareConfig,
        prog="python -m finetuning.evaluation.compare",
        description="One report for a tuned model against its base.",
    )
    figures = compare_runs(config)
    page = write_comparison(config, figures)
    from finetuning.evaluation.compare_page import summary_lines

    for line in summary_lines(figures):
        print(line)
    print(f"wrote {page}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))  # type: ignore[arg-type]
