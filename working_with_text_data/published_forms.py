"""The forms in which structured text is published: a row comes in, a text and its fields go out.

A language model reads text; a classifier also needs the label, instruction tuning the fields of the
request. Each `Form` therefore gives (text, meta): the text is what a person would read, and nothing that
the row knew is lost, because it stays in `meta`. `triplet` is the one rule by which an instruction becomes
text here; chat templates belong to the finetuning chapter and start from the same fields.

* "text": the field `text` as it is.
* "alpaca": `instruction`, `input`, `output` (Taori et al. 2023) become a triplet.
* "sms": label and message, as rows or as the tab-separated file SMSSpamCollection (Almeida et al. 2011).
* "imdb": reviews with label 0 or 1, or the folders pos/ and neg/ of aclImdb (Maas et al. 2011).
* "wikitext": lines that are joined into articles at each ` = Title = ` line (Merity et al. 2016).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.errors import UserError

Row = Mapping[str, Any]
Parsed = tuple[str, dict[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Form:
    """How one published form is read.

    `key` is the field that must hold text. `row` turns a record into (text, meta). `begins`, where it is
    set, says that rows are lines and tells the line with which a new document begins. `lines` turns the
    lines of a plain file into parsed documents, `place` gives (use it?, meta) for a plain file by its path.
    `names` are file names without a known suffix that belong to the form.
    """

    key: str
    row: Callable[[Row], Parsed]
    begins: Callable[[str], bool] | None = None
    lines: Callable[[Iterator[str], str], Iterator[Parsed]] | None = None
    place: Callable[[Path], tuple[bool, dict[str, Any] | None]] | None = None
    names: tuple[str, ...] = ()


def triplet(instruction: str, input: str = "", response: str = "") -> str:
    """An instruction, its input (left out where it is blank) and the response as one text.

    >>> print(triplet("Name the capital.", "France", "Paris"))
    ### Instruction:
    Name the capital.
    <BLANKLINE>
    ### Input:
    France
    <BLANKLINE>
    ### Response:
    Paris
    """
    parts = [("Instruction", instruction), ("Input", input), ("Response", response)]
    return "\n\n".join(f"### {name}:\n{text}" for name, text in parts if name != "Input" or text.strip())


def _text_row(row: Row) -> Parsed:
    return row["text"], {key: value for key, value in row.items() if key != "text"} or None


def _alpaca_row(row: Row) -> Parsed:
    """The published `text` field repeats the three others inside a prompt, so it is not kept."""
    fields = {key: value for key, value in row.items() if key != "text"}
    fields["input"] = fields.get("input") or ""
    return triplet(str(fields.get("instruction") or ""), str(fields["input"]), row["output"]), fields


def named(label: Any, names: tuple[str, ...]) -> str | None:
    """A label as a word: 1 of ("neg", "pos") is "pos"; a word stays; -1 and None are no label.

    >>> named(1, ("ham", "spam")), named("ham", ("ham", "spam")), named(-1, ("neg", "pos"))
    ('spam', 'ham', None)
    """
    if isinstance(label, int) and not isinstance(label, bool):
        return names[label] if 0 <= label < len(names) else None
    return label if isinstance(label, str) else None


SMS_LABELS = ("ham", "spam")


def _sms_row(row: Row) -> Parsed:
    return row["sms"].strip("\r\n"), {"label": named(row.get("label"), SMS_LABELS)}


def sms_lines(lines: Iterator[str], where: str) -> Iterator[Parsed]:
    """`label<TAB>message` lines; UserError names the line that is not so."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        label, tab, message = line.rstrip("\r\n").partition("\t")
        if not tab or label not in SMS_LABELS:
            raise UserError(f"{where}, line {number}: not `ham<TAB>message` or `spam<TAB>message`")
        yield message, {"label": label}


IMDB_LABELS = ("neg", "pos")


def _imdb_row(row: Row) -> Parsed:
    meta = {key: value for key, value in row.items() if key != "text"}
    return row["text"], {**meta, "label": named(row.get("label"), IMDB_LABELS)}


def _imdb_place(path: Path) -> tuple[bool, dict[str, Any] | None]:
    """`aclImdb/train/pos/0_9.txt` is review 0, rated 9; other .txt files there are lists of addresses."""
    found = re.fullmatch(r"(\d+)_(\d+)\.txt", path.name)
    if path.parent.name not in ("pos", "neg", "unsup") or not found:
        return False, None
    labelled = path.parent.name != "unsup"
    return True, {
        "label": path.parent.name if labelled else None,
        "rating": int(found[2]) if labelled else None,
    }


def begins_article(line: str) -> bool:
    """Whether a line of WikiText is the title of an article: one `=` on either side, not two.

    >>> begins_article(" = Homarus gammarus = \\n"), begins_article(" = = Description = = \\n")
    (True, False)
    """
    return bool(re.fullmatch(r" ?= (?!=)(?:.*[^= ])? = ?\n?", line))


FORMS: dict[str, Form] = {
    "text": Form("text", _text_row),
    "alpaca": Form("output", _alpaca_row),
    "sms": Form("sms", _sms_row, lines=sms_lines, names=("SMSSpamCollection",)),
    "imdb": Form("text", _imdb_row, place=_imdb_place),
    "wikitext": Form("text", _text_row, begins=begins_article),
}


def joined(lines: Iterator[str], begins: Callable[[str], bool], pending: list[str]) -> Iterator[str]:
    """Documents from lines; `pending` holds those of the one under way, so that a reader can save it.

    When a document is yielded, `pending` is already that of the next one.
    """
    for line in lines:
        if begins(line) and pending:
            whole = "".join(pending)
            pending[:] = [line]
            yield whole
        else:
            pending.append(line)
    whole = "".join(pending)
    pending.clear()
    if whole:
        yield whole


_ALIASES = {
    "instruction": ("instruction", "prompt", "question"),
    "input": ("input", "context"),
    "output": ("output", "response", "completion", "answer"),
}


def instruction_fields(record: Row) -> dict[str, str] | None:
    """`instruction`, `input` and `output` of a record under their usual names, or None if it is none.

    >>> instruction_fields({"prompt": "Add.", "context": "1 + 1", "response": "2"})
    {'instruction': 'Add.', 'input': '1 + 1', 'output': '2'}
    """
    found: dict[str, str] = {}
    for field, aliases in _ALIASES.items():
        value = next((record[name] for name in aliases if isinstance(record.get(name), str)), None)
        if value is None and field != "input":
            return None
        found[field] = value or ""
    return found


SMS_INSTRUCTION = "Is this text message spam or ham? Answer with one word."


def sms_triplet(message: str, label: str) -> Parsed:
    """A labelled message as an instruction, for models that answer and do not classify."""
    meta = {"instruction": SMS_INSTRUCTION, "input": message, "output": label, "label": label}
    return triplet(SMS_INSTRUCTION, message, label), meta
