"""Numbers in a README are printed from results files, never typed.

A block in a Markdown file names a results file and holds a template; what follows the comment is the
template filled in:

    <!-- numbers gpt_model/results/decode.json
    {figures.ratio.median:.1f} times as fast
    -->
    3.4 times as fast
    <!-- /numbers -->

`python -m utils.readme --write` fills every block again; a test fails while a block and its file
differ. A missing results file prints "not measured".
"""

from __future__ import annotations

import argparse
import json
import re
import string
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(
    r"(?P<head><!-- numbers (?P<file>\S+)\n(?P<template>.*?)\n-->\n)(?P<body>.*?)(?P<tail><!-- /numbers -->)",
    re.DOTALL,
)


class _Dotted(string.Formatter):
    """`{a.b.0:.2f}` looks into nested dicts and lists; a missing key is an error that names it."""

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Any) -> tuple[Any, str]:
        value: Any = kwargs
        for key in field_name.split("."):
            try:
                value = value[int(key)] if isinstance(value, list) else value[key]
            except (KeyError, IndexError, ValueError, TypeError) as error:
                raise KeyError(f"the results file has no {field_name!r} (at {key!r})") from error
        return value, field_name

    def format_field(self, value: Any, format_spec: str) -> str:
        return "not measured" if value is None else super().format_field(value, format_spec)


def fill(text: str, root: Path = ROOT) -> str:
    """`text` with every numbers block filled from its results file under `root`."""

    def one(match: re.Match[str]) -> str:
        file = root / match["file"]
        if file.exists():
            body = _Dotted().vformat(match["template"], (), json.loads(file.read_text(encoding="utf-8")))
        else:
            body = f"not measured (no {match['file']})"
        return f"{match['head']}{body}\n{match['tail']}"

    return BLOCK.sub(one, text)


def readmes(root: Path = ROOT) -> list[Path]:
    """The project's own Markdown files: the root's and the chapters'."""
    chapters = (p for p in root.iterdir() if p.is_dir() and (p / "__init__.py").exists())
    return sorted([*root.glob("*.md"), *(path for chapter in chapters for path in chapter.glob("*.md"))])


def main(argv: Sequence[str] | None = None) -> int:
    """Check that every numbers block shows what its results file says; with --write, fill them again."""
    parser = argparse.ArgumentParser(prog="python -m utils.readme", description=main.__doc__)
    parser.add_argument("--write", action="store_true", help="replace the blocks that differ")
    args = parser.parse_args(argv)
    stale = []
    for path in readmes():
        text = path.read_text(encoding="utf-8")
        filled = fill(text)
        if filled != text:
            stale.append(path.name)
            if args.write:
                path.write_text(filled, encoding="utf-8")
    if stale and not args.write:
        print(f"numbers differ from their results files in: {', '.join(stale)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    from utils.cli import run_main

    sys.exit(run_main(main))
