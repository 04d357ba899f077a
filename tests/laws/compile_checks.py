"""Law LP11 as plain functions: compiled equals eager, and a compiler that lacks or fails costs speed, never a run."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
import torch._inductor.config as inductor
from safetensors.torch import load_file
from torch._inductor.utils import fresh_cache
from training_checks import BASE, Watch, replace, tiny_model, tiny_trainer

from pretraining import checkpoints, compiling
from utils.runs import Run


def check_compiled_run(folder: Path, steps: int = 20) -> None:
    """Eager and compiled give the same curve to 1e-3, and no name in a checkpoint tells of the compiler."""
    losses = {}
    for compiled in (False, True):
        run, watch = Run.create("law", {}, root=folder), Watch()
        config = replace(BASE, steps=steps, compile=compiled, prompts=[])
        model = tiny_model(vocab_size=64, n_layer=1)
        result = tiny_trainer(config, run=run, model=model, callbacks=(watch,)).fit()
        losses[compiled] = [row[1] for row in watch.rows]
        assert result.checkpoint is not None
        stored = load_file(result.checkpoint / "model.safetensors")
        state = checkpoints.load_checkpoint(run).state["parameters"]
        assert not any("_orig_mod" in name for name in [*stored, *state]), (
            "a name in the checkpoint begins with _orig_mod.: compile beside the model, not in its place"
        )
    worst = max(abs(a - b) for a, b in zip(losses[False], losses[True], strict=True))
    assert worst <= 1e-3, f"compiled and eager losses are {worst:.1e} apart"
    assert losses[False][-1] < losses[False][0], "nothing was learned: two flat lines are equal too"


def check_without_a_compiler(folder: Path) -> None:
    """compile=true where torch has no compiler: one warning, and the eager curve to the bit."""
    curves = []
    for compiled in (False, True):
        watch = Watch()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            run = Run.create("law", {}, root=folder)
            tiny_trainer(
                replace(BASE, steps=3, compile=compiled, prompts=[]), run=run, callbacks=(watch,)
            ).fit()
        own = [str(w.message) for w in said if "compile=true" in str(w.message)]
        assert len(own) == int(compiled), f"{len(own)} lines about the compiler: {own}"
        assert all("\n" not in line and "eagerly" in line for line in own)
        curves.append(watch.rows)
    assert curves[0] == curves[1]


def check_a_broken_compiler(folder: Path) -> None:
    """A compiler that is found and cannot compile: one line at the first step, and the eager curve to the bit."""
    broken = folder / "g++"  # says its version, as one does whose other half is not installed
    broken.write_text('#!/bin/sh\ncase "$*" in *--version*) echo "g++ 13.2.0"; exit 0;; esac\nexit 1\n')
    broken.chmod(0o755)
    curves = []
    for compiled in (False, True):
        watch = Watch()
        with (
            inductor.patch({"cpp.cxx": (str(broken),)}),
            fresh_cache(),  # else what an earlier test compiled would be found
            warnings.catch_warnings(record=True) as said,
        ):
            warnings.simplefilter("always")
            assert compiling.missing_compiler(torch.device("cpu")) is None, "the compiler must look whole"
            config = replace(BASE, steps=3, compile=compiled, prompts=[])
            model = tiny_model(vocab_size=64, n_layer=1, dropout=0.1)
            try:
                tiny_trainer(config, model=model, callbacks=(watch,)).fit()
            except RuntimeError as error:
                raise AssertionError(
                    f"compile=true ended the training at step {len(watch.rows)}: {type(error).__name__}"
                ) from error
        own = [str(w.message) for w in said if "compile=true" in str(w.message)]
        assert len(own) == int(compiled), f"{len(own)} lines about the compiler: {own}"
        assert all("\n" not in line and "eagerly" in line for line in own)
        curves.append(watch.rows)
    assert curves[0] == curves[1], "the step that could not be compiled was not the eager one"


def check_compiler_question() -> None:
    """The answer names what is missing, in one line, for the device asked about."""
    answer = compiling.missing_compiler(torch.device("cuda"))
    assert answer is None or "triton" in answer
