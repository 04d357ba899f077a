"""BPE's options as laws: an independent trainer and encoder that honour them, and checks against it.

The reference is written on tuples of byte strings and the published pattern. Digits are cut *after* the
pattern, character by character, while the code under test works them into the pattern itself; the
first-seen tie-break is read off from the order in which a plain dict meets the pairs.
"""

import random
import re
import unicodedata
from collections import Counter
from itertools import groupby, pairwise

import regex
from tokenizer_checks import PUBLISHED, naive_merge

from working_with_text_data import tokenizer_hash

PLAIN = {"split_digits": False, "prefix_space": False}
NUMBERS = "in 1984 and 2001, 3 of 12345 rooms;  77 or ½ or ٣٤ then\n\n1000\t42 a1b22 "


def naive_pieces(text, specials=(), split_digits=False, prefix_space=False):
    """The pieces of GPT-2's pattern, cut at specials and digits, each text between specials prefixed."""
    cutter = "|".join(map(re.escape, sorted(specials, key=len, reverse=True)))
    pieces = []
    for part in re.split(cutter, text) if specials else [text]:
        if prefix_space and part and part[0] != " ":
            part = " " + part
        for piece in regex.findall(PUBLISHED["gpt2"], part):
            pieces += naive_digits(piece, int(split_digits)) if split_digits else [piece]
    return pieces


def naive_digits(piece, most):
    pieces = []
    for is_digit, run in groupby(piece, lambda character: unicodedata.category(character)[0] == "N"):
        run = "".join(run)
        pieces += [run[i : i + most] for i in range(0, len(run), most)] if is_digit else [run]
    return pieces


def naive_training(texts, vocab_size, specials=(), tie_break="bytes", min_frequency=1, **cut):
    """(merges as pairs of bytes, why they ended)."""
    words = Counter(
        tuple(bytes([b]) for b in piece.encode())
        for text in texts
        for piece in naive_pieces(text, specials, **cut)
    )
    merges = []
    id_of = {bytes([b]): b for b in range(256)}
    while 256 + len(merges) + len(specials) < vocab_size:
        pairs = {}  # a dict keeps the order in which its keys came
        for word, count in words.items():
            for pair in pairwise(word):
                pairs[pair] = pairs.get(pair, 0) + count
        if not pairs:
            return merges, "no_pairs"
        most = max(pairs.values())
        if most < min_frequency:
            return merges, "min_frequency"
        tied = [pair for pair, count in pairs.items() if count == most]
        if tie_break == "bytes":
            best = max(tied)
        elif tie_break == "smallest_ids":
            best = min(tied, key=lambda pair: (id_of[pair[0]], id_of[pair[1]]))
        else:
            assert tie_break == "first_seen"
            best = tied[0]
        id_of[best[0] + best[1]] = 256 + len(merges)
        merges.append(best)
        words = {naive_merge(word, best): count for word, count in words.items()}
    return merges, "vocab_size"


def check_training(train, texts, vocab_size, specials=(), tie_break="bytes", min_frequency=1, **cut):
    """`train` learns the merges of the naive trainer, under every option, and says why it ended."""
    expected, stopped = naive_training(texts, vocab_size, specials, tie_break, min_frequency, **cut)
    tokenizer = train(
        texts, vocab_size, special_tokens=specials, tie_break=tie_break, min_frequency=min_frequency, **cut
    )
    learned = [(tokenizer.token_bytes(a), tokenizer.token_bytes(b)) for a, b in tokenizer.merges]
    asked = {"tie_break": tie_break, "min_frequency": min_frequency, **cut}
    for number, (ours, theirs) in enumerate(zip(learned, expected)):
        assert ours == theirs, f"{asked}: merge {number} is {ours}, the naive trainer has {theirs}"
    assert len(learned) == len(expected), (
        f"{asked}: {len(learned)} merges, the naive trainer makes {len(expected)}: a pair seen exactly "
        "min_frequency times is merged, one seen less often is not"
    )
    assert tokenizer.training["stopped"] == stopped, (
        f"{asked}: training says it ended by {tokenizer.training['stopped']!r}, but it was {stopped!r}"
    )
    return tokenizer


