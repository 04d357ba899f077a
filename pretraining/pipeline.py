"""`python -m pretraining.pipeline`: from a text to a model that was trained, judged and heard, in one command.

    python -m pretraining.pipeline input=book.txt training.minutes=10
    python -m pretraining.pipeline input=book.txt training.lr=2e-3              only the training and what follows
    python -m pretraining.pipeline tokenizer=latest shards=latest training.minutes=30
    python -m pretraining.pipeline train=RUN finetune=true

    tokenizer ─▶ shards ─▶ train ─▶ (finetune) ─▶ evaluate, sample

Each stage is `true` (made, or kept where nothing that decides it has changed), `false`, `latest` (the newest that any
pipeline made), `fresh` (made again) or a path of one's own. `runs/pipeline/<id>/run.json` says how every stage ended:
made, unchanged, given, off, failed with its reason, stopped, or not reached. Ctrl-C lets the training save; the same
command then goes on in the middle. A stage that runs out of memory, or is killed, takes only itself down.
Left out: stages at the same time. Their folders and keys: `pipeline_stages`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pretraining.child_process import Child, Ending, python
from pretraining.pipeline_stages import (
    ORDER,
    STAGES,
    Product,
    Stage,
    StageStore,
    given,
    input_content,
    words,
)
from utils.cli import run_main
from utils.config import load_config, parse_args, to_dict
from utils.errors import RunFailure, UserError, closest, did_you_mean
from utils.runs import Run, runs_root

STAGE = "pipeline"
POLL_SECONDS = 0.05
MODES = ("true", "false", "latest", "fresh")
# The markers of a conversation have ids from the start, so that a finetuned model needs no new vocabulary.
SPECIALS = ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>")
FINETUNE = ("-m", "finetuning.instruction.train", "ckpt={checkpoint}", "runs={out}")
BOOKKEEPING = (
    "log_every",
    "eval_every",
    "save_every",
    "keep_last",
)  # of training: decides nothing that comes out


def _key(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class PipelineConfig:
    """Which stages, and what each is told."""

    input: str = _key("storyland", "a corpus (storyland, pydoc), a file, a folder or a glob")
    vocab_size: int = _key(2048, "of the tokenizer, trained on the training part")
    tokenizer: bool | str = _key(True, "true, false, latest, fresh, or a tokenizer: a file, byte, gpt2")
    shards: bool | str = _key(True, "true, false (training reads the input), latest, fresh, or a folder")
    train: bool | str = _key(True, "true, false, latest, fresh, or a model: a run, a checkpoint")
    finetune: bool | str = _key(False, "true, false, latest, fresh, or a model")
    evaluate: bool | str = _key(True, "true, false or fresh")
    sample: bool | str = _key(True, "true, false or fresh")
    recipe: str | None = _key(None, "a YAML file of pretraining.train, under `training`")
    text: dict[str, Any] = field(
        default_factory=dict,
        metadata={"help": "keys of working_with_text_data.pipeline: text.val_fraction=0.1"},
    )
    training: dict[str, Any] = field(
        default_factory=dict, metadata={"help": "keys of pretraining.train: training.minutes=5"}
    )
    finetuning: dict[str, Any] = field(
        default_factory=dict, metadata={"help": "keys of the finetuning command"}
    )
    finetune_command: tuple[str, ...] = _key(
        FINETUNE, "arguments of python; {checkpoint} and {out} are filled in"
    )
    evaluation: dict[str, Any] = field(
        default_factory=dict, metadata={"help": "keys of pretraining.evaluate: evaluation.by=source"}
    )
    sampling: dict[str, Any] = field(
        default_factory=dict, metadata={"help": "flags of gpt_model.sample: sampling.temperature=0.5"}
    )
    runs: str | None = _key(None, "where runs and stages go; null: $SCRATCHBOOK_RUNS, else ./runs")

    def mode(self, stage: str) -> str:
        """`true`, `false`, `latest`, `fresh` or a path."""
        value = getattr(self, stage)
        text = str(value).lower() if isinstance(value, bool) else str(value)
        return {"on": "true", "off": "false"}.get(text, text)

    def settings(self, stage: str) -> dict[str, Any]:
        """What decides a stage, in plain values."""
        root = str(runs_root(self.runs).absolute())
        text = {"input": self.input, **self.text}
        return {
            "tokenizer": {"special_tokens": list(SPECIALS), **text, "vocab_size": self.vocab_size},
            "shards": text,
            "train": self._training(root),
            "finetune": {"command": list(self.finetune_command), **self.finetuning},
            "evaluate": dict(self.evaluation),
            "sample": {"prompt": "Once upon a time", "seed": 0, **self.sampling},
        }[stage]

    def _training(self, root: str) -> dict[str, Any]:
        own = (
            {"data": self.input, "vocab_size": self.vocab_size}
            if self.recipe is None
            else {"data": self.input}
        )
        named = {} if self.recipe is None else {"recipe": self.recipe}
        return {**own, **self.training, **named, "runs": root}


def check(config: PipelineConfig) -> None:
    """Refuse, before anything is made, what could not work: modes, unknown keys, a stage without its input."""
    from pretraining.evaluate import EvaluateConfig
    from pretraining.pretrain_config import PretrainConfig
    from working_with_text_data.pipeline_config import PipelineConfig as TextConfig

    modes = {stage: config.mode(stage) for stage in ORDER}
    for stage in ("evaluate", "sample"):
        if modes[stage] not in ("true", "false", "fresh"):
            raise UserError(f"{stage}={modes[stage]}: it is true, false or fresh")
    if modes["tokenizer"] == "false" and modes["shards"] in ("true", "fresh"):
        raise UserError("shards need a tokenizer: give tokenizer=true, latest, a file, or byte")
    if modes["train"] == "false":
        for stage in ("finetune", "evaluate", "sample"):
            if modes[stage] in ("true", "fresh"):
                raise UserError(f"{stage} needs a model: give train=true, latest or a run, or {stage}=false")
    for key in ("input", "out", "tokenizer", "vocab_size", "tokenise", "statistics"):
        if key in config.text:
            raise UserError(f"text.{key} is the pipeline's own business: leave it out, or give {key}=…")
    for key in ("data", "runs", "resume"):
        if key in config.training:
            raise UserError(f"training.{key}: the pipeline fills that in; give input= or runs=")
    training = {key: value for key, value in config.settings("train").items() if key != "recipe"}
    load_config(PretrainConfig, config.recipe, words(training))
    load_config(TextConfig, None, words({**config.settings("shards"), "out": "x", "tokenizer": "byte"}))
    load_config(EvaluateConfig, None, words(config.evaluation))
    _check_sampling(config.sampling)


def _check_sampling(settings: dict[str, Any]) -> None:
    from gpt_model.sample import build_parser

    known = [option[2:].replace("-", "_") for action in build_parser()._actions for option in action.option_strings
             if option.startswith("--")]  # fmt: skip
    for key in settings:
        if key not in known or key == "ckpt":
            hint = did_you_mean(closest(key, known))
            raise UserError(f"unknown key sampling.{key}: {hint}see `python -m gpt_model.sample --help`")


class Pipeline:
    """The stages of one call, one after the other. `launch` makes the command line of a stage."""

    def __init__(
        self,
        config: PipelineConfig,
        run: Run,
        *,
        launch: Callable[..., list[str]] = python,
        say: Callable[[str], None] = print,
    ) -> None:
        self.config, self.run, self.launch, self.say = config, run, launch, say
        self.store = StageStore(config.runs)
        self.products: dict[str, Product] = {}
        self.report: dict[str, dict[str, Any]] = {stage: {"status": "not reached"} for stage in ORDER}
        self._content: Any = None
        self._save()

    def go(self, stop: Any) -> Ending:
        """All stages; how the whole ended. Raises UserError or RunFailure for a stage that failed."""
        for name in ORDER:
            if stop.requested:
                return Ending("stopped", 130, f"stopped by {stop.reason}")
            try:
                end = self._stage(STAGES[name], self.config.mode(name), stop)
            except BaseException as error:
                if self.report[name]["status"] in ("not reached", "running"):
                    self._note(name, status="failed", reason=str(error) or type(error).__name__)
                raise
            if end is not None and end.status != "complete":
                self._note(name, status=end.status, reason=end.reason, code=end.code)
                if end.status == "stopped":
                    return end
                kind = UserError if end.code == 2 else RunFailure
                raise kind(f"stage {name}: {end.reason} (its log: {self.report[name]['log']})")
        return Ending("complete", 0)

    def _stage(self, stage: Stage, mode: str, stop: Any) -> Ending | None:
        """Bring one stage up to date. None where nothing had to be started."""
        name = stage.name
        if mode == "false":
            self._note(name, status="off")
            return None
        if mode not in MODES or mode == "latest":
            product = self.store.latest(stage) if mode == "latest" else given(stage, mode, self.config.runs)
            self._have(name, product, "given")
            return None
        settings = self.config.settings(name)
        reads_text = name in ("tokenizer", "shards") or (name == "train" and "shards" not in self.products)
        content = self._input() if reads_text else None
        key = self.store.key(stage, _deciding(name, settings), self.products, content)
        folder = self.store.folder(stage, key)
        if mode == "true" and (found := self.store.whole(stage, folder)) is not None:
            self._have(name, found, "unchanged")
            return None
        return self._make(stage, folder, settings, stop, fresh=mode == "fresh")

    def _make(
        self, stage: Stage, folder: Path, settings: dict[str, Any], stop: Any, *, fresh: bool
    ) -> Ending:
        """Run a stage's command and record what it made."""
        from pretraining.run_lock import run_lock

        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            stack.enter_context(run_lock(folder))
            if fresh:
                self._forget(stage, folder, settings)
            command = stage.command(folder, self.products, settings)
            log = folder / stage.output
            if stage.output != "log.txt":
                log.unlink(missing_ok=True)
            self._note(stage.name, status="running", folder=str(folder), log=str(log))
            self.say(f"{stage.name}: {' '.join(command[1:])}")
            child = Child(self.launch(*command), log)
            try:
                while (end := child.ended()) is None:
                    if stop.requested:
                        child.stop()
                    time.sleep(POLL_SECONDS)
            finally:
                child.kill()
            if end.status == "complete":
                product = self.store.record(stage, folder, settings, command)
                self._have(stage.name, product, "made", seconds=child.seconds)
            else:
                self._note(stage.name, seconds=child.seconds)
        return end

    def _forget(self, stage: Stage, folder: Path, settings: dict[str, Any]) -> None:
        """Remove what an earlier call made under this key: `fresh` means from the beginning."""
        import shutil

        from pretraining.pipeline_stages import run_id_of

        for path in folder.iterdir():
            if path.name != "lock":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if stage.name == "train":
            shutil.rmtree(runs_root(settings["runs"]) / "pretrain" / run_id_of(folder), ignore_errors=True)

    def _input(self) -> Any:
        if self._content is None:
            self._content = input_content(self.config.input)
        return self._content

    def _have(self, name: str, product: Product, status: str, **facts: Any) -> None:
        self.products[name] = product
        self._note(name, status=status, path=product.path, **facts)
        if status != "made":
            self.say(f"{name}: {status}, {product.path}")

    def _note(self, name: str, **facts: Any) -> None:
        self.report[name].update({key: value for key, value in facts.items() if value is not None})
        self._save()

    def _save(self) -> None:
        self.run.note(stages=self.report)


