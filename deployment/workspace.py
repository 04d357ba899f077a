"""A machine to work on: VS Code, Jupyter and SSH as commands and settings, and the one loop that keeps them up.

Who may enter is the whole question, because a tunnel's address can be reached by anyone. Jupyter and VS Code ask for a
token that is drawn anew for each workspace (256 bits, never in a log but the one line that you are shown). SSH takes
keys only: passwords, empty ones too, and keyboard-interactive are off, and what is put in is checked to be a *public*
key before it leaves your machine. The services listen on the loopback device; only the tunnel reaches them.

Files under the mount are kept and everything else goes with the machine. VS Code is code-server (MIT), fetched in the
version below when the image is built, and unpacked only if it is the file that others have looked at (`CODE_SHA256`).
Left out: several people in one workspace.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import struct
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

from deployment.spec import WorkspaceSpec
from utils.errors import RunFailure, UserError

CODE_VERSION = "4.139.1"
# Of code-server-VERSION-linux-amd64.tar.gz, as EasyBuild's easyconfigs and two other public repositories check it; not
# fetched here. A version needs its own: a build with the wrong sum fails, which is what the sum is for.
CODE_SHA256 = "53029be6c5781b7bca49b815fcc9a2a3fc111813ad8c9965b2c0f0d2985a0674"
APT = ("openssh-server", "git", "curl", "ca-certificates", "tmux", "build-essential")
KEY_KINDS = (
    *("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"),
    *("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"),  # on a security key
)
COMMIT_SECONDS = 60.0


def new_token() -> str:
    """A secret for one workspace."""
    return secrets.token_urlsafe(32)


def check_public_key(text: str) -> str:
    """One line of `~/.ssh/id_ed25519.pub`, stripped. Raises UserError for anything else, a private key above all."""
    if "PRIVATE KEY" in text:
        raise UserError(
            "that is a private key, which never leaves your machine: give the file that ends in .pub"
        )
    parts = text.split()
    if len(text.strip().splitlines()) != 1 or len(parts) < 2 or parts[0] not in KEY_KINDS:
        raise UserError(
            "that is no public key: one line that begins with ssh-ed25519 (make one with ssh-keygen)"
        )
    try:
        blob = base64.b64decode(parts[1], validate=True)
        (length,) = struct.unpack(">I", blob[:4])
    except (binascii.Error, struct.error):
        raise UserError("the public key is damaged: copy the whole line of the .pub file") from None
    if blob[4 : 4 + length] != parts[0].encode() or len(blob) < 4 + length + 32:
        raise UserError("the public key is damaged: copy the whole line of the .pub file")
    return text.strip()


def read_public_key(path: str) -> str:
    """The key in a file; "" for no path: then there is no SSH. Raises UserError for a file that holds none."""
    if not path:
        return ""
    try:
        return check_public_key(Path(path).expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): make a key with ssh-keygen -t ed25519"
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text: give the file that ends in .pub") from None


def sshd_config(port: int, keys: str, host_key: str) -> str:
    """The whole configuration of the SSH server: keys, and nothing but keys."""
    return "\n".join(
        [
            f"Port {port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {host_key}",
            f"AuthorizedKeysFile {keys}",
            "AuthenticationMethods publickey",
            "PubkeyAuthentication yes",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitEmptyPasswords no",
            "PermitRootLogin prohibit-password",
            "UsePAM no",
            "X11Forwarding no",
            "PidFile none",
            "Subsystem sftp internal-sftp",
            "",
        ]
    )


def jupyter_command(spec: WorkspaceSpec) -> list[str]:
    """JupyterLab on the loopback device. The token comes by the environment: a command line is for all to read."""
    return [
        *("jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={spec.jupyter_port}"),
        *(f"--ServerApp.root_dir={spec.mount}", "--ServerApp.allow_remote_access=True"),
    ]


def code_command(spec: WorkspaceSpec) -> list[str]:
    """VS Code in the browser, on the loopback device; asks for the token as its password."""
    return [
        *("code-server", "--auth=password", f"--bind-addr=127.0.0.1:{spec.code_port}"),
        *("--disable-telemetry", "--disable-update-check", spec.mount),
    ]


def ssh_commands(spec: WorkspaceSpec, folder: Path, public_key: str) -> tuple[list[str], list[str]]:
    """Write the settings of the SSH server into `folder`; (the command that makes a host key, the server)."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    keys, host_key, config = folder / "authorized_keys", folder / "host_key", folder / "sshd_config"
    keys.write_text(check_public_key(public_key) + "\n", encoding="utf-8")
    keys.chmod(0o600)
    config.write_text(sshd_config(spec.ssh_port, str(keys), str(host_key)), encoding="utf-8")
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(host_key)]
    return make, ["/usr/sbin/sshd", "-D", "-e", "-f", str(config)]


