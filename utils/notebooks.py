"""Run the notebooks as a reader would, offline, and keep their outputs honest.

`make notebooks` executes every notebook in order and writes it back with its outputs and a hash of
the code that gave them. The tests execute each again with the network blocked, and compare the hash,
so that an edited cell with stale outputs fails. The kernel may reach this machine only: connecting
anywhere else raises inside the notebook.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TIME_LIMIT = 180  # seconds for one notebook
SIZE_LIMIT = 600_000  # bytes of the committed file
HASH_KEY = "scratchbook_source_sha256"

# Runs in the kernel before the first cell. Jupyter itself talks over loopback, which stays open.
NO_NETWORK = """
import socket as _socket
def _refuse(what):
    raise OSError(f"the book runs without a network, but something asked for {what!r}")
def _guard(original):
    def connect(self, address):
        local = not isinstance(address, tuple) or str(address[0]) in ("127.0.0.1", "::1", "localhost")
        return original(self, address) if local else _refuse(address)
    return connect
_socket.socket.connect = _guard(_socket.socket.connect)
_socket.socket.connect_ex = _guard(_socket.socket.connect_ex)
_lookup = _socket.getaddrinfo
_socket.getaddrinfo = lambda host, *a, **k: (
    _lookup(host, *a, **k) if host in (None, "127.0.0.1", "::1", "localhost") else _refuse(host))
del _guard
"""


def all_notebooks(root: Path = ROOT) -> list[Path]:
    """Every notebook of the chapters, in reading order."""
    order = (
        "working_with_text_data",
        "attention_mechanisms",
        "gpt_model",
        "pretraining",
        "finetuning",
        "chat_ui",
    )
    return [
        path for chapter in (*order, "deployment") for path in sorted((root / chapter).glob("[0-9]*.ipynb"))
    ]


def source_hash(notebook: Any) -> str:
    """A hash of the code cells' text: outputs that carry another hash were made by other code."""
    code = "\0".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return hashlib.sha256(code.encode()).hexdigest()


def execute(path: Path) -> tuple[Any, float]:
    """Run a notebook from top to bottom with the network blocked; returns it and the seconds it took.

    Raises nbclient's CellExecutionError at the first failing cell.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    setup = nbformat.v4.new_code_cell(NO_NETWORK)
    notebook.cells.insert(0, setup)
    client = NotebookClient(
        notebook,
        timeout=TIME_LIMIT,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    )
    # As the front door does: a kernel whose waiting threads spin is several times slower beside another program.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    started = time.perf_counter()
    client.execute()
    notebook.cells.pop(0)
    return notebook, time.perf_counter() - started


def smaller(picture: str) -> str:
    """A PNG in base64 with a palette of 256 colours, where that takes less room: a plot has few, and looks the same."""
    import base64
    import io

    from PIL import Image

    kept = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        if image.mode == "RGBA" and image.getchannel("A").histogram()[255] < image.width * image.height:
            return picture  # what shines through would turn black
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(kept, "PNG", optimize=True)
    found = base64.b64encode(kept.getvalue()).decode()
    return found if len(found) < len(picture) else picture


def write(path: Path) -> float:
    """Execute `path` and replace it with the result; returns the seconds it took."""
    import nbformat

    from utils.files import atomic_write_text

    notebook, seconds = execute(path)
    count = 0
    for cell in notebook.cells:
        cell.pop("id", None)  # random at every run, of use to nobody
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            cell.metadata.pop("execution", None)  # time stamps
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = count
                if "image/png" in output.get("data", {}):
                    output.data["image/png"] = smaller(output.data["image/png"])
    notebook.nbformat_minor = 4  # the newest format without cell ids
    notebook.metadata[HASH_KEY] = source_hash(notebook)
    atomic_write_text(path, nbformat.writes(notebook) + "\n")
    return seconds


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m utils.notebooks [--write] [PATH …]`: run notebooks, and with --write keep their outputs."""
    parser = argparse.ArgumentParser(prog="python -m utils.notebooks", description=main.__doc__)
    parser.add_argument("paths", nargs="*", type=Path, help="notebooks; all of them when none is named")
    parser.add_argument("--write", action="store_true", help="replace each notebook by its executed self")
    args = parser.parse_args(argv)
    for path in args.paths or all_notebooks():
        seconds = write(path) if args.write else execute(path)[1]
        print(f"{path}: {seconds:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    from utils.cli import run_main

    sys.exit(run_main(main))
