"""What a run costs on 1, 8 or 512 GPUs, worked out before anything is rented; the sheet of it is `scale_sheet`.

Four formulas, each with its check against something measured (`benchmark_distributed`, `tests/laws`):

    memory    DDP    16 N + activations                 N weights, their gradients and AdamW's two moments, fp32
              FSDP   16 N / G + two whole blocks + activations
    traffic   DDP    2 (G − 1)/G · 4 N                  bytes that each GPU receives in a step: one ring all-reduce
              FSDP   (G − 1)/G · (2 · 2 N + 4 N)        a micro-batch: weights gathered twice in bf16 (what lies
                                                        outside the blocks once), gradients scattered in fp32
    time      compute = FLOPs / (G · peak · MFU of one GPU);  messages = bytes / bandwidth + latency
    efficiency  compute / (compute + what messages do not hide behind it)

DDP's messages hide behind backward (two thirds of the compute) but for the last bucket; FSDP's behind all of it but
for the first gather. A machine's numbers are data (`Cluster`); the MFU of one GPU is an assumption and said to be one.
Rajbhandari et al., arXiv 1910.02054, sections 3 and 7 (memory, traffic); Patarasuk & Yuan 2009 (ring all-reduce);
batches after Brown et al., arXiv 2005.14165, table 2.1. Left out: pipeline and tensor parallelism, stragglers,
failures, the price. Explained in notebook 04_many_processes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from utils.errors import UserError

if TYPE_CHECKING:
    from gpt_model.config import GPTConfig

FP32, BF16 = 4, 2
STATE = 4 * FP32  # bytes a weight: itself, its gradient, two moments
BUCKET = 25 * 2**20  # bytes of torch's DDP buckets


@dataclass(frozen=True)
class Cluster:
    """GPUs and what joins them. Bandwidths are bytes a second in one direction, as far as messages reach them."""

    name: str
    peak: float  # FLOP/s of one GPU, dense, in the training's precision
    memory: float  # bytes of one GPU that a program can use
    per_node: int
    inside: float  # into one GPU, within a machine
    adapter: float  # into a machine, for each of its GPUs
    latency: float  # seconds a hop of a message
    utilisation: float  # MFU of one GPU alone: an assumption until it is measured

    def bandwidth(self, gpus: int) -> float:
        """Bytes a second that each of `gpus` receives in a ring.

        A ring enters a machine once and visits its GPUs inside, and there are as many rings as adapters: so all
        adapters of a machine together carry what one GPU receives.
        """
        return self.inside if gpus <= self.per_node else min(self.inside, self.per_node * self.adapter)

    def hops(self, gpus: int) -> int:
        """Steps until a message has reached all: small pieces travel in trees, not round the ring."""
        return math.ceil(math.log2(gpus)) if gpus > 1 else 0


# NVIDIA's H100 SXM data sheet: 80 GB, NVLink 900 GB/s both ways; a DGX has one 400 Gb/s adapter a GPU. Messages are
# taken to reach four fifths of a link, and one GPU to reach 40 % of its peak.
H100 = Cluster("H100 SXM", 989.5e12, 75e9, 8, 0.8 * 450e9, 0.8 * 50e9, 10e-6, 0.40)


def ring_bytes(payload: float, ranks: int) -> float:
    """Bytes that each rank receives when `ranks` add up `payload` bytes in a ring: 2 (G − 1)/G of them.

    >>> ring_bytes(100, 1), ring_bytes(100, 2), ring_bytes(100, 4)
    (0.0, 100.0, 150.0)
    """
    return 2 * (ranks - 1) / ranks * payload


def gather_bytes(payload: float, ranks: int) -> float:
    """Bytes that each rank receives to hold all of `payload`, of which each holds a share; a scatter costs as much.

    >>> gather_bytes(100, 4)
    75.0
    """
    return (ranks - 1) / ranks * payload


def step_bytes(
    parameters: int,
    ranks: int,
    strategy: str,
    *,
    outside: int = 0,
    gathered: int = BF16,
    scatter: Callable[[float, int], float] = gather_bytes,
) -> float:
    """Bytes that each rank receives for one backward pass whose gradients travel.

    DDP adds up gradients. FSDP gathers the weights in forward and those of the blocks again in backward (`outside`
    them nothing is dropped in between), in numbers of `gathered` bytes, and scatters gradients. NCCL's scatter costs
    a gather; gloo's is an all-reduce of which a part is kept (`scatter=ring_bytes`), as its sockets show.
    """
    if strategy == "ddp":
        return ring_bytes(FP32 * parameters, ranks)
    if strategy == "fsdp":
        return gather_bytes(gathered * (2 * parameters - outside), ranks) + scatter(FP32 * parameters, ranks)
    raise UserError(f"strategy is {strategy!r}: choose ddp or fsdp")


def state_bytes(parameters: int, ranks: int, strategy: str) -> float:
    """Bytes a rank keeps between steps: weights, gradients, two moments, fp32; of a shard when they are sharded."""
    return STATE * parameters / (ranks if strategy == "fsdp" else 1)


@dataclass(frozen=True)
class Plan:
    """One model on so many GPUs. Bytes are of one GPU, seconds of one optimizer step."""

    model: str
    gpus: int
    strategy: str
    rows: int  # in one forward pass of one GPU
    accumulation: int
    tokens: int  # of the global batch
    recompute: bool  # activation checkpointing
    state: float
    working: float  # FSDP's whole blocks; DDP's bf16 copies of the weights
    activations: float
    traffic: float
    compute_s: float
    message_s: float
    exposed_s: float
    memory: float  # of the GPU

    @property
    def needed(self) -> float:
        """Bytes at the peak of a step."""
        return self.state + self.working + self.activations

    @property
    def fits(self) -> bool:
        """Whether a GPU has so much."""
        return self.needed <= self.memory

    @property
    def efficiency(self) -> float:
        """Share of the time in which the GPUs compute: 1 means that twice as many are twice as fast."""
        return self.compute_s / (self.compute_s + self.exposed_s)

    @property
    def tokens_per_second(self) -> float:
        """Of all GPUs together."""
        return self.tokens / (self.compute_s + self.exposed_s)


def activations_of(config: GPTConfig, rows: int, recompute: bool) -> float:
    """Bytes kept from forward to backward in bf16. Recomputing keeps each block's input, and one block at a time."""
    from dataclasses import replace

    from gpt_model.memory import activation_bytes

    length = config.block_size
    vocabulary = rows * length * config.vocab_size * (BF16 + 3 * FP32)
    if not recompute:
        return activation_bytes(config, rows, length, BF16) + vocabulary
    one = activation_bytes(replace(config, n_layer=1), rows, length, BF16)
    return one + config.n_layer * rows * length * config.n_embd * BF16 + vocabulary


