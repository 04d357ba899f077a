"""`python -m gpt_model.sample`: continue a text with any model, from the terminal.

python -m gpt_model.sample --ckpt assets --prompt "Once upon a time" --max-new-tokens 100 --stream
python -m gpt_model.sample --ckpt assets --prompt "The fox" --min-p 0.1 --top-k 0 --show-probabilities
python -m gpt_model.sample --ckpt assets --prompt "The fox" --beams 4 --max-new-tokens 20
python -m gpt_model.sample --ckpt assets --prompt "The fox" --quantize int8 --compile
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from utils.cli import run_main
from utils.errors import UserError

if TYPE_CHECKING:
    from gpt_model.decode_step import DecodeStep
    from gpt_model.loading import LoadedModel
    from gpt_model.sampling import Sampling


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(prog="scratchbook sample", description="Continue a text with a model.")
    add = parser.add_argument
    add("--ckpt", default="last", help="assets, last, best, a run, or a checkpoint folder")
    add("--prompt", default="", help="text to continue; empty starts a new text")
    add("--max-new-tokens", type=int, default=200)
    add("--num-samples", type=int, default=1)
    add("--seed", type=int, default=None, help="the same seed gives the same text")
    add("--on-overflow", choices=("error", "slide", "stop"), default="stop")
    add("--device", default="auto")
    add("--stop", action="append", default=[], metavar="TEXT", help="end before this text (may be repeated)")
    add("--stream", action="store_true", help="print each piece as soon as it is there")
    add("--show-probabilities", action="store_true", help="then list each token with what was likeliest")

    shape = parser.add_argument_group("how to draw").add_argument
    shape("--temperature", type=float, default=0.8, help="0 always takes the likeliest token")
    shape("--top-k", type=int, default=50, help="draw from the k likeliest tokens; 0 for all")
    shape("--top-p", type=float, default=1.0, help="draw from the likeliest tokens up to this probability")
    shape("--min-p", type=float, default=0.0, help="only tokens this many times as likely as the likeliest")

    rules = parser.add_argument_group("penalties and bans").add_argument
    rules("--repetition-penalty", type=float, default=1.0, help="above 1: tokens in prompt and text")
    rules("--presence-penalty", type=float, default=0.0, help="off the logit of a token written before")
    rules("--frequency-penalty", type=float, default=0.0, help="the same, for each time it was written")
    rules(
        "--no-repeat-ngram", type=int, default=0, metavar="N", help="no N tokens come twice; 0 for no limit"
    )
    rules("--bad-word", action="append", default=[], metavar="TEXT", help="never write it (may be repeated)")
    rules("--min-new-tokens", type=int, default=0, help="do not end the text before so many tokens")
    rules("--logit-bias", action="append", default=[], metavar="ID=X", help="add X to a token's logit")

    speed = parser.add_argument_group("how fast").add_argument
    speed("--quantize", choices=("int8", "int4"), default=None, help="smaller weights: a byte or half a byte")
    speed("--dtype", choices=("fp32", "bf16"), default=None, help="to compute in; quantised: bf16, else fp32")
    speed("--compile", action="store_true", help="compile the step of one token: half a minute, then faster")

    search = parser.add_argument_group("search instead of drawing").add_argument
    search("--beams", type=int, default=0, metavar="N", help="look for the likeliest text with N beams")
    search("--length-penalty", type=float, default=1.0, help="of the search: above 0 favours longer texts")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Load, continue, print. Returns 0."""
    args = build_parser().parse_args(argv)
    _check(args)
    from gpt_model.loading import load_model
    from utils.device import pick_device

    loaded = load_model(args.ckpt, device=pick_device(args.device))
    if loaded.tokenizer is None:
        raise UserError(
            f"{loaded.path} has no tokenizer.json of ours: copy the one it was trained with beside it"
        )
    step = _quick_step(args, loaded)
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
    stop_ids = () if end is None else (end,)
    texts = _searched(args, loaded, prompt, stop_ids) if args.beams else None
    for i in range(args.num_samples):
        if i:
            print("-" * 40)
        if texts is None:
            ids = _written(args, loaded, prompt, stop_ids, _sampling(args, loaded.tokenizer, i), step)
        elif i < len(texts):
            ids = texts[i]
            print(args.prompt + _cut(loaded.tokenizer, ids, args.stop))
        else:
            print(f"(the search found only {len(texts)} texts)")
            break
        if args.show_probabilities:
            _show_probabilities(loaded, prompt, ids)
    return 0


def _check(args: argparse.Namespace) -> None:
    """What can be refused before anything is loaded."""
    if args.num_samples < 1:
        raise UserError(f"--num-samples is {args.num_samples}: ask for at least 1")
    if args.beams < 0:
        raise UserError(f"--beams is {args.beams}: give the number of beams, or 0 to draw")
    if args.beams and args.stream:
        raise UserError("--stream and --beams: a search knows its text only at the end; leave one out")
    if args.beams and args.compile:
        raise UserError("--compile and --beams: the compiled step writes one text; leave one out")
    if args.beams and args.num_samples > args.beams:
        raise UserError(
            f"--num-samples is {args.num_samples} but --beams {args.beams} keeps no more texts than that"
        )
    if args.beams and args.on_overflow == "slide":
        raise UserError("--on-overflow slide and --beams: a search cannot slide; choose stop or error")


