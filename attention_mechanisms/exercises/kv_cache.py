"""The exercises of notebook 05, with their checkers: the mask of new tokens, key heads for query heads, bytes.

Three lines of code each, and each is wrong somewhere in the world at this moment. The checkers test properties, so
any right answer passes, and know the classic mistakes. The tests prove (`utils.exercises.prove`) that the solution
passes, the stub fails and each mistake is named.
Left out: the cache itself (`kv_cache`) and other kinds of memory (`latent`, `rolling_cache`).
Notebook: `05_kv_cache_and_grouped_query.ipynb`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from utils.exercises import Exercise, Mistake, Prediction, require

Answer = Callable[..., Any]

# ---------------------------------------------------------------- 1. who may look at whom


def _table(value: Any) -> list[list[bool]]:
    listed = value.tolist() if hasattr(value, "tolist") else value
    ok = isinstance(listed, list | tuple) and all(isinstance(row, list | tuple) for row in listed)
    require(ok, f"give a table of True and False, (queries, keys), not {type(value).__name__}")
    return [[bool(cell) for cell in row] for row in listed]


def _drawn(table: list[list[bool]]) -> str:
    return " ".join("".join("x" if cell else "." for cell in row) for row in table) or "nothing"


def _check_mask(answer: Answer) -> None:
    cases = [
        (1, 1, "a token may look at itself"),
        (3, 3, "without a cache: each token sees itself and those before it"),
        (1, 5, "one new token is the newest: it may look at everything"),
        (2, 5, "two new tokens: the first does not see the second, and both see all that is cached"),
        (4, 6, "the last query stands at the last key, so the staircase ends in the lower right corner"),
    ]
    for new, total, lesson in cases:
        wanted = [[key <= total - new + query for key in range(total)] for query in range(new)]
        found = _table(answer(new, total))
        require(
            found == wanted,
            f"{lesson}: {new} new of {total} tokens give {_drawn(wanted)} (x may look), but you give {_drawn(found)}",
        )


MASK_STUB = '''
def may_look(n_new, n_total):
    """True where a query may look: n_new queries down, n_total keys across. The new tokens are the last ones."""
    ...  # your code; a tensor or nested lists
'''
MASK_SOLUTION = """
import torch

def may_look(n_new, n_total):
    queries = torch.arange(n_total - n_new, n_total)
    return torch.arange(n_total)[None, :] <= queries[:, None]
