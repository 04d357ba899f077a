r"""Cut a text into whole words with all that clings to them, many times faster than any regular expression can.

The idea: language repeats itself, so a text is split and merged once for each *different* word. To find the
words, cut only where the split pattern cuts in any case; the exact pattern is then asked about each different
word alone. Such places can be named by two characters, whatever stands around them:

- GPT-2's pattern cuts wherever a character that is no white space is followed by white space.
- cl100k and o200k do so too, except before a line end, because "!\n" is one piece. But they cut *behind* every
  run of white space that ends in a line end, except that o200k takes "\n/" along.

So a mark is written at these places by `str.replace`, and one `str.split` at the mark does the cutting: every
step is a loop in C. A law holds the words to the published patterns (tests/laws, encode checks).

Left out: the patterns themselves (`patterns`), counting (`pretokens`), encoding (`fast_encode`).
"""

from __future__ import annotations

from working_with_text_data.patterns import SPLIT_PATTERNS

# White space as Unicode and tiktoken see it. Python's `str.isspace` also takes U+001C to U+001F.
LINE_ENDS = "\r\n"
SPACES = " \t\v\f\x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
MARKS = [chr(code) for code in range(32) if chr(code) not in SPACES + LINE_ENDS]

SMALL_BLOCK = 1 << 15  # characters: the words of one block stay in the processor's nearer caches
LONG_WORDS = 24  # mean characters in a word above which a script does without spaces


def coarse_words(block: str, name: str) -> list[str] | None:
    """The words of a block of text in order; joined they are the block. The first may be empty.

    None where words do not pay: a pattern of one's own, a script without spaces, bytes that are no text.

    Args:
        block: text that may be cut before and behind, as `Splitter.blocks` gives it.
        name: of the split pattern.

    >>> coarse_words("It's  late,\n said he.", "gpt2")
    ["It's", '  late,', '\n said', ' he.']
    >>> coarse_words("Stop!\nGo on.", "cl100k")
    ['Stop!\n', 'Go', ' on.']
    """
    mark = next((mark for mark in MARKS if mark not in block), None)
    if mark is None or name not in SPLIT_PATTERNS:
        return None
    marked = block
    before = SPACES + LINE_ENDS if name == "gpt2" else SPACES
    present = [space for space in before if space in block]
    for space in present:
        marked = marked.replace(space, mark + space)
    for space in present:  # no cut inside white space
        marked = marked.replace(space + mark, space)
    if name != "gpt2":
        marked = _cut_behind_lines(marked, mark)
    words = marked.split(mark)
    return words if len(block) < LONG_WORDS * len(words) + SMALL_BLOCK // 16 else None


def _cut_behind_lines(marked: str, mark: str) -> str:
    present = [end for end in LINE_ENDS if end in marked]
    for end in present:
        marked = marked.replace(end, end + mark)
    for end in present:  # the last of several line ends counts
        marked = marked.replace(mark + end, end)
    # Two marks stand where a line end is followed by a space: that run of white space is not over.
    return marked.replace(mark + mark, "").replace(mark + "/", "/") if present else marked