def _quick_step(args: argparse.Namespace, loaded: LoadedModel) -> DecodeStep | None:
    """Make the model smaller as asked, and give it a quick decode step; None when nothing of the kind was asked for."""
    if not (args.quantize or args.dtype or args.compile):
        return None
    import torch

    from gpt_model.decode_step import DecodeStep
    from gpt_model.quantization import quantize

    if args.quantize:
        quantize(loaded.model, args.quantize)
    if (args.dtype or ("bf16" if args.quantize else "fp32")) == "bf16":
        loaded.model.to(torch.bfloat16)
    if args.beams:
        return None
    return DecodeStep(loaded.model, loaded.model.new_cache(1, loaded.config.block_size), compile=args.compile)


def _sampling(args: argparse.Namespace, tokenizer: Any, number: int) -> Sampling:
    """The flags as settings; a flag's 0 for "no limit" is None there."""
    from gpt_model.processors import bad_word_ids
    from gpt_model.sampling import Sampling

    bias = dict(pair.partition("=")[::2] for pair in args.logit_bias)
    try:
        amounts = {int(token): float(amount) for token, amount in bias.items()}
    except ValueError:
        raise UserError(
            f"--logit-bias is {' '.join(args.logit_bias)}: write ID=AMOUNT, such as 50=-2.5"
        ) from None
    return Sampling(
        temperature=args.temperature,
        top_k=args.top_k or None,
        top_p=args.top_p,
        min_p=args.min_p or None,
        seed=None if args.seed is None else args.seed + number,
        repetition_penalty=args.repetition_penalty,
        presence_penalty=args.presence_penalty,
        frequency_penalty=args.frequency_penalty,
        no_repeat_ngram_size=args.no_repeat_ngram or None,
        bad_words=bad_word_ids(tokenizer, args.bad_word),
        min_new_tokens=args.min_new_tokens,
        logit_bias=amounts,
        vocab_limit=tokenizer.vocab_size,
    )


def _written(
    args: argparse.Namespace,
    loaded: LoadedModel,
    prompt: list[int],
    stop_ids: tuple[int, ...],
    sampling: Sampling,
    step: DecodeStep | None,
) -> list[int]:
    """Draw one text and print it, in pieces or whole; returns its ids."""
    from gpt_model.generation import stream
    from working_with_text_data.streaming_decode import StreamingDecoder

    decoder = StreamingDecoder(loaded.tokenizer, stop=args.stop)
    tokens = stream(
        loaded.model,
        prompt,
        max_new_tokens=args.max_new_tokens,
        sampling=sampling,
        stop_ids=stop_ids,
        on_overflow=args.on_overflow,
        step=step,
    )
    ids: list[int] = []
    pieces = [args.prompt]
    for token in tokens:
        ids.append(token)
        pieces.append(decoder.push(token))
        if args.stream:  # the prompt with the first token, so that bad settings print nothing but their error
            print("".join(pieces), end="", flush=True)
            pieces = []
        if decoder.stopped:
            break
    print("".join(pieces) + decoder.flush())
    return ids


def _searched(
    args: argparse.Namespace, loaded: LoadedModel, prompt: list[int], stop_ids: tuple[int, ...]
) -> list[list[int]]:
    """The likeliest texts, best first."""
    from gpt_model.beam import Beam, beam_search

    beam = Beam(
        args.beams,
        args.length_penalty,
        n_best=args.num_samples,
        sampling=_sampling(args, loaded.tokenizer, 0),
    )
    found = beam_search(
        loaded.model,
        [prompt],
        beam,
        max_new_tokens=args.max_new_tokens,
        stop_ids=stop_ids,
        on_overflow=args.on_overflow,
    )
    return [each.ids for each in found[0]]


def _cut(tokenizer: Any, ids: list[int], stop: list[str]) -> str:
    """The text of the ids, up to the first stop string."""
    from working_with_text_data.streaming_decode import StreamingDecoder

    decoder = StreamingDecoder(tokenizer, stop=stop)
    return "".join(map(decoder.push, ids)) + decoder.flush()


def _show_probabilities(loaded: LoadedModel, prompt: list[int], ids: list[int]) -> None:
    """A table of the tokens: what the model itself expected, before temperature, cuts and penalties."""
    from rich.console import Console

    from gpt_model.token_scores import probability_table, score_tokens

    scores = score_tokens(loaded.model, prompt, ids, alternatives=3)
    Console().print(probability_table(loaded.tokenizer, scores))
    if scores:
        mean = sum(score.log_probability for score in scores) / len(scores)
        print(f"{mean:.3f} nats per token by the model itself, before temperature, cuts and penalties")


if __name__ == "__main__":
    raise SystemExit(run_main(main))
