"""Where the chat lives on the disk: Chainlit's folder, and the file of conversations where one is named.

Chainlit reads its settings where CHAINLIT_APP_ROOT points, else in whatever folder a command was typed in, and it looks
once, when it is imported. So every module that imports it sets that variable first. (Its files of a running chat lie in
a folder of the process: `window`.)
"""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
HISTORY_VARIABLE = "SCRATCHBOOK_CHAT_HISTORY"  # a file: conversations are kept there


def read_env_file() -> None:
    """Take settings from `.env` in the folder a command is typed in; what the environment says already wins.

    Chainlit reads that file, too, but late: a history named there would be kept, and a password not be asked for.
    """
    try:
        from dotenv import load_dotenv  # it comes with Chainlit
    except ImportError:
        return
    load_dotenv(Path.cwd() / ".env")


def history_file() -> Path | None:
    """Where conversations are kept, if they are."""
    said = os.environ.get(HISTORY_VARIABLE)
    return Path(said).expanduser() if said else None
