"""The laws of the fast encoder's inner parts, as functions: coarse words and bounded caches never change an id.

`test_encode_laws.py` applies them; `test_encode_mutations.py` puts the classic bugs back. The split patterns come
from tiktoken itself and run in the `regex` package, so that a mistake of ours cannot agree with itself.
"""

import random
from functools import lru_cache
from itertools import chain
from unittest.mock import patch

import regex
from tokenizer_checks import ODD_SPACES, fuzz_strings

from working_with_text_data import coarse_words as coarse_module
from working_with_text_data.bpe import encode_readable
from working_with_text_data.fast_encode import FastEncoder

NAMES = ("gpt2", "cl100k", "o200k")


@lru_cache
def published(name):
    """All pieces of a text, by the pattern that tiktoken ships."""
    from tiktoken_ext import openai_public

    if name == "gpt2":
        return regex.compile(openai_public.r50k_pat_str).findall
    with patch.object(openai_public, "load_tiktoken_bpe", lambda *args, **kwargs: {}):
        return regex.compile(getattr(openai_public, f"{name}_base")()["pat_str"]).findall


def white_strings(n, seed=0):
    """Mostly white space of every kind, with line ends, slashes and marks between letters and signs."""
    rng = random.Random(seed)
    plain = [*" \n\r\t/", "  ", "\n\n", "\r\n", "a", "b1", "'s", "é", "!", ".", "東", "\x00", "\x01"]
    odd = [*ODD_SPACES, "\v", "\f", "\x1e", "\ufeff", "\u180e", *coarse_module.MARKS[:3]]
    for _ in range(n):
        yield "".join(rng.choice(plain if rng.random() < 0.8 else odd) for _ in range(rng.randrange(1, 14)))


def check_words_are_runs_of_pieces(name, text):
    """Cutting into coarse words first gives the very pieces that the published pattern gives."""
    words = coarse_module.coarse_words(text, name)
    if words is None:
        return
    assert "".join(words) == text, f"{text!r} became {words}: a mark was left behind, or took something along"
    pieces = list(chain.from_iterable(map(published(name), words)))
    expected = published(name)(text)
    assert pieces == expected, (
        f"{name}: {text!r} cut into words {words} gives {pieces}, as a whole {expected}: a word ends where "
        "the pattern does not cut"
    )


def check_a_piece_alone_is_one_piece(findall, text):
    """Counting cuts pieces again where words did not pay: that must not change them."""
    for piece in findall(text):
        assert findall(piece) == [piece], (
            f"the piece {piece!r} of {text!r} falls apart alone: {findall(piece)}"
        )


def check_cold_is_warm(tokenizer, text):
    """The same ids from an empty cache, from a full one, and from applying the merges one by one."""
    tokenizer.clear_cache()
    cold = tokenizer.encode_ordinary(text)
    warm = tokenizer.encode_ordinary(text)
    assert cold == warm, f"{text!r}: {cold} at first sight, {warm} from the cache"
    expected = encode_readable(text, tokenizer)
    assert warm == expected, f"{text!r}: {warm}, but the readable encoder says {expected}"


def check_caches_are_bounded(ranks, splitter, texts, limit):
    """No cache ever holds more than its limit, and the ids are those of an encoder with room."""
    tight, roomy = FastEncoder(ranks, splitter, cache_entries=limit), FastEncoder(ranks, splitter)
    for text in texts:
        assert tight.encode(text) == roomy.encode(text), f"other ids with {limit} cache entries: {text!r}"
        held = max(len(tight._words), len(tight._pieces))
        assert held <= limit, f"a cache with room for {limit} holds {held} entries: it grows without end"


def hard_texts(n, seed):
    """Fuzz of both kinds, alone and as parts of a longer text."""
    parts = [*fuzz_strings(n, seed=seed), *white_strings(n, seed=seed + 1)]
    random.Random(seed).shuffle(parts)
    return [*parts, *(" ".join(parts[i : i + 40]) for i in range(0, len(parts), 40))]