def exposed_seconds(
    compute: float, traffic: float, messages: int, gpus: int, strategy: str, cluster: Cluster, last: float
) -> tuple[float, float]:
    """(seconds of all messages, those that nothing hides). `last` bytes are the part that cannot overlap.

    DDP overlaps with backward, two thirds of `compute`, FSDP with all of it.
    """
    if gpus == 1:
        return 0.0, 0.0
    ways = 2 if strategy == "ddp" else 1  # an all-reduce goes there and back
    total = traffic / cluster.bandwidth(gpus) + messages * ways * cluster.hops(gpus) * cluster.latency
    tail = total * min(1.0, last / traffic)
    hidden = min(total - tail, compute * (2 / 3 if strategy == "ddp" else 1.0))
    return total, total - hidden


def plan(
    name: str, config: GPTConfig, gpus: int, tokens: int, cluster: Cluster = H100, strategy: str | None = None
) -> Plan:
    """The best way that fits: DDP before FSDP, no recomputing before recomputing, as many rows as there is room.

    Where nothing fits, the plan that needs least is returned and says so (`fits`). Raises UserError when the global
    batch is not a whole number of rows for each GPU.
    """
    length = config.block_size
    rows = tokens // length // gpus
    if rows * length * gpus != tokens or rows < 1:
        raise UserError(
            f"{tokens:,} tokens are not a whole number of rows of {length} for each of {gpus} GPUs"
        )
    tried = []
    for way in (strategy,) if strategy else ("ddp", "fsdp"):
        for recompute in (False, True):
            micro = rows
            while micro >= 1:
                found = _at(name, config, gpus, tokens, cluster, way, micro, recompute)
                tried.append(found)
                if found.fits:
                    return found
                micro = micro // 2 if micro % 2 == 0 else 0
    return min(tried, key=lambda p: p.needed)


def weights_of(config: GPTConfig) -> int:
    """All weights of a model of this shape."""
    return sum(_sizes(config)[0].values())


@functools.cache
def _sizes(config: GPTConfig) -> tuple[dict[str, int], int]:
    """Weights by part, and FLOPs a token: counted on a model without memory, which takes a while for a large one."""
    from gpt_model.costs import parameter_breakdown
    from gpt_model.mfu import flops_per_token

    return parameter_breakdown(config), flops_per_token(config, config.block_size)


def _at(
    name: str,
    config: GPTConfig,
    gpus: int,
    tokens: int,
    cluster: Cluster,
    strategy: str,
    rows: int,
    recompute: bool,
) -> Plan:
    sizes, flops_per_token = _sizes(config)
    weights = sum(sizes.values())
    block = (weights - sum(v for k, v in sizes.items() if "embedding" in k or "head" in k)) / config.n_layer
    accumulation = tokens // config.block_size // gpus // rows
    sharded = strategy == "fsdp"
    # FSDP: this block and the next gathered in bf16, one block's gradients whole in fp32; embeddings are a group too
    largest = max(block, sizes["token embedding"])
    working = (2 * BF16 + FP32) * largest if sharded else BF16 * weights
    outside = round(weights - block * config.n_layer)
    traffic = step_bytes(weights, gpus, strategy, outside=outside) * (accumulation if sharded else 1)
    messages = 3 * (config.n_layer + 1) * accumulation if sharded else -(-FP32 * weights // BUCKET)
    flops = flops_per_token * tokens * (4 / 3 if recompute else 1)
    compute = flops / (gpus * cluster.peak * cluster.utilisation)
    last = gather_bytes(BF16 * largest, gpus) if sharded else ring_bytes(min(BUCKET, FP32 * weights), gpus)
    total, exposed = exposed_seconds(compute, traffic, int(messages), gpus, strategy, cluster, last)
    activations = activations_of(config, rows, recompute)
    state = state_bytes(weights, gpus, strategy)
    return Plan(
        *(name, gpus, strategy, rows, accumulation, tokens, recompute, state, working, activations, traffic),
        *(compute, total, exposed, cluster.memory),
    )
