"""`torch.compile` around a model, so that nothing else can tell: names stay, and without a compiler it runs eagerly.

The compiled forward pass stands beside the model, not in its place: `model.state_dict()` and all that is saved
keep the model's own names (no `_orig_mod.`, law LP11). torch compiles at the first call, not here; so a compiler that
is found and does not work shows itself only then, and from that call on the model runs as it is.
Left out: the optimizer's step. On two CPU cores and the storyteller's shapes it did not pay: fused AdamW 1.2 ms and
compiled 1.5 ms, Muon 14.3 ms and 13.9 ms within a spread of 2 ms (medians of 7 rounds, in turn).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from utils.errors import one_line


def missing_compiler(device: torch.device) -> str | None:
    """What torch.compile lacks for this device, in a few words; None when it has all."""
    try:
        if device.type == "cuda":
            import triton  # noqa: F401
        else:
            from torch._inductor.cpp_builder import get_cpp_compiler

            get_cpp_compiler()
    except Exception as error:  # what is raised differs between releases of torch
        needed = "triton" if device.type == "cuda" else "a C++ compiler (g++ or clang++)"
        return f"{needed}, which is not found ({type(error).__name__})"
    return None


def compile_model(model: nn.Module, device: torch.device, say: Callable[[str], None]) -> Any:
    """What to call instead of `model`; the model itself, and one line through `say`, without a compiler."""
    missing = missing_compiler(device)
    if missing is not None:
        say(f"compile=true needs {missing}: training runs eagerly")
        return model
    return CompiledOrEager(model, say)


class CompiledOrEager:
    """The compiled forward pass; the model's own, and one line through `say`, from a call that cannot be compiled.

    That call is made again with the random numbers it began with: torch has been seen to draw some before it gave up.
    An error of the model's own comes again too, and is raised as it is. `_orig_mod` is the model, as torch.compile
    has it.
    """

    def __init__(self, model: nn.Module, say: Callable[[str], None]) -> None:
        self._orig_mod, self._say = model, say
        self._call: Callable[..., Any] = torch.compile(model)
        self._compiled = True

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """A forward pass."""
        if not self._compiled:
            return self._call(*arguments, **named)
        from torch._dynamo.exc import TorchDynamoException  # here torch.compile has paid for this import

        drawn = torch.get_rng_state()
        drawn_on_gpu = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
        try:
            return self._call(*arguments, **named)
        except TorchDynamoException as error:
            torch.set_rng_state(drawn)
            if drawn_on_gpu is not None:
                torch.cuda.set_rng_state(drawn_on_gpu)
            result = self._orig_mod(*arguments, **named)
            self._call, self._compiled = self._orig_mod, False
            what = one_line(f"{type(error).__name__}: {error}")[:200]
            self._say(f"compile=true failed ({what}): training runs eagerly")
            return result
