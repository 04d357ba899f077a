"""Who may enter a workspace, how it ends, and the served app with its password."""

import base64
import contextlib
import hashlib
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from deployment import workspace
from deployment.spec import ServeSpec, WorkspaceSpec
from deployment.workspace import check_public_key, new_token, read_public_key, serve_workspace, sshd_config
from utils.errors import RunFailure, UserError

BLOB = struct.pack(">I", 11) + b"ssh-ed25519" + struct.pack(">I", 32) + bytes(range(32))
KEY = f"ssh-ed25519 {base64.b64encode(BLOB).decode()} me@home"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nabc", "never leaves your machine"),
        ("", "no public key"),
        ("hello", "no public key"),
        (KEY + "\n" + KEY, "no public key"),
        (KEY[:40], "damaged"),
        (KEY.replace("ssh-ed25519 ", "ssh-rsa "), "damaged"),
        ('command="rm -rf /" ' + KEY, "no public key"),
    ],
)
def test_only_a_public_key_leaves_this_machine(text, words):
    with pytest.raises(UserError, match=words):
        check_public_key(text)


def test_a_key_is_read_from_its_file(tmp_path):
    (tmp_path / "id.pub").write_text(KEY + "\n")
    assert read_public_key(str(tmp_path / "id.pub")) == KEY and read_public_key("") == ""
    with pytest.raises(UserError, match="ssh-keygen"):
        read_public_key(str(tmp_path / "none.pub"))
    (tmp_path / "bin").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a text"):
        read_public_key(str(tmp_path / "bin"))


def test_ssh_takes_keys_and_nothing_else(tmp_path):
    settings = dict(line.split(" ", 1) for line in sshd_config(2222, "/k", "/h").splitlines() if line)
    for off in ("PasswordAuthentication", "KbdInteractiveAuthentication", "PermitEmptyPasswords", "UsePAM"):
        assert settings[off] == "no", f"{off} is {settings[off]}: a tunnel's port is tried by everyone"
    assert settings["AuthenticationMethods"] == "publickey" and settings["ListenAddress"] == "127.0.0.1"
    make, server = workspace.ssh_commands(WorkspaceSpec(), tmp_path / "ssh", KEY)
    assert (tmp_path / "ssh" / "authorized_keys").read_text() == KEY + "\n"
    assert (tmp_path / "ssh" / "authorized_keys").stat().st_mode & 0o077 == 0