"""

MASK = Exercise(
    name="may_look",
    task="Say for each new token which of all tokens it may look at.",
    function="may_look",
    check=_check_mask,
    stub=MASK_STUB,
    solution=MASK_SOLUTION,
    hints=(
        "Five tokens, three of them cached. At which positions do the two new ones stand?",
        "Compare positions: those of the queries begin at n_total - n_new, those of the keys at 0.",
        "queries = torch.arange(n_total - n_new, n_total); keys[None, :] <= queries[:, None].",
    ),
    mistakes={
        "top left": Mistake(
            MASK_SOLUTION.replace("arange(n_total - n_new, n_total)", "arange(n_new)"),
            "you let the new tokens begin at position 0: top-left alignment, the bug of this notebook. "
            "They stand at the end, so the first of them is at n_total - n_new",
        ),
        "not itself": Mistake(
            MASK_SOLUTION.replace("<=", "<"),
            "you forbid a token to look at itself: it must, or the first token of a text has nowhere to look",
        ),
        "everything": Mistake(
            MASK_SOLUTION.replace("<= queries[:, None]", "<= queries[:, None] + n_total"),
            "you allow everything: right for a single new token, but of several the earlier would see the later",
        ),
        "the other way": Mistake(
            MASK_SOLUTION.replace("<=", ">="),
            "you allow the future and forbid the past: turn the comparison round",
        ),
        "only the cache": Mistake(
            MASK_SOLUTION.replace("<= queries[:, None]", "< (queries[:, None] * 0 + n_total - n_new)"),
            "you show the new tokens nothing but the cache: they must see themselves and each other as well",
        ),
    },
    probes=lambda: [(1, 3), (2, 5), (3, 3), (4, 6)],
    same=lambda a, b: _table(a) == _table(b),
)


# ---------------------------------------------------------------- 2. key heads for query heads


def _check_repeat(answer: Answer) -> None:
    import torch

    for batch, n_kv, tokens, width, n_head in (
        (1, 1, 2, 3, 4),
        (2, 2, 3, 2, 6),
        (1, 4, 1, 2, 12),
        (2, 3, 2, 1, 3),
    ):
        k = torch.arange(batch * n_kv * tokens * width, dtype=torch.float32).view(batch, n_kv, tokens, width)
        found = answer(k.clone(), n_head)
        require(isinstance(found, torch.Tensor), f"give a tensor, not {type(found).__name__}")
        wanted = (batch, n_head, tokens, width)
        require(
            tuple(found.shape) == wanted,
            f"{n_kv} key heads for {n_head} query heads give the shape {wanted}, but yours is {tuple(found.shape)}",
        )
        for head in range(n_head):
            source = head // (n_head // n_kv)
            require(
                torch.equal(found[:, head], k[:, source]),
                f"{n_head} query heads, {n_kv} key heads: query head {head} must read key head {source}",
            )


REPEAT_STUB = '''
def repeat_kv(k, n_head):
    """Keys (B, n_kv_head, T, D) -> (B, n_head, T, D), so that each query head finds the key head of its group."""
    ...  # your code
'''
REPEAT_SOLUTION = """
def repeat_kv(k, n_head):
    return k.repeat_interleave(n_head // k.size(1), dim=1)
"""


def _same_tensors(a: Any, b: Any) -> bool:
    return bool(a.shape == b.shape and (a == b).all())


REPEAT = Exercise(
    name="repeat_kv",
    task="Give each query head the key head of its group: query head h reads key head h // (n_head / n_kv_head).",
    function="repeat_kv",
    check=_check_repeat,
    stub=REPEAT_STUB,
    solution=REPEAT_SOLUTION,
    hints=(
        "Six query heads, two key heads. Which query heads belong to key head 0: 0, 1, 2 or 0, 2, 4?",
        "Neighbours share: 0 0 0 1 1 1. One method of a tensor writes each entry several times in a row.",
        "k.repeat_interleave(n_head // k.size(1), dim=1).",
    ),
    mistakes={
        "repeat": Mistake(
            "def repeat_kv(k, n_head):\n    return k.repeat(1, n_head // k.size(1), 1, 1)\n",
            "`repeat` where `repeat_interleave` is meant: it gives 0 1 0 1, but neighbouring query heads share a "
            "key head, 0 0 1 1. The shape is right, which is why nobody notices",
        ),
        "tokens": Mistake(
            REPEAT_SOLUTION.replace("dim=1", "dim=2"),
            "you repeat tokens: dimension 2 is time. The heads are dimension 1",
        ),
        "n_head times": Mistake(
            REPEAT_SOLUTION.replace("n_head // k.size(1)", "n_head"),
            "you repeat each key head n_head times: a group has n_head / n_kv_head query heads",
        ),
        "rows": Mistake(
            REPEAT_SOLUTION.replace("dim=1", "dim=0"),
            "you repeat the rows of the batch: dimension 0. The heads are dimension 1",
        ),
        "first head": Mistake(
            "def repeat_kv(k, n_head):\n    return k[:, :1].expand(-1, n_head, -1, -1)\n",
            "every query head reads key head 0: that is multi-query attention; with several key heads each group "
            "has its own",
        ),
    },
    probes=lambda: _repeat_probes(),
    same=_same_tensors,
)


def _repeat_probes() -> list[tuple[Any, ...]]:
    import torch

    return [
        (torch.arange(24.0).view(2, 2, 3, 2), 4),
        (torch.arange(12.0).view(1, 3, 2, 2), 6),
    ]


# ---------------------------------------------------------------- 3. bytes


def _check_bytes(answer: Answer) -> None:
    cases = [
        ((1, 1, 1, 1, 1, 1, 1), "one number for the key and one for the value"),
        ((12, 12, 12, 64, 1, 1, 2), "GPT-2 small in bf16, one token"),
        ((12, 12, 4, 64, 1, 1, 2), "four key heads for twelve query heads: a third"),
        ((12, 12, 1, 64, 1, 1, 2), "a single key head: a twelfth"),
        ((32, 32, 8, 128, 8192, 1, 2), "a whole context grows with the tokens, not with their square"),
        ((2, 4, 2, 8, 10, 3, 4), "each row of a batch has its own"),
    ]
    for arguments, lesson in cases:
        n_layer, _, n_kv_head, head_dim, n_tokens, batch, itemsize = arguments
        wanted = 2 * n_layer * n_kv_head * head_dim * n_tokens * batch * itemsize
        found = answer(*arguments)
        require(isinstance(found, int | float), f"give a number, not {type(found).__name__}")
        require(found == wanted, f"{lesson}: kv_bytes{arguments} is {wanted:,}, but you give {found:,}")


BYTES_STUB = '''
def kv_bytes(n_layer, n_head, n_kv_head, head_dim, n_tokens, batch, itemsize):
    """Bytes of a KV cache; `itemsize` is the bytes of one number (2 for bf16)."""
    ...  # your code
'''
BYTES_SOLUTION = """
def kv_bytes(n_layer, n_head, n_kv_head, head_dim, n_tokens, batch, itemsize):
    return 2 * n_layer * n_kv_head * head_dim * n_tokens * batch * itemsize
"""

BYTES = Exercise(
    name="kv_bytes",
    task="Count what is kept for every token in every layer, and multiply.",
    function="kv_bytes",
    check=_check_bytes,
    stub=BYTES_STUB,
    solution=BYTES_SOLUTION,
    hints=(
        "One token, one layer, one key head: which vectors are kept, and how many numbers have they?",
        "A key and a value of head_dim numbers for each key head, in each layer. Queries are not kept.",
        "2 * n_layer * n_kv_head * head_dim * n_tokens * batch * itemsize.",
    ),
    mistakes={
        "keys only": Mistake(
            BYTES_SOLUTION.replace("2 * n_layer", "n_layer"),
            "you count the keys and forget the values: both are kept",
        ),
        "query heads": Mistake(
            BYTES_SOLUTION.replace("* n_kv_head", "* n_head"),
            "you count query heads: queries are used once and thrown away, only n_kv_head heads are kept",
        ),
        "three": Mistake(
            BYTES_SOLUTION.replace("2 * n_layer", "3 * n_layer"),
            "you keep the queries too: an old query is never asked again",
        ),
        "one layer": Mistake(
            BYTES_SOLUTION.replace("n_layer * ", ""),
            "you count one layer: each has keys and values of its own",
        ),
        "one row": Mistake(
            BYTES_SOLUTION.replace("* batch ", ""),
            "you forget the batch: every row has its own text, so its own keys",
        ),
        "squared": Mistake(
            BYTES_SOLUTION.replace("* n_tokens", "* n_tokens**2"),
            "you square the context: the table of scores grows so, but it is never kept; a token adds the same bytes "
            "wherever it stands",
        ),
        "bits": Mistake(
            BYTES_SOLUTION.replace("* itemsize", "* itemsize * 8"),
            "you count bits: itemsize is in bytes already",
        ),
    },
    probes=lambda: [(3, 8, 2, 16, 5, 4, 2), (2, 6, 3, 8, 7, 3, 4)],
)

EXERCISES = [MASK, REPEAT, BYTES]


def _outweighs() -> float:
    return 124_439_808 * 2 / 36_864


PREDICTIONS = [
    Prediction(
        "tokens_run",
        sum(range(50, 150)),
        "tokens",
        "50 + 51 + … + 149. With a cache it is 50 + 99: the last new token is never read.",
    ),
    Prediction(
        "cuttings_that_hide_it",
        6,
        "of 32",
        "One first chunk of any length, then one token at a time: just what every program does all day.",
    ),
    Prediction(
        "kv_bytes",
        36_864,
        "bytes",
        "2 (key and value) · 12 layers · 12 heads · 64 numbers · 2 bytes.",
    ),
    Prediction(
        "cache_outweighs_weights",
        _outweighs,
        "tokens",
        "124,439,808 parameters of 2 bytes against 36,864 bytes a token; GPT-2 itself ends at 1,024.",
    ),
    Prediction(
        "int8_share",
        (64 + 4) / (64 * 2),
        "of the bytes in bf16",
        "One byte for each of 64 numbers, and a scale of four bytes for each vector.",
    ),
]
