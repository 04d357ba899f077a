"""Write text with an exported model, without torch and without this book: numpy and ONNX Runtime are enough.

    python run.py "Once upon a time" --tokens 60 --temperature 0.8

This file is copied into the folder that `python -m deployment.export` makes, as run.py; the tokenizer's modules stand
beside it in `book/`. One step takes one token and the cache, and gives the logits and the cache back. A prompt is fed
token by token. Sampling is by temperature and top-k; 0 is greedy.
Left out: everything that needs more than one text at a time (`gpt_model.engine`).
"""

from __future__ import annotations

import argparse
import codecs
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TYPES = {"int64": "int64", "bool": "bool", "float32": "float32", "float16": "float16", "bfloat16": "float32"}


class Step:
    """The decode step in ONNX Runtime, and the cache between two calls."""

    def __init__(self, folder: Path, threads: int = 0) -> None:
        import onnxruntime

        meta = json.loads((folder / "step.json").read_text(encoding="utf-8"))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(
            str(folder / meta["file"]), options, providers=["CPUExecutionProvider"]
        )
        self.inputs = meta["inputs"]
        self.capacity: int = self.inputs[1]["shape"][-1]
        self.reset()

    def reset(self) -> None:
        """Forget what was read."""
        import numpy as np

        self.length = 0
        self._state = {
            row["name"]: np.zeros(row["shape"], dtype=TYPES[row["dtype"]]) for row in self.inputs[1:]
        }

    def __call__(self, token: int) -> Any:
        """Read one token; the logits of the next (vocabulary,). Raises ValueError when the context is full."""
        import numpy as np

        if self.length == self.capacity:
            raise ValueError(f"the context of {self.capacity} tokens is full")
        first = self.inputs[0]["name"]
        given = {first: np.full(self.inputs[0]["shape"], token, dtype=np.int64), **self._state}
        logits, *state = self.session.run(None, given)
        self._state = dict(zip(self._state, state, strict=True))
        self.length += 1
        return logits.reshape(-1, logits.shape[-1])[0]


def choose(logits: Any, temperature: float, top_k: int, rng: Any) -> int:
    """The next token: the best at temperature 0, else one of the `top_k` best by its probability."""
    import numpy as np

    if temperature <= 0:
        return int(logits.argmax())
    best = np.argsort(logits)[-min(top_k, len(logits)) :]
    scaled = (logits[best] - logits[best].max()) / temperature
    weights = np.exp(scaled.astype(np.float64))
    return int(rng.choice(best, p=weights / weights.sum()))


def write(
    step: Step,
    prompt: list[int],
    *,
    tokens: int,
    temperature: float = 0.0,
    top_k: int = 50,
    seed: int = 0,
    stop: frozenset[int] = frozenset(),
) -> Iterator[int]:
    """The tokens that follow `prompt`, until `tokens`, a stop token, or the end of the context."""
    import numpy as np

    if not 1 <= len(prompt) < step.capacity:
        raise ValueError(f"the prompt has {len(prompt)} tokens: from 1 to {step.capacity - 1} fit")
    rng = np.random.default_rng(seed)
    for token in prompt:
        logits = step(token)
    for _ in range(min(tokens, step.capacity - len(prompt) + 1)):
        token = choose(logits, temperature, top_k, rng)
        if token in stop:
            return
        yield token
        if step.length < step.capacity:
            logits = step(token)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of the folder, by the copied modules where the book itself is not installed."""
    sys.path.insert(0, str(folder / "book"))
    from working_with_text_data.tokenizer import load_tokenizer as load

    return load(folder / "tokenizer.json")


def main(argv: list[str] | None = None) -> int:
    """Write to the terminal as the tokens come."""
    parser = argparse.ArgumentParser(description="Write text with this folder's model.")
    parser.add_argument("prompt", nargs="?", default="Once upon a time")
    parser.add_argument("--tokens", type=int, default=60, help="at most so many (default: 60)")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 is greedy (default: 0.8)")
    parser.add_argument("--top-k", type=int, default=50, help="default: 50")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="default: what ONNX Runtime finds")
    options = parser.parse_args(argv)
    try:
        tokenizer, step = load_tokenizer(HERE), Step(HERE, options.threads)
        end = tokenizer.special_tokens.get("<|endoftext|>")
        prompt = ([] if end is None else [end]) + tokenizer.encode_ordinary(options.prompt)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        print(options.prompt, end="", flush=True)
        ids = write(
            step,
            prompt,
            tokens=options.tokens,
            temperature=options.temperature,
            top_k=options.top_k,
            seed=options.seed,
            stop=frozenset() if end is None else frozenset([end]),
        )
        for token in ids:
            print(decoder.decode(tokenizer.token_bytes(token)), end="", flush=True)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
