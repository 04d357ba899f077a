"""Where the chat lives on the disk: Chainlit's folder, and the file of conversations where one is named.

Chainlit reads its settings and puts its files where CHAINLIT_APP_ROOT points, else into whatever folder a command was
typed in, and it looks once, when it is imported. So every module that imports it sets that variable first.
"""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
HISTORY_VARIABLE = "SCRATCHBOOK_CHAT_HISTORY"  # a file: conversations are kept there


def history_file() -> Path | None:
    """Where conversations are kept, if they are."""
    said = os.environ.get(HISTORY_VARIABLE)
    return Path(said).expanduser() if said else None
