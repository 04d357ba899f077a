"""A real chat server in a process of its own, on a tiny model, for the tests that talk over the wire."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import chat_harness  # first: it says where Chainlit may write
import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Server:
    url: str
    process: subprocess.Popen
    cwd: Path


def save_tiny(folder: Path, **shape) -> Path:
    """A checkpoint folder with a tiny random model, as a training run would leave it."""
    loaded = chat_harness.tiny_model(**shape)
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save(folder / "tokenizer.json")
    return folder


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory) -> Path:
    """Tiny, but an answer of full length takes it seconds: long enough for a person to press Stop."""
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", block_size=8192, n_layer=4)


@pytest.fixture(scope="session")
def server(tiny_checkpoint, tmp_path_factory):
    """`scratchbook chat` on a free port, typed in an empty folder, stopped with Ctrl-C at the end."""
    pytest.importorskip("chainlit", reason="the chat extra is not installed: pip install -e '.[chat]'")
    cwd = tmp_path_factory.mktemp("empty")
    command = [
        sys.executable,
        "-m",
        "chat_ui.launch",
        "--ckpt",
        str(tiny_checkpoint),
        "--port",
        "0",
        "--headless",
    ]
    told = ("CHAINLIT_APP_ROOT", "CHAINLIT_ROOT_PATH")  # by other tests of this process
    environment = {k: v for k, v in os.environ.items() if k not in told}
    process = subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield Server(_wait_for(process), process, cwd)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def _wait_for(process: subprocess.Popen) -> str:
    """The address that the server prints, once it answers there."""
    printed = []
    assert process.stdout is not None
    for line in process.stdout:
        printed.append(line)
        if line.startswith("chat:"):
            url = line.split()[1]
            break
    else:
        raise AssertionError(f"the server ended without serving: {''.join(printed)}")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/project/translations?language=en-US", timeout=5):
                return url
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"no answer from {url}: {''.join(printed)}")
