"""`scratchbook serve`: settings from the command line and the environment, and what is refused before it listens."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from chat_ui import serve
from utils.cli import run_main
from utils.errors import UserError


def test_the_environment_is_read_and_the_command_line_wins():
    said = {
        "SCRATCHBOOK_HOST": "0.0.0.0",
        "SCRATCHBOOK_PORT": "8123",
        "SCRATCHBOOK_PASSWORD": "word",
        "SCRATCHBOOK_CORS": "https://a.example, http://b.example",
        "SCRATCHBOOK_LOG_LEVEL": "INFO",
        "SCRATCHBOOK_CKPT": "last",
        "SCRATCHBOOK_RUNS": "/somewhere",
    }
    config = serve.from_environment(said)
    assert (config.host, config.port, config.password, config.log_level) == ("0.0.0.0", 8123, "word", "info")
    assert config.cors == ("https://a.example", "http://b.example")
    options = config.options()
    assert (options.ckpt, options.runs, options.hosts) == ("last", Path("/somewhere"), ())
    assert serve.from_environment(said, port=9, host="127.0.0.1").port == 9
    assert serve.from_environment({}).options().hosts == serve.HERE_ALONE


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"SCRATCHBOOK_HOST": "0.0.0.0"}, "--expose"),
        ({"SCRATCHBOOK_HOST": "::"}, "password"),
        ({"SCRATCHBOOK_PORT": "web"}, "SCRATCHBOOK_PORT is 'web'"),
        ({"SCRATCHBOOK_PORT": "-1"}, "SCRATCHBOOK_PORT"),
        ({"SCRATCHBOOK_LOG_LEVEL": "loud"}, "critical, error"),
        ({"SCRATCHBOOK_CORS": "a.example"}, "no scheme"),
        ({"SCRATCHBOOK_PASSWORD": "  "}, "password is empty"),
    ],
)
def test_a_wrong_setting_is_one_line(said, reason):
    with pytest.raises(UserError, match=reason) as error:
        serve.from_environment(said)
    assert "\n" not in str(error.value)


def test_everybody_may_come_where_that_is_said_by_name():
    assert not serve.from_environment({}, host="0.0.0.0", expose=True).local


def test_exposure_is_refused_before_anything_is_loaded(monkeypatch, capsys):
    for name in list(os.environ):
        if name.startswith("SCRATCHBOOK_"):
            monkeypatch.delenv(name)
    assert run_main(serve.main, ["--host", "0.0.0.0", "--port", "0"]) == 2
    assert "--expose" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["serve", "launch"])
def test_a_password_in_the_env_file_is_asked_for(tmp_path, monkeypatch, command):
    """Both commands read `.env` before anything is decided, and what the environment says already wins."""
    pytest.importorskip("dotenv", reason="the chat extra is not installed: pip install -e '.[chat]'")
    module = __import__(f"chat_ui.{command}", fromlist=["main"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("SCRATCHBOOK_PASSWORD=word\nSCRATCHBOOK_LOG_LEVEL=loud\n")
    monkeypatch.setenv("SCRATCHBOOK_PASSWORD", "put back at the end")
    monkeypatch.delenv("SCRATCHBOOK_PASSWORD")
    monkeypatch.setenv("SCRATCHBOOK_LOG_LEVEL", "info")

    def listen(host, port):
        raise UserError(f"here {host} would be listened on")

    monkeypatch.setattr(module, "listen", listen)
    with pytest.raises(UserError, match=r"here 0\.0\.0\.0"):  # without a password it would be refused before
        module.main(["--host", "0.0.0.0", "--port", "0"])
    assert os.environ["SCRATCHBOOK_LOG_LEVEL"] == "info"


def test_help_costs_no_torch():
    code = (
        "import sys, chat_ui.serve as s\n"
        "try: s.main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'fastapi', 'chainlit'} & set(sys.modules), 'slow imports'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--expose" in done.stdout


def test_two_servers_on_one_port_and_ctrl_c(tmp_path):
    """The real command: it serves, a second one on its port is one line, Ctrl-C ends it cleanly."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SCRATCHBOOK_")}
    command = [sys.executable, "-m", "chat_ui.serve"]
    process = subprocess.Popen(
        [*command, "--port", "0", "--runs", str(tmp_path), "--ckpt", "assets"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=_root(),
    )  # fmt: skip
    try:
        printed = []
        for line in process.stdout:
            printed.append(line)
            if line.startswith("serve:"):
                break
        assert printed[-1].startswith("serve:"), printed
        url = printed[-1].split()[1].removesuffix("/docs")
        port = url.rpartition(":")[2]
        for _ in range(100):
            try:
                with urllib.request.urlopen(f"{url}/health", timeout=10) as answer:
                    assert json.load(answer)["status"] == "ok"
                break
            except OSError:
                continue
        with urllib.request.urlopen(f"{url}/v1/models", timeout=10) as answer:
            assert json.load(answer)["data"][0]["id"] == "assets"
        second = subprocess.run(
            [*command, "--port", port], env=environment, capture_output=True, text=True, cwd=_root()
        )
        assert second.returncode == 2 and f"port {port} on 127.0.0.1 is already taken" in second.stderr
        strange = urllib.request.Request(f"{url}/v1/models", headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(strange, timeout=10)
    finally:
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)[0]
    assert "Traceback" not in rest, rest
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", int(port)))


def test_uvicorns_own_command_finds_the_app(monkeypatch):
    import chat_ui.server

    monkeypatch.setenv("SCRATCHBOOK_PASSWORD", "word")
    app = chat_ui.server.app
    assert app.state.options.password == "word"
    with pytest.raises(AttributeError):
        _ = chat_ui.server.nothing


def _root() -> Path:
    return Path(__file__).resolve().parents[2]
