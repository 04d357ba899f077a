"""The front door is light: no command's help imports torch, and the measurement runs."""

import json
import subprocess
import sys

import pytest

from utils import startup


@pytest.mark.parametrize("command", ["", "demo", "train", "tokenizer", "chat", "sample"])
def test_help_imports_no_torch(command):
    words = [*([command] if command else []), "--help"]
    code = f"import sys, scratchbook\ntry:\n    scratchbook.main({words!r})\nexcept SystemExit:\n    pass\n"
    code += "print('HEAVY', [m for m in ('torch', 'transformers', 'chainlit') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in done.stdout, (
        f"`scratchbook {' '.join(words)}` waits for {done.stdout.splitlines()[-1]}"
    )


def test_the_measurement_writes_a_row_for_each_command(tmp_path, monkeypatch):
    monkeypatch.setattr(startup, "COMMANDS", {"python -c pass": ["-c", "pass"]})
    assert startup.main([str(tmp_path / "startup.json")]) == 0
    figures = json.loads((tmp_path / "startup.json").read_text())["figures"]
    assert figures["candidates"]["python -c pass"]["median_s"] > 0
