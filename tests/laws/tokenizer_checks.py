"""The tokenizer laws LT1–LT7 as plain functions that raise AssertionError, and their independent references.

`test_tokenizer_laws.py` applies them to the real tokenizers; `test_tokenizer_mutations.py` puts the
classic bugs back and asks that the same functions fail.
"""

import random
import time
import unicodedata
from collections import Counter
from functools import lru_cache
from itertools import pairwise

import regex

from working_with_text_data import train_bpe

# The split patterns as their makers published them, written out here so that the code under test
# is not compared with itself.
PUBLISHED = {
    "gpt2": r"""'s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""",
}
ODD_SPACES = "\u00a0\u1680\u2003\u2028\u202f\u3000\u0085\u001c\u001f\u200b\ufeff"


CORPUS = [
    "The cat sat on the mat. The dog sat on the log; the frog didn't.",
    "aaaa aaaaa abab ababab aabb aaabbb banana bananas\n\n  indented\tby hand\r\n1,024 2048 4096!!",
    "Ünïcödé wörds, naïve café, 東京 東京都, 😀😀 👩‍💻, привет мир, привет всем",
    "low lower lowest new newer newest wide wider widest " * 3,
]
SPECIALS = ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>")


@lru_cache
def trained(pattern="gpt2", vocab_size=400, specials=SPECIALS, **options):
    return train_bpe(CORPUS, vocab_size, pattern=pattern, special_tokens=specials, **options)


# --- references ---------------------------------------------------------------------------------


def naive_merges(texts, vocab_size, special_tokens=()):
    """Twenty lines of BPE training on tuples of bytes: the reference for LT2. Ties: greatest as bytes."""
    words = Counter()
    for text in texts:
        for special in sorted(special_tokens, key=len, reverse=True):
            text = text.replace(special, "\ue000")  # a private character marks where a special stood
        for part in text.split("\ue000"):
            for piece in regex.findall(PUBLISHED["gpt2"], part):
                words[tuple(bytes([b]) for b in piece.encode())] += 1
    merges = []
    while 256 + len(merges) + len(special_tokens) < vocab_size:
        pairs = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                pairs[pair] += count
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        merged_words = Counter()
        for word, count in words.items():
            merged_words[naive_merge(word, best)] += count
        words = merged_words
    return merges


def naive_merge(word, pair):
    """`word` with `pair` joined, left to right."""
    merged, i = [], 0
    while i < len(word):
        if word[i : i + 2] == pair:
            merged.append(pair[0] + pair[1])
            i += 2
        else:
            merged.append(word[i])
            i += 1
    return tuple(merged)


def naive_ids(text, tokenizer):
    """Apply every merge in the order it was learned to every piece of `text`."""
    table = [(tokenizer.token_bytes(a), tokenizer.token_bytes(b)) for a, b in tokenizer.merges]
    ids = []
    for piece in regex.findall(PUBLISHED["gpt2"], text):
        word = tuple(bytes([b]) for b in piece.encode())
        for pair in table:
            word = naive_merge(word, pair)
        ids += [tokenizer.ranks[token] for token in word]
    return ids


def merges_as_bytes(tokenizer):
    return [(tokenizer.token_bytes(a), tokenizer.token_bytes(b)) for a, b in tokenizer.merges]


def fuzz_strings(n, seed=0):
    """Strings made to hurt: odd spaces, contractions in any case, digits, emoji, rare scripts, CRLF.

    Only code points that this Python's Unicode tables know: a character that Unicode assigns later is
    a letter to one regex library and nothing yet to another, and no implementation is wrong.
    """
    rng = random.Random(seed)
    scripts = "äßçñøÅŁжЯΩλאבعربहिन्दी中文字日本語한국어ไทย"
    marks = "\u0301\u0308\u200d\ufe0f\u20e3"
    emoji = "😀👩‍💻🏳️‍🌈🇩🇪½²Ⅷ①٣४ǅʰªſK"
    atoms = [
        lambda: rng.choice(
            ["the", " the", "ing", "It", "don't", "WE'LL", "'S", "'s", "ı", "x'Re", "HTTPServer"]
        ),
        lambda: rng.choice(
            [" ", "  ", "\n", "\n\n", "\r\n", "\t", " \n ", "   \n", "\r", "\v", "\f", "\x00"]
        ),
        lambda: rng.choice(
            ["1", "23", "456", "7890", "3.14", "1,000", "!", "?!", "...", "--", "/*", "://", "'", '"']
        ),
        lambda: rng.choice(["!\n", "/\n\n", "}\r\n", "\n/", " {", "=="]),
        lambda: rng.choice(scripts),
        lambda: rng.choice(marks),
        lambda: rng.choice(emoji),
        lambda: rng.choice(ODD_SPACES),
        lambda: chr(rng.randrange(32, 127)),
        lambda: "".join(rng.choice("abcdefgh") for _ in range(rng.randrange(1, 9))),
        lambda: any_character(rng),
    ]
    for _ in range(n):
        yield "".join(rng.choice(atoms)() for _ in range(rng.randrange(1, 12)))