def check_ids(tokenizer, text, **cut):
    """The encoder cuts a text as training did: digits, prefix and all."""
    table = [(tokenizer.token_bytes(a), tokenizer.token_bytes(b)) for a, b in tokenizer.merges]
    expected = []
    for piece in naive_pieces(text, **cut):
        word = tuple(bytes([b]) for b in piece.encode())
        for pair in table:
            word = naive_merge(word, pair)
        expected += [tokenizer.ranks[token] for token in word]
    ids = tokenizer.encode_ordinary(text)
    assert ids == expected, f"{cut}: {text!r} gives {ids}, its pieces one by one give {expected}"


def check_digits_stand_alone(tokenizer, text, most):
    """No token holds a digit beside anything else, or more than `most` digits."""
    for token_id in tokenizer.encode_ordinary(text):
        token = tokenizer.token_bytes(token_id).decode("utf-8", "replace")
        digits = [unicodedata.category(character)[0] == "N" for character in token]
        assert not any(digits) or (all(digits) and len(digits) <= most), (
            f"the token {token!r} of {text!r} holds digits with something else or more than {most}"
        )


def check_same_hash_means_same_ids(tokenizers, texts):
    """Tokenizers that give different ids for any of `texts` have different hashes."""
    seen = {}
    for name, tokenizer in tokenizers.items():
        ids = [tokenizer.encode_ordinary(text) for text in texts]
        other = seen.setdefault(tokenizer_hash(tokenizer), (name, ids))
        assert other[1] == ids, (
            f"{name} and {other[0]} have one hash and different ids: an option is not hashed"
        )


def check_counting(count, texts, specials=(), **cut):
    """Counts and order of first appearance are those of cutting the texts piece by piece."""
    expected = Counter(piece for text in texts for piece in naive_pieces(text, specials, **cut))
    counted = count(texts, special_tokens=specials, **cut)
    assert counted == expected, f"{cut}: other counts than cutting the texts one by one"
    for number, (ours, theirs) in enumerate(zip(counted, expected)):
        assert ours == theirs, (
            f"{cut}: pre-token {number} is {ours!r}, but the text shows {theirs!r} first: counts of blocks "
            "must be added up in the order of the text"
        )


def check_rustbpe(train, texts, vocab_size, pattern):
    """Under `smallest_ids` the merges are those of the compiled trainer `rustbpe`."""
    import rustbpe

    peer = rustbpe.Tokenizer()
    peer.train_from_iterator(iter(texts), vocab_size, pattern=pattern)
    expected = [bytes(token) for token, _ in sorted(peer.get_mergeable_ranks(), key=lambda row: row[1])]
    tokenizer = train(texts, vocab_size, tie_break="smallest_ids")
    learned = [tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)]
    for number, (ours, theirs) in enumerate(zip(learned, expected)):
        assert ours == theirs, f"token {number} is {ours!r}, rustbpe has {theirs!r}: look at the tie-break"
    assert len(learned) == len(expected), f"{len(learned)} tokens, rustbpe makes {len(expected)}"


def check_batch(tokenizer, texts, workers=0):
    """A batch is the texts one by one, in their order."""
    batch = tokenizer.encode_batch(texts, "all", workers=workers)
    assert len(batch) == len(texts)
    for number, (ids, text) in enumerate(zip(batch, texts)):
        assert ids == tokenizer.encode(text, "all"), f"text {number} of the batch has other ids than alone"


def check_found_specials(find, texts, form):
    """What is found is what `re` finds, the most frequent first, equally frequent ones as text."""
    counts = Counter(word for text in texts for word in re.findall(form, text))
    expected = [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    found = find(texts, form)
    assert found == expected, f"{form!r} found {found}, expected {expected}"


def texts_full_of_ties(seed, n=40):
    """Few letters, many words, most of them once: nearly every merge is a tie."""
    rng = random.Random(seed)
    return [
        " ".join("".join(rng.choice("abcde") for _ in range(rng.randrange(1, 7))) for _ in range(6)) + "\n"
        for _ in range(n)
    ]
