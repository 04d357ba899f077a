"""How fast a run is and how long it still takes: tokens a second, MFU, memory, seconds left.

Speed is that of the steps since the last log line; evaluation, samples and saving are not in it. MFU counts what
the model needs (`gpt_model.mfu`) against the machine's true peak: from the table of data sheets, or measured and
given as `peak_tflops`; without either there is none. Looking costs no step: the numbers are read, not measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from gpt_model.config import GPTConfig
from gpt_model.mfu import peak_flops, utilisation
from pretraining.gradients import Batch
from pretraining.run_state import Progress
from utils.timing import peak_memory_bytes

PRECISIONS = {torch.bfloat16: "bf16", torch.float16: "fp16"}


class Throughput:
    """The figures of one run. `devices` is the number of ranks, whose tokens are counted together."""

    def __init__(
        self,
        model: nn.Module,
        device: torch.device,
        dtype: torch.dtype,
        *,
        peak_tflops: float | None = None,
        devices: int = 1,
    ) -> None:
        config = getattr(model, "config", None)
        self.shape = config if isinstance(config, GPTConfig) else None
        self.device, self.devices = device, devices
        self.peak = _peak(device, dtype) if peak_tflops is None else 1e12 * peak_tflops
        self.context = 0  # tokens a row of the last batch
        self._began = (0.0, 0.0)

    @property
    def note(self) -> str | None:
        """Why there is no MFU, for the log; None when there is one."""
        if self.peak is None:
            return (
                "MFU: peak unknown (this machine is not in gpt_model.mfu; a measured peak_tflops=… gives one)"
            )
        return None if self.shape else "MFU: not a GPTConfig, so its FLOPs are not known"

    def begin(self, progress: float, elapsed: float) -> None:
        """Where `fit` starts: what an earlier process needed says nothing about this one's speed."""
        self._began = (progress, elapsed)

    def seconds_left(self, progress: float, elapsed: float) -> float:
        """Wall time to the end of the budget at the average pace since `begin`; inf before the first step."""
        done = progress - self._began[0]
        return (elapsed - self._began[1]) * (1.0 - progress) / done if done > 0 else math.inf

    def count(self, now: Progress, micro_batches: Sequence[Batch], seconds: float) -> None:
        """Add one step to the window: its seconds, and the tokens that all ranks computed, labelled or not."""
        now.window_seconds += seconds
        now.window_computed += self.devices * sum(ids.numel() for ids, *_ in micro_batches)
        self.context = micro_batches[-1][0].size(-1)

    def pace(self, now: Progress, elapsed: float, progress: float) -> dict[str, Any]:
        """For each step: progress, elapsed, tokens_per_second, seconds_left."""
        left = self.seconds_left(progress, elapsed)
        speed = now.tokens_per_second
        return {"progress": progress, "elapsed": elapsed, "tokens_per_second": speed, "seconds_left": left}

    def figures(self, now: Progress, elapsed: float, progress: float) -> dict[str, Any]:
        """For a log line: `pace`, mfu (None where unknown), peak_rss_bytes, and device_memory_bytes on a GPU."""
        found = {
            **self.pace(now, elapsed, progress),
            "mfu": self.mfu(now),
            "peak_rss_bytes": peak_memory_bytes(),
        }
        if self.device.type == "cuda":
            found["device_memory_bytes"] = torch.cuda.max_memory_allocated(self.device)
        return found

    def mfu(self, now: Progress) -> float | None:
        """Share of the peak since the last log line; ignored labels cost as much as others and are counted."""
        if self.shape is None or not self.context or not now.window_seconds:
            return None
        computed = now.window_computed / now.window_seconds
        return utilisation(self.shape, self.context, computed, self.peak, self.devices)


def _peak(device: torch.device, dtype: torch.dtype) -> float | None:
    """FLOP/s of the data sheet, for a GPU that stands in the table."""
    if device.type != "cuda":
        return None
    fp32 = "tf32" if torch.backends.cuda.matmul.allow_tf32 else "fp32"
    return peak_flops(torch.cuda.get_device_name(device), PRECISIONS.get(dtype, fp32))