def any_character(rng):
    while True:
        character = chr(rng.randrange(0x110000))
        if unicodedata.category(character) not in ("Cn", "Cs"):
            return character


def bytes_of_printable():
    """GPT-2's spelling of bytes as printable characters (its encoder.py), written out once more."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in printable]
    return table | {chr(256 + i): byte for i, byte in enumerate(others)}


# --- LT1 ----------------------------------------------------------------------------------------


def comes_back(tokenizer, text):
    """What LT1 promises: the text itself, or under `prefix_space` the text with the space it was given.

    That space cannot be taken away again: " a" and "a" have the same ids.
    """
    prefix = getattr(tokenizer, "splitter", None) is not None and tokenizer.splitter.prefix_space
    return " " + text if prefix and text and text[0] != " " else text


def check_round_trip(tokenizer, text):
    ids = tokenizer.encode_ordinary(text)
    back = tokenizer.decode(ids)
    text = comes_back(tokenizer, text)
    assert back == text, (
        f"decode(encode(text)) gave {back!r} for {text!r}: a character was dropped, folded or counted in "
        "characters where bytes are meant"
    )
    assert b"".join(tokenizer.token_bytes(i) for i in ids) == text.encode(), (
        "token_bytes disagrees with decode"
    )
    assert all(0 <= i < tokenizer.vocab_size for i in ids), "an id outside range(vocab_size)"


def check_bytes_round_trip(tokenizer, data):
    """Any bytes, valid UTF-8 or not, come back from the ids of the single bytes."""
    id_of_byte = {tokenizer.token_bytes(i)[0]: i for i in range(256)}
    assert len(id_of_byte) == 256, "the first 256 ids are not the 256 bytes"
    ids = [id_of_byte[byte] for byte in data]
    assert tokenizer.decode_bytes(ids) == data, "decode_bytes changed the bytes: does it pass through str?"
    assert tokenizer.decode(ids) == data.decode("utf-8", errors="replace")


# --- LT2 ----------------------------------------------------------------------------------------


def check_same_merges(train, texts, vocab_size, special_tokens=()):
    """`train(texts, vocab_size, special_tokens=…)` learns exactly the merges of the naive trainer."""
    learned = merges_as_bytes(train(texts, vocab_size, special_tokens=special_tokens))
    expected = naive_merges(texts, vocab_size, special_tokens)
    for number, (ours, theirs) in enumerate(zip(learned, expected)):
        assert ours == theirs, (
            f"merge {number} is {ours}, the naive trainer has {theirs}: look at the tie-break, at "
            "overlapping pairs such as aaaa, and at the counts beside the merge"
        )
    assert len(learned) == len(expected), (
        f"{len(learned)} merges learned, the naive trainer learns {len(expected)}"
    )


def check_same_ids_as_naive(tokenizer, text):
    ids, expected = tokenizer.encode_ordinary(text), naive_ids(text, tokenizer)
    assert ids == expected, (
        f"{text!r} gives {ids}; applying the merges in their order gives {expected}: "
        "the earliest learned merge must go first, not the leftmost"
    )


# --- LT3 ----------------------------------------------------------------------------------------


def check_equals_tiktoken(tokenizer, encoding, texts):
    for text in texts:
        ids, expected = tokenizer.encode_ordinary(text), encoding.encode_ordinary(text)
        assert ids == expected, (
            f"{text!r}: our ids {ids}, tiktoken's {expected}: look at the split pattern first (white space, "
            "contractions, digits), then at the order of merging"
        )
        assert tokenizer.decode(expected) == encoding.decode(expected)


# --- LT4 ----------------------------------------------------------------------------------------


def check_no_injection(tokenizer, before, special, after):
    """A special token in the text is refused, or special by name, or plain text; never anything else."""
    text = before + special + after
    special_id = tokenizer.special_tokens[special]
    try:
        ids = tokenizer.encode(text)
    except ValueError as error:
        assert special in str(error) or repr(special) in str(error), (
            f"the error does not name {special!r}: {error}"
        )
    else:
        raise AssertionError(f"encode({text!r}) let {special!r} pass without being allowed: {ids}")
    plain = tokenizer.encode_ordinary(text)
    assert special_id not in plain, (
        f"encode_ordinary made the special id {special_id} out of plain text {text!r}"
    )
    assert tokenizer.decode(plain) == comes_back(tokenizer, text)
    allowed = tokenizer.encode(text, allowed_special={special})
    assert allowed.count(special_id) == text.count(special), (
        f"{special!r} allowed by name is not one id: {allowed}"
    )
    parts = [comes_back(tokenizer, part) for part in text.split(special)]
    assert tokenizer.decode(allowed) == special.join(parts)
    expected = [*tokenizer.encode_ordinary(before), special_id, *tokenizer.encode_ordinary(after)]
    if special not in before + special[:-1] and special not in special[1:] + after:
        assert allowed == expected, (
            f"the text around {special!r} is not encoded by itself: {allowed} != {expected}"
        )


def check_longest_special_first(tokenizer, shorter, longer):
    """Of two specials that start together the longest wins, whatever the order they were named in."""
    assert longer.startswith(shorter)
    ids = tokenizer.encode("a" + longer + "b", allowed_special="all")
    assert tokenizer.special_tokens[longer] in ids, (
        f"{longer!r} was read as {shorter!r} and a rest: sort the alternatives by length, longest first"
    )


# --- LT5 ----------------------------------------------------------------------------------------


def check_save_load(tokenizer, load, path, texts):
    import json

    from working_with_text_data import tokenizer_hash

    tokenizer.save(path)
    json.loads(path.read_text(encoding="utf-8"))
    again = load(path)
    assert type(again) is type(tokenizer)
    assert again.special_tokens == tokenizer.special_tokens and again.vocab_size == tokenizer.vocab_size
    assert again.to_dict() == tokenizer.to_dict(), "something was lost between save and load"
    if hasattr(tokenizer, "splitter"):
        cuts = [(cut.pattern, cut.digits, cut.prefix_space) for cut in (tokenizer.splitter, again.splitter)]
        assert cuts[0] == cuts[1], f"text was cut by {cuts[0]}, after loading it is cut by {cuts[1]}"
    for text in texts:
        assert again.encode_ordinary(text) == tokenizer.encode_ordinary(text), (
            f"other ids after loading: {text!r}"
        )
    assert tokenizer_hash(again) == tokenizer_hash(tokenizer), "the hash changed by saving and loading"


# --- LT6 ----------------------------------------------------------------------------------------


def check_stream(tokenizer, ids, valid=True):
    """Pieces joined are `decode(ids)`; valid text never shows U+FFFD on the way."""
    from working_with_text_data import StreamingDecoder

    decoder = StreamingDecoder(tokenizer)
    pieces = [decoder.push(i) for i in ids]
    last = decoder.flush()
    joined = "".join(pieces) + last
    assert joined == tokenizer.decode(ids), f"streamed {joined!r}, decode gives {tokenizer.decode(ids)!r}"
    if valid:
        assert last == "", "valid text was held back to the end although no stop string is set"
        assert "\ufffd" not in joined.replace("\ufffd", "", tokenizer.decode(ids).count("\ufffd")), (
            "a replacement character was shown for half a character"
        )


def check_stop(tokenizer, ids, stop):
    """The streamed text ends where the earliest-completed stop string begins, at every cut of the text."""
    from working_with_text_data import StreamingDecoder

    decoder = StreamingDecoder(tokenizer, stop=stop)
    streamed = "".join(decoder.push(i) for i in ids) + decoder.flush()
    text = tokenizer.decode(ids)
    ends = [end for end in range(len(text) + 1) if text[:end].endswith(tuple(stop))]
    if ends:
        longest = max((s for s in stop if text[: ends[0]].endswith(s)), key=len)
        expected = text[: ends[0] - len(longest)]
    else:
        expected = text
    assert streamed == expected, f"stop={stop}: streamed {streamed!r} of {text!r}, expected {expected!r}"
    assert decoder.stopped == bool(ends), f"stopped is {decoder.stopped} for {text!r} with stop={stop}"


# --- LT7 ----------------------------------------------------------------------------------------


def check_no_cliff(tokenizer, text, seconds=1.0):
    """Processor time, best of three: a busy machine must not fail a law about the algorithm."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        ids = tokenizer.encode_ordinary(text)
        best = min(best, time.process_time() - start)
        if best < seconds:
            break
    assert best < seconds, (
        f"{len(text)} characters {text[:3]!r}… took {best:.1f} s: merging a long piece must not be quadratic"
    )
    assert tokenizer.decode(ids) == comes_back(tokenizer, text)
