"""Data parallelism in forty lines: what torch's DistributedDataParallel does, to be read in one sitting.

Every rank holds the whole model and other rows of the batch; after backward all must hold the mean gradient. Three
ideas make that fast. *Buckets*: parameters share a few large all-reduces, because a message costs latency whatever
its size. *Overlap*: backward finishes the last layers first, so buckets are filled in reverse order and travel while
the earlier layers still compute. *no_sync*: under accumulation only the last micro-batch's backward sends.
Li et al., arXiv 2006.15704, section 3.2. Left out: unused parameters, buffers, mixed devices, bucket order learned
from the first step. For reading (notebook 04_many_processes); training takes torch's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.autograd import Variable


class OwnDDP(nn.Module):
    """Wraps `module`: after a backward pass every `.grad` is the mean over all ranks. Collective.

    `bucket_bytes` is the size at which a bucket is full; `sent` counts all-reduces, `sent_bytes` their payload.
    """

    def __init__(self, module: nn.Module, bucket_bytes: int = 25 * 2**20) -> None:
        super().__init__()
        self.module, self.sync, self.sent, self.sent_bytes = module, True, 0, 0
        self._under_way: list[tuple[Any, torch.Tensor, list[nn.Parameter]]] = []
        for tensor in [*module.parameters(), *module.buffers()]:
            dist.broadcast(tensor.detach(), src=0)  # all begin alike, whatever their seeds
        self.buckets: list[list[nn.Parameter]] = [[]]
        for p in reversed([p for p in module.parameters() if p.requires_grad]):
            if sum(q.nbytes for q in self.buckets[-1]) >= bucket_bytes:
                self.buckets.append([])
            self.buckets[-1].append(p)
        self._bucket_of = {p: i for i, bucket in enumerate(self.buckets) for p in bucket}
        self._missing = [len(bucket) for bucket in self.buckets]
        for p in self._bucket_of:
            p.register_post_accumulate_grad_hook(self._ready)

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """The module's forward pass: nothing travels here."""
        return self.module(*arguments, **named)

    def _ready(self, p: nn.Parameter) -> None:
        """Autograd calls this when `p.grad` is complete; the last one of a bucket sends it."""
        if not self.sync:
            return
        if not self._under_way and self._missing == [len(bucket) for bucket in self.buckets]:
            Variable._execution_engine.queue_callback(self._finish)  # once, at the end of this backward
        i = self._bucket_of[p]
        self._missing[i] -= 1
        if self._missing[i] == 0:
            flat = torch.cat([q.grad.flatten() for q in self.buckets[i] if q.grad is not None])
            self._under_way.append((dist.all_reduce(flat, async_op=True), flat, self.buckets[i]))
            self.sent, self.sent_bytes = self.sent + 1, self.sent_bytes + flat.nbytes

    def _finish(self) -> None:
        """Wait for the buckets and put the means where the optimizer looks for them."""
        for work, flat, bucket in self._under_way:
            work.wait()
            means = flat.div_(dist.get_world_size()).split([p.numel() for p in bucket])
            for p, mean in zip(bucket, means, strict=True):
                p.grad = mean.view_as(p)
        self._under_way.clear()
        self._missing = [len(bucket) for bucket in self.buckets]

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """Backward passes in here add to `.grad` and send nothing."""
        self.sync = False
        try:
            yield
        finally:
            self.sync = True