def image_commands() -> list[str]:
    """What the image's build runs to have VS Code: nothing is unpacked before its sum is right."""
    name = f"code-server-{CODE_VERSION}-linux-amd64"
    file = f"/tmp/{name}.tar.gz"
    url = f"https://github.com/coder/code-server/releases/download/v{CODE_VERSION}/{name}.tar.gz"
    return [
        f"curl -fsSL -o {file} {url}",
        f"echo '{CODE_SHA256}  {file}' | sha256sum --check",
        f"tar -xzf {file} -C /opt && rm {file} && ln -s /opt/{name}/bin/code-server /usr/local/bin/code-server",
        "mkdir -p /run/sshd",
    ]


def services(
    spec: WorkspaceSpec, token: str, public_key: str, folder: Path
) -> dict[str, tuple[list[str], dict[str, str], int]]:
    """Name -> (command, what is added to its environment, port), of all that a workspace runs."""
    found = {
        "Jupyter": (jupyter_command(spec), {"JUPYTER_TOKEN": token}, spec.jupyter_port),
        "VS Code": (code_command(spec), {"PASSWORD": token}, spec.code_port),
    }
    if public_key:
        make, server = ssh_commands(spec, folder, public_key)
        if not Path(make[-1]).exists():
            subprocess.run(make, check=True)
        found["SSH"] = (server, {}, spec.ssh_port)
    return found


def serve_workspace(
    spec: WorkspaceSpec,
    token: str,
    public_key: str = "",
    *,
    forward: Callable[..., AbstractContextManager[Any]],
    commit: Callable[[], Any] = lambda: None,
    environment: Mapping[str, str] | None = None,
    folder: Path = Path("/tmp/scratchbook-ssh"),
    commands: Mapping[str, tuple[list[str], dict[str, str], int]] | None = None,
    say: Callable[[str], None] = lambda text: print(text, flush=True),
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Start everything, open the tunnels, say the addresses, and keep it up until the hours are over.

    `forward(port, unencrypted=…)` opens a tunnel (`modal.forward`). Returns why it ended. Whatever happens, all
    processes are ended and the files are committed.

    Raises:
        UserError: no token worth the name.
        RunFailure: a service died.
    """
    import os

    if len(token) < 32:
        raise UserError(
            "the token is too short: at least 32 characters, such as `deployment.workspace.new_token()`"
        )
    wanted = services(spec, token, public_key, folder) if commands is None else commands
    base = dict(os.environ if environment is None else environment)
    children: dict[str, subprocess.Popen[bytes]] = {}
    end, committed = now() + spec.hours * 3600, now()
    with ExitStack() as stack:
        stack.callback(commit)
        stack.callback(_end_all, children)
        for name, (words, extra, port) in wanted.items():
            children[name] = subprocess.Popen(words, env={**base, **extra})
            tunnel = stack.enter_context(forward(port, unencrypted=name == "SSH"))
            say(f"{name}: {_address(name, tunnel, token)}")
        say(f"ends by itself in {spec.hours:g} h; files under {spec.mount} are kept")
        while now() < end:
            dead = [name for name, child in children.items() if child.poll() is not None]
            if dead:
                raise RunFailure(
                    f"{dead[0]} ended with code {children[dead[0]].returncode}: see its lines above"
                )
            if now() - committed > COMMIT_SECONDS:
                commit()
                committed = now()
            sleep(1.0)
    return f"the {spec.hours:g} hours are over"


def _address(name: str, tunnel: Any, token: str) -> str:
    if name == "SSH":
        host, port = tunnel.tcp_socket
        return f"ssh -p {port} root@{host}"
    return f"{tunnel.url}/lab?token={token}" if name == "Jupyter" else f"{tunnel.url}  (password: {token})"


def _end_all(children: Mapping[str, Any], grace: float = 5.0) -> None:
    running: Sequence[Any] = [child for child in children.values() if child.poll() is None]
    for child in running:
        child.terminate()
    for child in running:
        try:
            child.wait(grace)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
