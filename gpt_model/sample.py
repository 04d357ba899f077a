"""`python -m gpt_model.sample`: continue a text with any model, from the terminal.

python -m gpt_model.sample --ckpt assets --prompt "Once upon a time" --max-new-tokens 100 --stream
"""

import argparse

from utils.cli import run_main
from utils.errors import UserError


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(prog="scratchbook sample", description="Continue a text with a model.")
    parser.add_argument("--ckpt", default="last", help="assets, last, best, a run, or a checkpoint folder")
    parser.add_argument("--prompt", default="", help="text to continue; empty starts a new text")
    parser.add_argument("--max-new-tokens", type=int, default=200)
    parser.add_argument("--temperature", type=float, default=0.8, help="0 always takes the likeliest token")
    parser.add_argument("--top-k", type=int, default=50, help="draw from the k likeliest tokens; 0 for all")
    parser.add_argument(
        "--top-p", type=float, default=1.0, help="draw from the likeliest tokens up to this probability"
    )
    parser.add_argument("--repetition-penalty", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--num-samples", type=int, default=1)
    parser.add_argument("--on-overflow", choices=("error", "slide", "stop"), default="stop")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--stream", action="store_true", help="print each piece as soon as it is there")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Load, continue, print. Returns 0."""
    args = build_parser().parse_args(argv)
    if args.num_samples < 1:
        raise UserError(f"--num-samples is {args.num_samples}: ask for at least 1")
    from gpt_model.generation import stream_text
    from gpt_model.loading import load_model
    from gpt_model.sampling import Sampling
    from utils.device import pick_device

    loaded = load_model(args.ckpt, device=pick_device(args.device))
    if loaded.tokenizer is None:
        raise UserError(
            f"{loaded.path} has no tokenizer.json of ours: copy the one it was trained with beside it"
        )
    end = loaded.tokenizer.special_tokens.get("<|endoftext|>")
    prompt = loaded.tokenizer.encode_ordinary(args.prompt)
    if end is not None:
        prompt = [end, *prompt]  # every training text begins behind an end-of-text token
    if not prompt:
        raise UserError(
            "the prompt is empty and this tokenizer has no <|endoftext|> to start from: give --prompt"
        )
    block = loaded.config.block_size
    if len(prompt) > block and args.on_overflow == "stop":
        raise UserError(
            f"block_size is {block} but the prompt has {len(prompt)} tokens: "
            "shorten it or pass --on-overflow slide"
        )
    for i in range(args.num_samples):
        sampling = Sampling(
            temperature=args.temperature,
            top_k=args.top_k or None,
            top_p=args.top_p,
            seed=None if args.seed is None else args.seed + i,
            repetition_penalty=args.repetition_penalty,
        )
        pieces = stream_text(
            loaded.model,
            loaded.tokenizer,
            prompt,
            max_new_tokens=args.max_new_tokens,
            sampling=sampling,
            stop_ids=() if end is None else (end,),
            on_overflow=args.on_overflow,
        )
        if i:
            print("-" * 40)
        if args.stream:
            print(args.prompt, end="", flush=True)
            for piece in pieces:
                print(piece, end="", flush=True)
            print()
        else:
            print(args.prompt + "".join(pieces))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_main(main))
