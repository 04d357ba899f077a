"""`scratchbook chat`: everything that can be wrong is one line and exit code 2 before anything is served."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import chat_harness  # noqa: F401  first: it says where Chainlit may write
import pytest

from chat_ui import launch
from chat_ui.models import shelf
from utils.cli import run_main
from utils.errors import UserError


@pytest.fixture
def taken_port():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No runs and no model that comes with the book."""
    monkeypatch.setenv("SCRATCHBOOK_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CHAINLIT_APP_ROOT", os.environ["CHAINLIT_APP_ROOT"])
    monkeypatch.setenv("SCRATCHBOOK_CHAT_CKPT", "")
    monkeypatch.setattr("chat_ui.models.has_weights", lambda folder: False)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    shelf.cache_clear()


def one_line(capsys) -> str:
    printed = capsys.readouterr().err.strip()
    assert "\n" not in printed and printed.startswith("error: ")
    return printed


def test_a_taken_port_is_one_line_and_found_before_anything_is_loaded(taken_port):
    """As a command of its own: torch and Chainlit need seconds, this answer does not."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "chat_ui.launch", "--port", str(taken_port)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert done.returncode == 2
    where = f"port {taken_port} on 127.0.0.1"
    assert lines == [f"error: {where} is already taken: stop the other server or choose one with --port"]
    assert not any(line.endswith((" torch", " chainlit")) for line in done.stderr.splitlines())


def test_no_model_at_all_says_how_to_make_one(nowhere, capsys):
    assert run_main(launch.main, ["--port", "0"]) == 2
    assert "make one with `scratchbook demo`" in one_line(capsys)


def test_a_model_that_does_not_exist_is_one_line(nowhere, capsys):
    assert run_main(launch.main, ["--port", "0", "--ckpt", "no-such-run"]) == 2
    assert str(nowhere / "runs") in one_line(capsys), "it must say where it looked"


def test_a_checkpoint_cut_in_half_is_one_line(nowhere, tiny_checkpoint, capsys):
    half = nowhere / "half"
    half.mkdir()
    for file in tiny_checkpoint.iterdir():
        data = file.read_bytes()
        (half / file.name).write_bytes(data[: len(data) // 2] if file.suffix == ".safetensors" else data)
    assert run_main(launch.main, ["--port", "0", "--ckpt", str(half)]) == 2
    assert "model.safetensors" in one_line(capsys)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_is_none_is_one_line(port):
    with pytest.raises(UserError, match=f"port is {port} but must be from 0 to 65535"):
        launch.listen("127.0.0.1", port)


def test_an_unknown_host_is_one_line():
    with pytest.raises(UserError, match="--host"):
        launch.listen("no such host", 0)


def test_a_host_of_another_machine_is_one_line():
    with pytest.raises(UserError, match=r"cannot listen on 192\.0\.2\.1:0"):
        launch.listen("192.0.2.1", 0)


def test_a_free_port_is_held_until_the_server_has_it():
    listener = launch.listen("127.0.0.1", 0)
    try:
        with pytest.raises(UserError, match="already taken"):
            launch.listen("127.0.0.1", listener.getsockname()[1])
    finally:
        listener.close()


def test_another_host_needs_a_password_or_a_word(capsys):
    assert run_main(launch.main, ["--host", "0.0.0.0", "--port", "0"]) == 2
    assert "--expose" in one_line(capsys)


def test_help_costs_no_torch_and_no_chainlit():
    code = (
        "import sys, chat_ui.launch as l\n"
        "try: l.main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'chainlit'} & set(sys.modules), 'slow imports'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--headless" in done.stdout
