"""Importing the model costs torch and little more, and its commands explain themselves without torch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# What a plain GPT has no use for. Each costs tenths of a second to seconds.
HEAVY = ("transformers", "tokenizers", "datasets", "rich", "matplotlib", "omegaconf", "safetensors", "pandas")


def fresh(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1500:]
    return done.stdout


def test_a_gpt_needs_no_transformers_and_nothing_else_that_is_heavy():
    before = fresh(f"import sys, torch; print([m for m in {HEAVY} if m in sys.modules])")
    code = "import sys\nfrom gpt_model import GPT, preset, generate\n"
    code += "generate(GPT(preset('debug')), [[1, 2]], max_new_tokens=2)\n"
    after = fresh(code + f"print([m for m in {HEAVY} if m in sys.modules])")
    assert after == before, f"making a GPT write loads {after.strip()}; torch alone loads {before.strip()}"


def test_importing_the_package_alone_loads_no_torch():
    assert fresh("import sys, gpt_model; print('torch' in sys.modules)").strip() == "False"


def test_importing_gpt_takes_little_more_than_torch():
    """CPU seconds of our own imports once torch is there: a process's own time, the least of three.

    The bound is the book's, 0.3 s; what is measured is a few hundredths, and CPU time does not count the neighbours.
    """
    code = (
        "import torch, time, json\nstart = time.process_time()\nfrom gpt_model import GPT, generate, preset\n"
    )
    code += "print(json.dumps(time.process_time() - start))"
    best = min(json.loads(fresh(code)) for _ in range(3))
    assert best <= 0.3, (
        f"`from gpt_model import GPT` takes {best:.2f} s of CPU beyond torch: what does it import?"
    )


@pytest.mark.parametrize("module", ["analyze", "costs", "gpt", "gpt_gqa", "gpt_mla", "gpt_swa"])
def test_help_answers_without_torch(module):
    code = f"import runpy, sys\nsys.argv = ['{module}', '--help']\ntry:\n"
    code += f"    runpy.run_module('gpt_model.{module}', run_name='__main__')\nexcept SystemExit as end:\n"
    code += "    print('END', end.code, 'torch' in sys.modules)\n"
    out = fresh(code)
    assert out.splitlines()[-1] == "END 0 False", out[-300:]
    assert "usage" in out
