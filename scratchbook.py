"""The front door: `scratchbook COMMAND …` hands over to the chapter that owns the command.

Nothing heavy is imported here. Each command names a module whose `main(argv)` does the work, and
only that module is loaded, so `scratchbook --help` answers before torch could even be found.
`python -m pretraining.train …` and `scratchbook train …` are the same command.
"""

from __future__ import annotations

import importlib
import os
import sys

# command -> (module with `main(argv)`, one line of help)
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("finetuning.demo.main", "walk the whole way, from bytes to a chat, in five minutes"),
    "doctor": ("gpt_model.doctor", "what this machine has, what is missing, and a known-answer check"),
    "train": ("pretraining.train", "train a model from a config, or go on with a run"),
    "sweep": ("pretraining.sweep", "many runs by one command, compared at the end"),
    "evaluate": ("pretraining.evaluate", "loss, perplexity and bits per byte of a model, by source"),
    "sample": ("gpt_model.sample", "let a model write"),
    "finetune": ("finetuning.instruction.train", "teach a model to follow instructions, whole or by LoRA"),
    "export": ("gpt_model.export", "a model for transformers, torch.export, ONNX or in int8, compared after"),
    "chat": ("chat_ui.launch", "talk to a model in the browser"),
    "serve": ("chat_ui.serve", "the API, the pages and the chat's models on one port"),
    "tokenizer": ("working_with_text_data.train_tokenizer", "train a tokenizer on a text"),
    "pipeline": ("working_with_text_data.pipeline", "texts to shards: clean, split, describe, tokenise"),
    "check": ("utils.exercises", "check the exercises of a chapter"),
    "bench": ("bench", "measure: `scratchbook bench` lists what can be measured"),
}

BENCHMARKS: dict[str, tuple[str, str]] = {
    "startup": ("utils.startup", "how long a command takes to say anything"),
    "bpe": ("working_with_text_data.benchmark", "BPE training and encoding beside the libraries"),
    "cleaning": ("working_with_text_data.benchmark_cleaning", "documents cleaned a second, stage by stage"),
    "pipeline": ("working_with_text_data.benchmark_pipeline", "the whole way to shards, with its memory"),
    "attention": ("attention_mechanisms.benchmark", "every attention beside SDPA: decode, prefill, training"),
    "context": ("gpt_model.benchmark_attention", "a whole model's step for every attention, against context"),
    "decode": ("gpt_model.benchmark", "tokens a second in every precision, beside other libraries"),
    "engine": ("gpt_model.benchmark_engine", "many requests at once, and the wait for a first token"),
    "speculative": ("gpt_model.speculative", "writing with a draft that guesses ahead"),
    "race": ("pretraining.race", "small models that differ in attention only"),
    "train": ("pretraining.benchmark", "a training step beside a plain fp32 loop"),
    "overheads": ("pretraining.benchmark_overheads", "what evaluating, logging and sampling cost a run"),
    "checkpoints": ("pretraining.benchmark_checkpoints", "how long a save holds training up"),
    "memory": ("pretraining.benchmark_memory", "activation checkpointing: memory against time"),
    "ranks": ("pretraining.benchmark_distributed", "DDP and FSDP in two processes"),
    "optimizers": ("pretraining.benchmark_optimizers", "AdamW, Muon, GaLore and others at equal steps"),
    "scaling": ("pretraining.scaling_study", "models and budgets: where the valley lies"),
    "speedrun": ("pretraining.speedrun", "the laptop speedrun, three seeds"),
    "instructions": (
        "finetuning.benchmark_instructions",
        "base, prompted, tuned, preferred on held-out requests",
    ),
    "packing": ("finetuning.instruction.benchmark_packing", "packed rows against padded ones"),
    "lora": ("finetuning.benchmark_lora", "LoRA beside tuning everything: cost and quality"),
    "nf4": ("finetuning.benchmark_nf4", "four bits a weight: bytes, error, perplexity"),
    "classification": ("finetuning.classification.benchmark", "a fine-tuned classifier beside its baselines"),
    "preference": ("finetuning.preference.benchmark", "DPO: preference accuracy and what it costs"),
    "demo": ("finetuning.demo.benchmark", "the demo's curve against training minutes, and on real books"),
}


def _table(rows: dict[str, tuple[str, str]]) -> str:
    width = max(map(len, rows))
    return "\n".join(f"  {name:<{width}}  {help_}" for name, (_, help_) in rows.items())


def usage() -> str:
    """The text of `scratchbook --help`."""
    return (
        "usage: scratchbook COMMAND [options] [key=value …]\n\n"
        "A book you can run: from the bytes of a text to a chat with a model you trained.\n\n"
        f"commands:\n{_table(COMMANDS)}\n\n"
        "`scratchbook COMMAND --help` says more. Start with: scratchbook demo"
    )


def _dispatch(module: str, argv: list[str]) -> int:
    from utils.cli import run_main

    return run_main(importlib.import_module(module).main, argv)


def _bench(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: scratchbook bench NAME|all [options]\n\n{_table(BENCHMARKS)}")
        return 0
    name, rest = argv[0], argv[1:]
    if name != "all" and name not in BENCHMARKS:
        print(
            f"error: unknown benchmark {name!r}: choose from {', '.join(BENCHMARKS)} or all", file=sys.stderr
        )
        return 2
    chosen = list(BENCHMARKS) if name == "all" else [name]
    return max(_dispatch(BENCHMARKS[each][0], rest) for each in chosen)


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 fine, 1 failure, 2 bad input, 130 interrupted."""
    argv = list(sys.argv[1:] if argv is None else argv)
    # A waiting OpenMP thread spins. When another program wants the core, the thread it waits for cannot run and
    # training becomes many times slower. What a short spin costs on a quiet machine was not measured. Read when
    # torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if argv[0] in ("-V", "--version"):
        from importlib.metadata import version

        print(f"scratchbook {version('llm-scratchbook')}")
        return 0
    name, rest = argv[0], argv[1:]
    if name not in COMMANDS:
        import difflib

        near = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(COMMANDS)}"
        print(f"error: unknown command {name!r}: {hint}", file=sys.stderr)
        return 2
    if name == "bench":
        return _bench(rest)
    return _dispatch(COMMANDS[name][0], rest)


if __name__ == "__main__":
    raise SystemExit(main())
