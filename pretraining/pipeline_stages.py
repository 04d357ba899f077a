"""The stages of the pipeline: what each is told, what it reads, the command that makes it, and where it is kept.

    runs/stages/<stage>/<key>/    stage.json, log.txt and what the stage made

The key is a hash over the stage's settings and the content of what it reads. A stage is up to date when a record under
its key exists and the files still are, byte for byte, what was written; so a changed setting remakes the stages behind
it and no other, nothing older is overwritten, and going back to an earlier setting finds everything still there.
A stage is a command in a process of its own (`child_process`): the trainer's memory is gone before the next begins, and
later chapters can be called that this one may not import. Left out: the order and the reports (`pipeline`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.errors import RunFailure, UserError
from utils.files import atomic_write_json
from utils.provenance import now
from utils.runs import runs_root
from working_with_text_data.content_cache import as_records, content_of, file_digests, key_of

VERSION = 1  # another version, another key
RECORD = "stage.json"
ORDER = ("tokenizer", "shards", "train", "finetune", "evaluate", "sample")
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Product:
    """What a stage made: `path` is what the next stage reads, `content` identifies it."""

    path: str
    content: Any


@dataclass(frozen=True)
class Stage:
    """One stage. `command(folder, products, settings)` gives the arguments of `python`.

    `reads` names the stages whose products decide the result; `find(folder, settings)` is what the command made, and
    `files(path)` are those by which it is recognised.
    """

    name: str
    reads: tuple[str, ...]
    command: Callable[[Path, Mapping[str, Product], Settings], list[str]]
    find: Callable[[Path, Settings], Path]
    files: Callable[[Path], list[Path]]
    output: str = "log.txt"  # where what the command prints is kept


def words(settings: Settings, prefix: str = "") -> list[str]:
    """Settings as `key=value` words; a nested mapping as dot paths.

    >>> words({"lr": 0.001, "model": {"n_layer": 2}, "prompts": ["a"], "steps": None})
    ['lr=0.001', 'model.n_layer=2', 'prompts=["a"]', 'steps=null']
    """
    found = []
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found += words(value, f"{prefix}{key}.")
        else:
            found.append(f"{prefix}{key}={value if isinstance(value, str) else json.dumps(value)}")
    return found


def flags(settings: Settings) -> list[str]:
    """Settings as flags: `{"max_new_tokens": 50, "stream": True}` → `--max-new-tokens 50 --stream`."""
    found = []
    for key, value in settings.items():
        flag = f"--{key.replace('_', '-')}"
        if value is True:
            found.append(flag)
        elif value is not None and value is not False:  # a seed of 0 is a value
            for each in value if isinstance(value, list) else [value]:
                found += [flag, str(each)]
    return found


# ---------------------------------------------------------------- the commands


def _text(folder: Path, settings: Settings, *more: str) -> list[str]:
    common = [f"out={folder / 'text'}", "statistics=false", *words(settings)]
    return ["-m", "working_with_text_data.pipeline", *common, *more]


def _tokenizer(folder: Path, products: Mapping[str, Product], settings: Settings) -> list[str]:
    return _text(folder, settings, "tokenise=false")


def _shards(folder: Path, products: Mapping[str, Product], settings: Settings) -> list[str]:
    own = {key: value for key, value in settings.items() if key != "vocab_size"}
    return _text(folder, own, f"tokenizer={products['tokenizer'].path}")


def run_id_of(folder: Path) -> str:
    """The name of the training run that belongs to a stage's folder."""
    return f"pipeline-{folder.name}"


def _train(folder: Path, products: Mapping[str, Product], settings: Settings) -> list[str]:
    own = dict(settings)
    recipe, runs = own.pop("recipe", None), own.pop("runs")
    if "shards" in products:
        own["data"] = products["shards"].path
    if "tokenizer" in products and "shards" not in products:
        own["tokenizer"] = products["tokenizer"].path
    config = [] if recipe is None else ["--config", recipe]
    job = ["-m", "pretraining.train_job", "--run-id", run_id_of(folder)]
    return [*job, *config, *words(own), f"runs={runs}"]


def _finetune(folder: Path, products: Mapping[str, Product], settings: Settings) -> list[str]:
    own = dict(settings)
    command = own.pop("command")
    places = {"{checkpoint}": products["train"].path, "{out}": str(folder / "runs")}
    for name, value in places.items():
        command = [word.replace(name, value) for word in command]
    return [*command, *words(own)]


def _evaluate(folder: Path, products: Mapping[str, Product], settings: Settings) -> list[str]:
    own = {"split": "val", **settings}
    if "shards" in products:
        own = {"data": products["shards"].path, **own}
    return [
        "-m",
        "pretraining.evaluate",
        products["train"].path,
        *words(own),
        f"out={folder / 'evaluation.json'}",
    ]


def _sample(folder: Path, products: Mapping[str, Product], settings: Settings) -> list[str]:
    model = products.get("finetune", products.get("train"))
    assert model is not None
    return ["-m", "gpt_model.sample", "--ckpt", model.path, *flags(settings)]


# ---------------------------------------------------------------- what they made


def _checkpoint_in(run: Path) -> Path:
    """The checkpoint that a run's `last` points at. Raises RunFailure where the command left none."""
    from gpt_model.loading import find_checkpoint

    try:
        return find_checkpoint(run)
    except UserError as error:
        raise RunFailure(f"the training ended well but left no checkpoint: {error}") from None


