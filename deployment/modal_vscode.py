"""`modal run deployment/modal_vscode.py`: VS Code, Jupyter and SSH on a rented machine, in your browser.

Prints an address for each, with a token that is drawn anew each time. `--public-key ~/.ssh/id_ed25519.pub` adds SSH,
by that key only. What lies in the workspace's folder is kept on a Volume; the machine ends after some hours by itself,
or with Ctrl-C. What Modal itself does was not run: there was no account (deployment/README.md). Settings:
`deployment.spec.WorkspaceSpec`, such as `SCRATCHBOOK_WORKSPACE_GPU=L4`.
"""

from __future__ import annotations

import modal

from deployment.image import WORKSPACE_EXTRAS, modal_image
from deployment.spec import WorkspaceSpec, from_environment, workspace_options
from deployment.workspace import APT, image_commands, new_token, read_public_key, serve_workspace

SPEC = from_environment(WorkspaceSpec, "SCRATCHBOOK_WORKSPACE_")
VOLUME = modal.Volume.from_name(SPEC.volume, create_if_missing=True)
app = modal.App("scratchbook-workspace", image=modal_image(WORKSPACE_EXTRAS, APT, image_commands()))


@app.function(**workspace_options(SPEC))
def workspace(token: str, public_key: str) -> str:
    """The services and their tunnels, until the hours are over."""
    return serve_workspace(SPEC, token, public_key, forward=modal.forward, commit=VOLUME.commit)


@app.local_entrypoint()
def main(public_key: str = "") -> None:
    """Check the key here, then start the machine."""
    print(workspace.remote(new_token(), read_public_key(public_key)))
