"""Is there a network? Asked once, quickly, before a library spends half a minute on retries.

`unreachable(url)` opens one connection and gives up after a few seconds, name look-up included (which a
socket's own time-out does not cover, hence the thread). Left out: whether the answer would be the right
one; that is the download's business.
"""

from __future__ import annotations

import os
import socket
import threading
import urllib.parse
import urllib.request

SECONDS = 4.0


def unreachable(url: str, seconds: float = SECONDS) -> str | None:
    """Why `url` cannot be reached from here, in a few words, or None when it answers.

    A proxy named in the environment is asked instead of the host, as the download will do.
    """
    target = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(target.scheme)
    if proxy and not urllib.request.proxy_bypass(target.hostname or ""):
        target = urllib.parse.urlsplit(proxy if "//" in proxy else f"http://{proxy}")
    host = target.hostname or ""
    port = target.port or (443 if target.scheme == "https" else 80)
    outcome: list[str | None] = []

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=seconds).close()
            outcome.append(None)
        except OSError as error:
            outcome.append(error.strerror or str(error) or type(error).__name__)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    why = outcome[0] if outcome else f"no answer within {seconds:g} s"
    return None if why is None else f"{host} cannot be reached: {why}"


def hub_is_off() -> str | None:
    """The environment variable that forbids asking the Hugging Face Hub, if one is set."""
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        if os.environ.get(name, "").strip().upper() in ("1", "ON", "YES", "TRUE"):
            return f"{name} is set"
    return None