def _run_of(folder: Path, settings: Settings) -> Path:
    return _checkpoint_in(runs_root(settings["runs"]) / "pretrain" / run_id_of(folder))


def _model_files(folder: Path) -> list[Path]:
    names = ("model.safetensors", "config.json", "tokenizer.json")
    return [folder / name for name in names if (folder / name).is_file()]


def _shard_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix == ".bin" or path.name == "tokenizer.json")


STAGES = {
    stage.name: stage
    for stage in (
        Stage(
            "tokenizer",
            (),
            _tokenizer,
            lambda folder, _: folder / "text" / "tokenizer" / "tokenizer.json",
            lambda path: [path],
        ),
        Stage(
            "shards", ("tokenizer",), _shards, lambda folder, _: folder / "text" / "tokenise", _shard_files
        ),
        Stage("train", ("tokenizer", "shards"), _train, _run_of, _model_files),
        Stage(
            "finetune", ("train",), _finetune, lambda folder, _: _checkpoint_in(folder / "runs"), _model_files
        ),
        Stage(
            "evaluate",
            ("train", "shards"),
            _evaluate,
            lambda folder, _: folder / "evaluation.json",
            lambda path: [path],
        ),
        Stage(
            "sample",
            ("train", "finetune"),
            _sample,
            lambda folder, _: folder / "samples.txt",
            lambda path: [path],
            output="samples.txt",
        ),
    )
}


# ---------------------------------------------------------------- the store


class StageStore:
    """What the stages of all pipelines made, below `runs/stages`."""

    def __init__(self, root: Path | str | None) -> None:
        self.root = (runs_root(root) / "stages").absolute()

    def key(
        self, stage: Stage, settings: Settings, products: Mapping[str, Product], content: Any = None
    ) -> str:
        """The key of a stage under these settings, with these products (and this content of input files)."""
        read = {name: products[name].content for name in stage.reads if name in products}
        own = {
            key: value for key, value in settings.items() if key != "runs"
        }  # where it lies decides nothing
        return key_of([stage.name, VERSION, own, read, content])[:12]

    def folder(self, stage: Stage, key: str) -> Path:
        """Where that stage is, or will be."""
        return self.root / stage.name / key

    def whole(self, stage: Stage, folder: Path) -> Product | None:
        """The product recorded in a folder, if every file still is what was written."""
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            path, outputs = Path(record["path"]), record["outputs"]
            digests = file_digests(stage.files(path), outputs)
        except (OSError, ValueError, KeyError, TypeError, UserError):
            return None
        if [d.sha256 for d in digests] != [output["sha256"] for output in outputs] or not digests:
            return None
        return Product(str(path), [d.sha256 for d in digests])

    def record(self, stage: Stage, folder: Path, settings: Settings, command: Sequence[str]) -> Product:
        """Write down what a stage has made. Raises RunFailure where it made nothing."""
        path = stage.find(folder, settings)
        files = stage.files(path) if path.exists() else []
        if not files:
            raise RunFailure(f"{stage.name} ended well but made no {path.name}: see {folder / stage.output}")
        digests = file_digests(files)
        atomic_write_json(
            folder / RECORD,
            {
                "stage": stage.name,
                "key": folder.name,
                "made": now(),
                "path": str(path.absolute()),
                "outputs": as_records(digests),
                "settings": dict(settings),
                "command": list(command),
            },
        )
        return Product(str(path.absolute()), [d.sha256 for d in digests])

    def latest(self, stage: Stage) -> Product:
        """The newest whole product of a stage. Raises UserError when there is none."""
        made = []
        for file in self.root.glob(f"{stage.name}/*/{RECORD}"):
            try:
                made.append((json.loads(file.read_text(encoding="utf-8"))["made"], file.parent))
            except (OSError, ValueError, KeyError, TypeError):
                continue
        for _, folder in sorted(made, reverse=True):
            if (product := self.whole(stage, folder)) is not None:
                return product
        raise UserError(
            f"{stage.name}=latest, but there is no whole one in {self.root / stage.name}: make it first"
        )


def given(stage: Stage, ref: str, root: Path | str | None = None) -> Product:
    """A product that the person names: a path, and for a tokenizer or a model also a name.

    Raises UserError when there is no such thing.
    """
    if stage.name == "tokenizer":
        from working_with_text_data.tokenizer import load_tokenizer, tokenizer_hash

        return Product(ref, ["tokenizer", tokenizer_hash(load_tokenizer(ref))])
    path = Path(ref)
    if stage.name in ("train", "finetune"):
        from gpt_model.loading import find_checkpoint

        path = find_checkpoint(ref, root=runs_root(root))
    if not path.exists():
        raise UserError(
            f"{stage.name}={ref}: no such file or folder; write true, false, latest, fresh or a path"
        )
    files = stage.files(path)
    if not files:
        raise UserError(f"{stage.name}={ref}: nothing of that kind in it")
    return Product(str(path.absolute()), [d.sha256 for d in file_digests(files)])


def input_content(source: str) -> Any:
    """What identifies the texts: the bytes of files, or the name of a corpus. Raises UserError for neither."""
    from working_with_text_data.preprocess import input_files

    paths = input_files(source)
    return source if paths is None else content_of(file_digests(paths))