def test_sshd_itself_accepts_the_configuration(tmp_path):
    server = shutil.which("sshd", path="/usr/sbin:/usr/bin")
    if server is None:
        pytest.skip("no sshd on this machine")
    make, command = workspace.ssh_commands(WorkspaceSpec(), tmp_path / "ssh", KEY)
    subprocess.run(make, check=True)
    done = subprocess.run([server, "-t", "-f", command[-1]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_tokens_are_long_new_and_on_no_command_line():
    token = new_token()
    assert len(token) >= 43 and token != new_token()
    found = workspace.services(WorkspaceSpec(), token, "", None)
    assert set(found) == {"Jupyter", "VS Code"}, "without a key there is no SSH"
    for words, extra, _ in found.values():
        assert not any(token in word for word in words), (
            "every process of the machine can read a command line"
        )
        assert token in extra.values()
        assert any("127.0.0.1" in word for word in words), "only the tunnel reaches it"


class Tunnels:
    """In place of `modal.forward`."""

    def __init__(self):
        self.open = []

    @contextlib.contextmanager
    def __call__(self, port, unencrypted=False):
        self.open.append((port, unencrypted))
        try:
            yield SimpleNamespace(url=f"https://t{port}.example", tcp_socket=("tcp.example", port))
        finally:
            self.open.remove((port, unencrypted))


def up(commands, spec=None, **more):
    said, commits, tunnels, time_ = [], [], Tunnels(), [0.0]

    def sleep(seconds):
        time_[0] += 600.0

    try:
        why = serve_workspace(
            spec or WorkspaceSpec(hours=1.0), "t" * 40, forward=tunnels, commit=lambda: commits.append(time_[0]),
            commands=commands, say=said.append, now=lambda: time_[0], sleep=sleep, **more,
        )  # fmt: skip
    finally:
        assert not tunnels.open, "a tunnel was left open"
    return why, said, commits


WAIT = [sys.executable, "-c", "import time; time.sleep(600)"]


def test_a_workspace_says_its_addresses_commits_and_ends_by_itself():
    why, said, commits = up(
        {"Jupyter": (WAIT, {}, 8888), "SSH": (WAIT, {}, 2222), "VS Code": (WAIT, {}, 8080)}
    )
    assert why == "the 1 hours are over" and len(commits) >= 5
    assert said[0] == f"Jupyter: https://t8888.example/lab?token={'t' * 40}"
    assert said[1] == "SSH: ssh -p 2222 root@tcp.example" and "password" in said[2]


def test_a_service_that_dies_ends_the_workspace_with_its_name_and_files_are_kept():
    commits = []
    dead = [sys.executable, "-c", "raise SystemExit(3)"]
    child = subprocess.run(dead)
    assert child.returncode == 3
    with pytest.raises(RunFailure, match="VS Code ended with code 3"):
        serve_workspace(
            WorkspaceSpec(), "t" * 40, forward=Tunnels(), commit=lambda: commits.append(1),
            commands={"Jupyter": (WAIT, {}, 8888), "VS Code": (dead, {}, 8080)}, say=lambda text: None,
        )  # fmt: skip
    assert commits, "the files of the workspace were not kept"


def test_a_short_token_is_refused():
    with pytest.raises(UserError, match="at least 32"):
        serve_workspace(WorkspaceSpec(), "secret", forward=Tunnels(), commands={})


def test_the_image_fetches_one_version_and_checks_it_before_it_is_unpacked():
    fetch, check, unpack, _ = workspace.image_commands()
    file = re.search(r"-o (\S+)", fetch)[1]
    assert f"/v{workspace.CODE_VERSION}/" in fetch and fetch.startswith("curl -f"), (
        "an error page is no program"
    )
    assert re.fullmatch(rf"echo '[0-9a-f]{{64}}  {re.escape(file)}' \| sha256sum --check", check), check
    assert unpack.startswith(f"tar -xzf {file} ") and workspace.code_command(WorkspaceSpec())[0] in unpack


def test_a_download_that_is_another_file_ends_the_build(tmp_path, monkeypatch):
    """The line itself, on a file of this machine: the right sum passes, and one byte more does not."""
    file = tmp_path / "download"
    file.write_bytes(b"a program")
    monkeypatch.setattr(workspace, "CODE_SHA256", hashlib.sha256(b"a program").hexdigest())
    fetch, check, *_ = workspace.image_commands()
    line = check.replace(re.search(r"-o (\S+)", fetch)[1], str(file))
    assert subprocess.run(["sh", "-c", line], capture_output=True).returncode == 0
    file.write_bytes(b"a program.")
    assert subprocess.run(["sh", "-c", line], capture_output=True).returncode != 0


def test_a_server_without_a_password_is_not_deployed(tmp_path):
    from deployment.serving import web_app

    for environment in ({}, {"SCRATCHBOOK_PASSWORD": ""}):
        with pytest.raises(UserError, match="has a password"):
            web_app(SimpleNamespace(device="cpu"), environment=environment)


def test_the_served_app_is_the_books_own_and_asks_for_the_password(tmp_path):
    pytest.importorskip("fastapi_offline")
    from fastapi.testclient import TestClient

    from deployment.serving import warm, web_app

    spec = ServeSpec()
    models = warm(spec.ckpt, tmp_path, spec.device)
    app = web_app(models, runs=tmp_path, environment={"SCRATCHBOOK_PASSWORD": "a long password"})
    with TestClient(app) as client:
        assert client.get("/health").status_code == 200
        assert client.get("/v1/models").status_code == 401
        right = {"Authorization": "Bearer a long password"}
        assert "assets" in [row["id"] for row in client.get("/v1/models", headers=right).json()["data"]]


def test_the_served_chat_has_its_own_settings_and_looks(tmp_path):
    """Where they are missing Chainlit writes its defaults: uploads on, another name, fonts from elsewhere."""
    from deployment.image import files, left_out

    inside = {path.as_posix() for path in files() if path.parts[0] == "chat_ui"}
    assert {"chat_ui/.chainlit/config.toml", "chat_ui/public/theme.json", "chat_ui/chainlit.md"} <= inside
    assert not any("translations" in name or ".files" in name for name in inside), "Chainlit's own leavings"
    # As the provider asks, with paths from the chapter's own folder.
    assert not left_out(Path(".chainlit/config.toml")) and left_out(Path(".chainlit/translations/de.json"))


def test_what_is_in_a_snapshot_has_no_thread(tmp_path):
    import threading

    from deployment.serving import warm

    before = set(threading.enumerate())
    warm("assets", tmp_path)
    started = [thread for thread in threading.enumerate() if thread not in before]
    assert not started, f"{started} would be copied into every container that wakes"
