"""`python -m pretraining.scale_sheet`: write SCALE.md, from the formulas of `scale_plan` and what was measured.

The sheet is generated, so a formula that is mended mends the sheet; a test makes it again and compares. Assumptions
(link speeds, the MFU of one GPU) stand in it as such, and a measured case that is not there is called not measured.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pretraining.scale_plan import H100, Cluster, Plan, plan, weights_of
from utils.cli import run_main
from utils.config import parse_args

HERE = Path(__file__).parent
SHEET, RESULT = HERE / "SCALE.md", HERE / "results" / "distributed.json"
COMMAND = "python -m pretraining.scale_sheet"
GPUS = (1, 8, 512)
# name, preset, tokens of a batch (GPT-3's for models of this size), tokens of the whole run (20 a weight)
MODELS = (("124M", "gpt2", 2**19), ("1.5B", "gpt2-xl", 2**20), ("7B", "llama-7b", 2**21))
TOKENS_A_WEIGHT = 20  # Hoffmann et al., arXiv 2203.15556


@dataclass(frozen=True)
class SheetConfig:
    """Where the sheet goes."""

    out: str = field(default=str(SHEET), metadata={"help": "the file to write"})
    measured: str = field(default=str(RESULT), metadata={"help": "of pretraining.benchmark_distributed"})


def all_plans(cluster: Cluster = H100) -> list[tuple[Plan, int]]:
    """(plan, weights) for every model on every number of GPUs."""
    from gpt_model.config import preset

    found = []
    for name, shape, tokens in MODELS:
        config = preset(shape)
        weights = weights_of(config)
        found += [(plan(name, config, gpus, tokens, cluster), weights) for gpus in GPUS]
    return found


def gigabytes(count: float) -> str:
    """Bytes in GB, two digits below ten."""
    return f"{count / 1e9:.2f}" if count < 1e10 else f"{count / 1e9:,.0f}"


def duration(seconds: float) -> str:
    """Minutes, hours, days or years."""
    for limit, unit, name in (
        (7_200, 60, "min"),
        (172_800, 3600, "h"),
        (63_072_000, 86_400, "days"),
        (float("inf"), 31_536_000, "years"),
    ):
        if seconds < limit:
            return f"{seconds / unit:,.1f} {name}"
    raise AssertionError


def memory_table(plans: list[tuple[Plan, int]]) -> list[str]:
    """One row a plan: how it is laid out, and the memory of one GPU."""
    rows = [
        "| model | GPUs | way | rows × passes | recompute | state | gathered or copied | activations | needed, GB |",
        "|---|---:|---|---|---|---:|---:|---:|---|",
    ]
    for p, _ in plans:
        parts = " | ".join(gigabytes(value) for value in (p.state, p.working, p.activations))
        way = p.strategy.upper() if p.gpus > 1 else "one process"
        verdict = gigabytes(p.needed) if p.fits else f"**{gigabytes(p.needed)}: does not fit**"
        rows.append(
            f"| {p.model} | {p.gpus} | {way} | {p.rows} × {p.accumulation} | {'yes' if p.recompute else 'no'} "
            f"| {parts} | {verdict} |"
        )
    return rows


def time_table(plans: list[tuple[Plan, int]]) -> list[str]:
    """One row a plan that fits: seconds and bytes of a step, efficiency, length of a whole run."""
    rows = [
        "| model | GPUs | batch, tokens | compute, ms | received, GB | messages, ms | not hidden, ms | efficiency "
        "| tokens/s | 20 tokens a weight |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for p, weights in plans:
        if not p.fits:
            rows.append(f"| {p.model} | {p.gpus} | {p.tokens:,} | " + "– | " * 6 + "does not fit |")
            continue
        messages = f"{1e3 * p.message_s:,.1f} | {1e3 * p.exposed_s:,.1f}"
        times = f"{1e3 * p.compute_s:,.0f} | {gigabytes(p.traffic)} | {messages}"
        rows.append(
            f"| {p.model} | {p.gpus} | {p.tokens:,} | {times} | {p.efficiency:.0%} | {p.tokens_per_second:,.0f} "
            f"| {duration(TOKENS_A_WEIGHT * weights / p.tokens_per_second)} |"
        )
    return rows


NAMES = {
    "ddp_bytes": "bytes received by a rank a step, DDP",
    "fsdp_bytes": "bytes received by a rank a step, FSDP in fp32 over gloo",
    "ddp_state_bytes": "bytes of state a rank, DDP",
    "fsdp_state_bytes": "bytes of state on rank 0, FSDP",
    "ddp_seconds": "seconds a step, DDP: compute and messages one after the other",
}


def measured_table(result: dict[str, Any] | None) -> list[str]:
    """Formula beside measurement for the small case, or a line that says there is none."""
    if result is None:
        return [
            "Not measured on this machine yet: `python -m pretraining.benchmark_distributed` makes the table."
        ]
    figures = result["figures"]
    setting, machine = figures["setting"], result["hardware"]
    rows = [
        f"`{setting['preset']}` ({figures['parameters']:,} weights), batch {setting['batch_size']}, "
        f"{figures['processes']} gloo processes of one thread, {machine['cpu']}, `{result['command']}`:",
        "",
        "| | formula | measured | measured / formula |",
        "|---|---:|---:|---:|",
    ]
    for name, said in figures["formula"].items():
        found = figures["measured"][name]
        shown = [
            f"{value:,.4f}" if name.endswith("seconds") else f"{value:,.0f}" for value in (said, found or 0)
        ]
        ratio = "–" if found is None else f"{found / said:.3f}"
        rows.append(
            f"| {NAMES[name]} | {shown[0]} | {'not counted' if found is None else shown[1]} | {ratio} |"
        )
    efficiency = ", ".join(f"{mode} {value:.0%}" for mode, value in figures["efficiency"].items())
    link = figures["link_bytes_per_second"] / 1e9
    rows += [
        "",
        f"Efficiency against one process of one thread: {efficiency}. The link carried {link:.2f} GB/s.",
    ]
    return rows


def sheet(result: dict[str, Any] | None, cluster: Cluster = H100) -> str:
    """The whole of SCALE.md."""
    plans = all_plans(cluster)
    lines = [
        "# From one GPU to 512: a plan on paper",
        "",
        f"<!-- generated by `{COMMAND}`; do not edit -->",
        "",
        "What three models need on 1, 8 and 512 GPUs: memory, traffic, time, by the formulas of",
        "[`scale_plan.py`](scale_plan.py). No such cluster was used. What could be checked small was: below, and in",
        "`tests/laws/test_scale_laws.py`, which counts bytes on sockets and in memory at 2 and 4 ranks.",
        "",
        f"**Assumed** of each {cluster.name}: {cluster.peak / 1e12:,.1f} TFLOP/s dense in bf16, "
        f"{cluster.memory / 1e9:.0f} GB for the program, {cluster.inside / 1e9:.0f} GB/s into a GPU within a machine "
        f"of {cluster.per_node}, {cluster.adapter / 1e9:.0f} GB/s for each of its adapters (four fifths of the data "
        f"sheets), {1e6 * cluster.latency:.0f} µs for each of log₂ N hops of a message, "
        f"{cluster.utilisation:.0%} MFU for one GPU alone. Measure "
        "your own (a run's `mfu` on one GPU, `nccl-tests` for the links) and change `H100` in `scale_plan.py`.",
        "",
        "## Memory of one GPU, in GB",
        "",
        "Weights, gradients and AdamW's moments in fp32, activations in bf16. DDP where it fits, else FSDP; blocks are",
        "recomputed in backward (activation checkpointing) only where nothing fits without. Rows are those of one",
        "forward pass, passes how many make a step.",
        "",
        *memory_table(plans),
        "",
        "## One step, and a whole run",
        "",
        *time_table(plans),
        "",
        "How to read it. The batch is fixed, so 512 GPUs have 64 times less work each than 8, while each still",
        "receives the same bytes: efficiency falls because there is less to hide messages behind, not because messages",
        "grow. A larger batch hides them again, up to the size from which more tokens a step teach no more",
        "(McCandlish et al., arXiv 1812.06162).",
        "",
        "## Checked against what was measured",
        "",
        *measured_table(result),
        "",
        "gloo has no reduce-scatter of its own: its sockets receive a whole all-reduce, of which a part is kept. The",
        "formula for gloo says so (`scatter=ring_bytes`); NCCL's costs a gather, as in the tables above (not measured",
        "here). On a CPU nothing hides: the cores that would compute also carry the messages.",
        "",
        "## The command",
        "",
        "One machine of eight GPUs:",
        "",
        "```bash",
        "torchrun --standalone --nproc-per-node 8 -m pretraining.train --preset gpt2-small strategy=ddp",
        "```",
        "",
        "64 machines of eight: the same line on each. `host0` is any of them, and all see the folder of runs. When a",
        "machine fails, torchrun waits until there are 64 again and starts all processes anew; they go on from the",
        "last checkpoint. `batch_size` counts rows over all processes and must be a multiple of their number.",
        "",
        "```bash",
        "torchrun --nnodes 64 --nproc-per-node 8 --max-restarts 10 \\",
        "  --rdzv-backend c10d --rdzv-endpoint host0:29500 --rdzv-id night-7 \\",
        "  -m pretraining.train --preset llama-like preset=llama-7b strategy=fsdp \\",
        "  sharded_checkpoints=true batch_size=512 runs=/shared/runs",
        "```",
        "",
    ]
    return "\n".join(lines)


def read_result(path: Path) -> dict[str, Any] | None:
    """The results file, or None."""
    return json.loads(path.read_text()) if path.is_file() else None


def main(argv: list[str] | None = None) -> int:
    """Write the sheet and say where it is."""
    config, _ = parse_args(argv, SheetConfig, prog=COMMAND, description=(__doc__ or "").split("\n\n")[0])
    from utils.files import atomic_write_text

    atomic_write_text(Path(config.out), sheet(read_result(Path(config.measured))))
    print(f"written: {config.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