def _deciding(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that decide what comes out; a recipe by its content."""
    if name != "train":
        return settings
    from pretraining.pretrain_config import PretrainConfig

    own = {key: value for key, value in settings.items() if key not in ("recipe", "runs")}
    resolved = to_dict(load_config(PretrainConfig, settings.get("recipe"), words(own)))
    return {key: value for key, value in resolved.items() if key not in (*BOOKKEEPING, "runs", "data")}


def table(report: dict[str, dict[str, Any]]) -> str:
    """How each stage ended, as text."""
    lines = []
    for name, facts in report.items():
        seconds = f"{facts['seconds']:.0f} s" if "seconds" in facts else ""
        words_ = facts.get("reason") or facts.get("path") or ""
        lines.append(f"{name:10} {facts['status']:12} {seconds:>8}  {words_}".rstrip())
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns 0, 130 when it was stopped; a failed stage gives its own code."""
    from pretraining.stopping import StopRequest

    config, _ = parse_args(
        argv,
        PipelineConfig,
        prog="python -m pretraining.pipeline",
        description="Tokenizer, shards, training, finetuning, evaluation, samples: one command, each stage kept.",
        aliases={"--input": "input"},
    )
    check(config)
    with Run.create(STAGE, to_dict(config), root=config.runs) as run:
        pipeline = Pipeline(config, run)
        try:
            with StopRequest() as stop:
                end = pipeline.go(stop)
            if end.status == "stopped":
                run.finish("stopped", end.reason)
        finally:
            print(table(pipeline.report))
            print(f"run: {run.path}")
    if run.status == "stopped":
        print("stopped: the same command goes on", file=sys.stderr)
        return 130
    model = pipeline.products.get("finetune", pipeline.products.get("train"))
    if model is not None:
        print(f"next: scratchbook sample --ckpt {model.path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))  # type: ignore[arg-type]
