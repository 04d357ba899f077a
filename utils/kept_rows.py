"""What an earlier call of a long measurement left in its results file, so that the same command goes on.

The idea: a study of many trainings writes its results file after each of them, with the settings that the rows were
made under (`figures["settings"]`). A second call keeps those rows and makes the missing ones, and refuses a file that
was made under other settings: rows of two studies in one table would compare what cannot be compared.
Left out: which rows are still wanted; that is the study's own business.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.errors import UserError


def kept_rows(
    path: str | Path, settings: Mapping[str, Any], *, rows: str, study: str, fresh: bool = False
) -> Any:
    """`figures[rows]` of the results file at `path`; None where there is no file, or `fresh` forgets it.

    `settings` are those of this call, compared with the file's own as JSON; `study` names the study in an error.
    Raises UserError for a file of something else, or of the same study under other settings.
    """
    path = Path(path)
    if fresh or not path.exists():
        return None
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))["figures"]
        held, kept = figures["settings"], figures[rows]
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{path} is no results file of the {study}: give another out=, or fresh=true"
        ) from None
    wanted = json.loads(json.dumps(settings))
    other = sorted(key for key in wanted.keys() | held.keys() if wanted.get(key) != held.get(key))
    if other:
        raise UserError(
            f"{path} holds another {study} ({', '.join(other)} differ): give another out=, or fresh=true"
        )
    return kept
