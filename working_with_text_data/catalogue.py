"""From an entry of `corpora.yaml` to documents: what is on this machine first, the network only then.

Two kinds of entry. `files` are fixed files with their sha256: found in data/<name>/, or downloaded once and
checked. `hub` names a data set of the Hugging Face Hub: whatever lies in data/<name>/ is read (parquet,
JSON lines, JSON or text, the first kind that is there), otherwise it is streamed. Files that name a split
(`train`, `valid`, `test`, … as a word of their path) belong to it; others belong to the first split.

To add a source, add an entry; for your own file of entries: `for corpus in load_catalogue(path):
register(corpus)`. Left out: generated and computed sources, which are functions (`corpora.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.downloads import data_root, fetch
from utils.errors import UserError

from .documents import Document, read_file, walk
from .online import unreachable
from .published_forms import FORMS, Form, joined
from .readers import Problems, ReadOptions, bare_suffix, read_records, text_lines

if TYPE_CHECKING:
    from .corpora import Corpus
    from .huggingface_source import HubSource

CATALOGUE = Path(__file__).with_name("corpora.yaml")
KINDS = (".parquet", ".jsonl", ".json", ".txt")  # the first of these that is there is read
SPLIT_WORDS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "unsupervised": "unsupervised",
    "unsup": "unsupervised",
}


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One fixed file: its name in data/<corpus>/, where it is published, its sum and size."""

    name: str
    urls: tuple[str, ...]
    sha256: str
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the catalogue; the keys of the YAML are these fields."""

    name: str
    description: str
    licence: str
    size: str = ""
    home: str = ""
    citation: str = ""
    files: tuple[FileEntry, ...] = ()
    hub: str = ""
    config: str | None = None
    configs: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    data_files: str | None = None
    form: str = "text"

    @property
    def folder(self) -> Path:
        """Where its files lie on this machine."""
        return data_root() / self.name

    def url(self) -> str:
        return self.home or f"https://huggingface.co/datasets/{self.hub}"

    def __call__(
        self,
        *,
        max_documents: int | None,
        seed: int,
        split: str | None = None,
        config: str | None = None,
        how: ReadOptions | None = None,
        problems: Problems | None = None,
    ) -> Iterable[Document]:
        """The documents; this is the loader of the corpus."""
        how = replace(how or ReadOptions(), text_field=FORMS[self.form].key)
        seen = Problems() if problems is None else problems
        if self.files:
            return (d for file in self.files for d in read_file(self._fixed(file), how, seen))
        split = self._split(split)
        local = self.local_files(split)
        if local:
            return self._read_local(local, how, seen)
        return self.stream(split, config, max_examples=max_documents, problems=seen)

    def _fixed(self, file: FileEntry) -> Path:
        """The path of a fixed file, downloaded if it is not there."""
        target = self.folder / file.name
        if not target.exists():
            reasons = [unreachable(url) for url in file.urls]
            if all(reasons):
                raise UserError(
                    f"{self.name} is not on this machine and {reasons[0]}; download {file.urls[0]} and put it at "
                    f"{target.resolve()} (or set SCRATCHBOOK_DATA); its sha256 must be {file.sha256}"
                )
        return fetch(f"{self.name}/{file.name}", file.urls, file.sha256, size=file.bytes)

    def _split(self, split: str | None) -> str:
        if split is None:
            return self.splits[0]
        if split not in self.splits:
            raise UserError(f"{self.name} has no split {split!r}: its splits are {', '.join(self.splits)}")
        return split

    def stream(
        self,
        split: str | None = None,
        config: str | None = None,
        *,
        max_examples: int | None = None,
        problems: Problems | None = None,
    ) -> HubSource:
        """The data set on the Hub as a stream with exact resume, whatever lies on this machine."""
        from .huggingface_source import HubSource

        if not self.hub:
            raise UserError(
                f"{self.name} is a file, not a set on the Hub: load_documents({self.name!r}) reads it"
            )
        if config is not None and config not in (self.configs or (self.config,)):
            known = ", ".join(filter(None, self.configs or (self.config,))) or "none"
            raise UserError(f"{self.name} has no config {config!r}: its configs are {known}")
        return HubSource(
            "parquet" if self.data_files else self.hub,
            None if self.data_files else config or self.config,
            self._split(split),
            max_examples=max_examples,
            form=self.form,
            data_files=self.data_files,
            label=self.name,
            problems=problems,
            by_hand=(
                f"; download {self.url()} and put its files ({self._kinds()}) into {self.folder.resolve()} "
                "(or set SCRATCHBOOK_DATA)"
            ),
        )

    def _kinds(self) -> str:
        return ", ".join((*FORMS[self.form].names, *KINDS))

    def local_files(self, split: str) -> list[Path]:
        """The files in data/<name>/ that belong to `split`, in order; none if the folder is not there."""
        if not self.folder.is_dir():
            return []
        names = FORMS[self.form].names
        found = sorted(walk(self.folder))
        for kind in ("", *KINDS):  # "" stands for the form's own file names
            files = [p for p in found if (bare_suffix(p) == kind if kind else p.name in names)]
            if files:
                break
        named = {path: split_of(path.relative_to(self.folder)) for path in files}
        mine = [path for path in files if named[path] == split]
        if not mine and split == self.splits[0]:
            mine = [path for path in files if named[path] is None]
        return mine

    def _read_local(self, files: list[Path], how: ReadOptions, problems: Problems) -> Iterator[Document]:
        for path in files:
            for index, (text, meta) in enumerate(parsed_file(path, FORMS[self.form], how, problems)):
                if text and not text.isspace():
                    yield Document(text, str(path), index, meta)
                else:
                    problems.add("empty", str(path))

    def here(self) -> bool:
        """Whether its files are on this machine (for any split)."""
        if self.files:
            return all((self.folder / file.name).is_file() for file in self.files)
        return any(self.local_files(split) for split in self.splits)


def split_of(path: Path) -> str | None:
    """The split that a path names as a word of its own, the last one if several.

    >>> split_of(Path("data/train-00000-of-00080.parquet")), split_of(Path("aclImdb/train/unsup/1_0.txt"))
    ('train', 'unsupervised')
    """
    words = re.split(r"[^a-z]+", str(path).lower())
    return next((SPLIT_WORDS[w] for w in reversed(words) if w in SPLIT_WORDS), None)


def parsed_file(
    path: Path, form: Form, options: ReadOptions, problems: Problems
) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """(text, meta) of one local file in a published form, whose `key` is the text field of `options`."""
    if bare_suffix(path) in (".jsonl", ".json", ".parquet"):
        rows = ({**(meta or {}), form.key: text} for text, meta in read_records(path, options, problems))
        if form.begins is not None:
            lines = (row[form.key] for row in rows)
            yield from ((text, None) for text in joined(lines, form.begins, []))
        else:
            yield from map(form.row, rows)
    elif form.begins is not None or form.lines is not None:
        lines = (line for _, line in text_lines(path, options, problems))
        if form.lines is not None:
            yield from form.lines(lines, str(path))
        else:
            yield from ((text, None) for text in joined(lines, form.begins, []))  # type: ignore[arg-type]
    else:
        wanted, meta = form.place(path) if form.place else (True, None)
        if wanted:
            yield from ((text, meta) for text, _ in read_records(path, options, problems))


def load_catalogue(path: Path = CATALOGUE) -> list[Corpus]:
    """The corpora of a YAML catalogue. UserError names the entry and the key that are wrong."""
    import yaml

    from .corpora import Corpus

    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not a catalogue that can be read: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: a catalogue is a mapping from names to entries")
    corpora = []
    for name, values in tree.items():
        entry = _entry(str(name), values, path)
        corpora.append(
            Corpus(
                name=entry.name,
                description=entry.description,
                licence=entry.licence,
                loader=entry,
                options=() if entry.files else ("split", *(("config",) if entry.configs else ())),
                size=entry.size,
                home=entry.url(),
                citation=entry.citation,
                urls=tuple(url for file in entry.files for url in file.urls),
                sha256=entry.files[0].sha256 if len(entry.files) == 1 else None,
                here=entry.here,
                reads_files=True,
            )
        )
    return corpora


def _entry(name: str, values: Any, path: Path) -> Entry:
    known = {field.name for field in fields(Entry)} - {"name"}
    where = f"{path}, entry {name!r}"
    if not isinstance(values, dict):
        raise UserError(f"{where}: write keys below it: {', '.join(sorted(known))}")
    for key in values:
        if key not in known:
            raise UserError(f"{where}: unknown key {key!r}: keys are {', '.join(sorted(known))}")
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    try:
        files = tuple(FileEntry(**{**file, "urls": tuple(file["urls"])}) for file in values.pop("files", ()))
        entry = Entry(name=name, files=files, **values)
    except (TypeError, KeyError) as error:
        raise UserError(f"{where}: {error}: an entry needs description, licence, and files or hub") from None
    if bool(entry.files) == bool(entry.hub) or (entry.hub and not entry.splits) or entry.form not in FORMS:
        raise UserError(
            f"{where}: give either `files`, or `hub` with `splits`, and a form of {', '.join(FORMS)}"
        )
    return entry
