"""LA9 for what is read from maps: numbers and pages about attention, against loops in Python floats.

Every reference walks the map cell by cell as the definition says it, in double precision, and knows nothing of
tensors. The functions under test are asked for by name when a check runs, so that a mutation can replace them.
"""

from __future__ import annotations

import base64
import html.parser
import json
import math
import zlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from attention_mechanisms import analysis, viewer
from gpt_model import GPT, GPTConfig, trace

SHAPE = (2, 3, 9)  # layers, heads, tokens
WORDS = ["a", "b", "c", "a", "b", "d", "a", "a", "c"]


def random_maps(shape: tuple[int, int, int] = SHAPE, seed: int = 0, window: int | None = None) -> Tensor:
    """Maps as softmax gives them, float64: rows sum to 1, nothing above the diagonal."""
    layers, heads, time = shape
    scores = 3 * torch.randn(
        layers, heads, time, time, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    seen = torch.ones(time, time).tril()
    if window is not None:
        seen = seen.triu(1 - window)
    return scores.masked_fill(seen == 0, -math.inf).softmax(-1)


def near(got: float, expected: float, hint: str, tolerance: float = 1e-9) -> None:
    assert abs(float(got) - expected) <= tolerance, f"{hint}: {float(got):.6f} instead of {expected:.6f}"


def every_head(maps: Tensor) -> list[tuple[int, int, list[list[float]]]]:
    return [(i, j, maps[i, j].tolist()) for i in range(maps.size(0)) for j in range(maps.size(1))]


def check_entropy() -> None:
    """Natural logarithm, over the keys of a row; between 0 and the logarithm of how many keys it sees."""
    maps = random_maps()
    got = analysis.entropy(maps)
    assert got.shape == maps.shape[:-1], (
        "entropy is a number for each query: sum over the keys, the last dimension"
    )
    for i, j, rows in every_head(maps):
        for q, row in enumerate(rows):
            near(
                got[i, j, q],
                sum(-p * math.log(p) for p in row if p > 0),
                "entropy is -Σ p ln p of a row, in nats",
            )
            assert -1e-12 <= got[i, j, q] <= math.log(q + 1) + 1e-12, (
                "a row of q + 1 keys has at most ln(q + 1) nats"
            )
    even = torch.full((4, 4), 0.25, dtype=torch.float64)
    near(analysis.entropy(even)[0], math.log(4), "four equal shares are ln 4 = 1.386 nats (2 would be bits)")


def check_scores() -> None:
    """Each score is the mean, over the rows that can show it, of the share on the keys in question."""
    maps = random_maps()
    time = maps.size(-1)
    earlier = [[k for k in range(1, q) if WORDS[k - 1] == WORDS[q]] for q in range(time)]
    wanted = {
        "previous token": (analysis.previous_token_score(maps), [[q - 1] if q else [] for q in range(time)]),
        "induction": (analysis.induction_score(maps, WORDS), earlier),
        "first token": (analysis.first_token_score(maps), [[0] if q else [] for q in range(time)]),
        "same token": (
            analysis.same_token_score(maps, WORDS),
            [[k for k in range(q + 1) if WORDS[k] == WORDS[q]] if q else [] for q in range(time)],
        ),
        "local": (
            analysis.local_score(maps, 2),
            [[q - 1, q] if q + 1 >= 4 else [] for q in range(time)],
        ),
    }
    for name, (got, keys) in wanted.items():
        rows = [q for q in range(time) if keys[q]]
        for i, j, shares in every_head(maps):
            expected = sum(shares[q][k] for q in rows for k in keys[q]) / len(rows)
            near(got[i, j], expected, f"the {name} score of head {j} in layer {i}")
    for i, j, shares in every_head(maps):
        far = sum(p * (q - k) for q, row in enumerate(shares) for k, p in enumerate(row)) / time
        near(analysis.mean_distance(maps)[i, j], far, "mean distance is Σ p (q - k), averaged over queries")
        spread = [
            sum(-p * math.log(p) for p in row if p > 0) / math.log(q + 1) for q, row in enumerate(shares) if q
        ]
        near(
            analysis.relative_entropy(maps)[i, j], sum(spread) / len(spread), "entropy against ln(keys seen)"
        )


def check_perfect_heads() -> None:
    """A map made for one purpose scores exactly 1 in it, and gets its name."""
    tokens = analysis.repeated_tokens(50, 6, 3, seed=1)[0].tolist()
    time = len(tokens)
    assert tokens[:6] == tokens[6:12] == tokens[12:] and len(set(tokens[:6])) == 6
    looks = {
        "previous token": [max(q - 1, 0) for q in range(time)],
        "induction": [q - 5 if q >= 6 else 0 for q in range(time)],  # one after the copy six tokens ago
        "first token": [0] * time,
        "same token": [q - 6 if q >= 6 else q for q in range(time)],
    }
    scores = {
        "previous token": lambda m: analysis.previous_token_score(m),
        "induction": lambda m: analysis.induction_score(m, tokens),
        "first token": lambda m: analysis.first_token_score(m),
        "same token": lambda m: analysis.same_token_score(m, tokens),
    }
    for name, keys in looks.items():
        one_hot = torch.nn.functional.one_hot(torch.tensor(keys), time).double()
        near(scores[name](one_hot), 1.0, f"a head that is nothing but {name} has that score")
        (summary,) = analysis.summarise(one_hot[None, None], tokens)
        assert summary.pattern == name, f"a pure {name} head is called {summary.pattern}"
    even = torch.ones(time, time, dtype=torch.float64).tril()
    (summary,) = analysis.summarise((even / even.sum(-1, keepdim=True))[None, None], tokens)
    assert summary.pattern == "broad" and abs(summary.spread - 1) < 1e-12, "an even head is broad"


def check_positional_score() -> None:
    """1 when shares depend on distance alone; otherwise the share of variance between distances."""
    time = 9
    band = torch.zeros(time, time, dtype=torch.float64)
    for q in range(time):
        for back, share in enumerate((0.5, 0.3, 0.2)):
            if q - back >= 0:
                band[q, q - back] = share
    near(analysis.positional_score(band), 1.0, "a map of distances only is explained by distance")
    maps = random_maps()
    for i, j, rows in every_head(maps):
        cells = {(q, k): rows[q][k] for q in range(1, time) for k in range(q + 1)}
        centre = sum(cells.values()) / len(cells)
        of = {d: [p for (q, k), p in cells.items() if q - k == d] for d in range(time)}
        rest = sum((p - sum(of[q - k]) / len(of[q - k])) ** 2 for (q, k), p in cells.items())
        expected = 1 - rest / sum((p - centre) ** 2 for p in cells.values())
        near(analysis.positional_score(maps)[i, j], expected, "positional score is 1 - rest / total variance")


def check_top_links() -> None:
    """The largest shares, with who looks (row) and at whom (column) in their places."""
    maps = random_maps()
    words = [f"w{i}" for i in range(maps.size(-1))]
    flat = sorted(
        (
            (p, i, j, q, k)
            for i, j, rows in every_head(maps)
            for q, row in enumerate(rows)
            if q
            for k, p in enumerate(row)
        ),
        key=lambda cell: -cell[0],
    )
    for link, (p, i, j, q, k) in zip(analysis.top_links(maps, words, 8), flat, strict=False):
        assert (link.layer, link.head, link.query, link.key) == (i, j, q, k), (
            f"the strongest link is {words[q]} looking at {words[k]} in layer {i}, head {j}, not {link}"
        )
        assert (link.query_token, link.key_token) == (words[q], words[k]) and abs(link.share - p) < 1e-12
    row = sorted(enumerate(maps[1, 2, 5].tolist()), key=lambda cell: -cell[1])[:3]
    got = analysis.top_links(maps, words, 3, layer=1, head=2, query=5)
    assert [(one.key, one.query) for one in got] == [(k, 5) for k, _ in row], (
        f"token 5 looks most at {[words[k] for k, _ in row]}, not at {[one.key_token for one in got]}"
    )


class Page(html.parser.HTMLParser):
    """What a browser would see: elements with their attributes, and the text inside each script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[-1] += data


def read_page(page: str) -> tuple[dict[str, Any], Tensor]:
    """The data in a page, and its maps again: (L, H, T, T), read byte by byte."""
    data = json.loads(Page(page).scripts[0])
    codes = zlib.decompress(base64.b64decode(data["maps"]))
    layers, heads, time = data["layers"], data["heads"], len(data["tokens"])
    maps = torch.zeros(layers, heads, time, time, dtype=torch.float64)
    cells = [
        (i, j, q, k) for i in range(layers) for j in range(heads) for q in range(time) for k in range(q + 1)
    ]
    assert len(codes) == len(cells), f"the page holds {len(codes)} shares, the maps have {len(cells)}"
    for code, cell in zip(codes, cells, strict=True):
        maps[cell] = code / 255
    return data, maps


def check_page_shows_the_maps() -> None:
    """Every share in the page is that of the map, in its place, off by half a step of 1/255 at most."""
    maps = random_maps()
    maps[0, 0] = torch.eye(SHAPE[2], dtype=torch.float64)  # shares of exactly 0 and 1
    data, shown = read_page(viewer.attention_viewer(maps, WORDS))
    worst = float((shown - maps).abs().max())
    assert worst <= 0.5 / 255 + 1e-12, (
        f"a share shown is {worst:.4f} off: one byte allows 1/510 = 0.0020; is it rounded, and in its place?"
    )
    assert data["tokens"] == WORDS
    for summary, head in zip(data["summaries"], every_head(maps), strict=True):
        rows = head[2]
        nats = sum(-p * math.log(p) for row in rows for p in row if p > 0) / len(rows)
        near(summary["entropy"], nats, f"the entropy shown for layer {head[0]}, head {head[1]}", 1e-4)


NASTY: Sequence[str] = (
    "</script><script>document.title='broken'</script>",
    "<!--<script>",
    "]]><img src=x onerror=alert(1)>",
    "\u2028\u2029\u202e\x00",
    "&lt;b&gt; \"'`${1}",
    "\ud800",
)


def check_page_is_inert() -> None:
    """Whatever tokens and title hold, the page has the elements of any page, and asks for nothing."""
    time = len(NASTY)
    maps = random_maps((1, 1, time))
    plain = viewer.attention_viewer(maps, ["x"] * time, title="t")
    page = viewer.attention_viewer(maps, NASTY, title="</title><script>1</script>" + NASTY[0])
    seen, expected = ([tag for tag, _ in Page(p).elements] for p in (page, plain))
    assert page.count("<") == plain.count("<"), (
        "a token or the title became an element: it brought a < of its own"
    )
    assert seen == expected, f"a token became an element: {set(seen) - set(expected) or seen}"
    assert json.loads(Page(page).scripts[0])["tokens"] == list(NASTY), (
        "tokens are changed on the way into the page"
    )
    policy = next(a["content"] for t, a in Page(page).elements if t == "meta" and "http-equiv" in a)
    assert policy and "default-src 'none'" in policy and "script-src 'sha256-" in policy
    links = [a for _, a in Page(page).elements if "src" in a or "href" in a]
    assert not links and "http://" not in page and "https://" not in page, "the page refers to another place"
    assert "url(" not in page and "@import" not in page and "fetch(" not in page


def tiny(attention: str = "mha", seed: int = 0, **fields: Any) -> GPT:
    """A model with weights large enough that every head counts."""
    torch.manual_seed(seed)
    model = GPT(
        GPTConfig(
            vocab_size=30,
            block_size=16,
            n_layer=2,
            n_head=4,
            n_embd=16,
            attention=attention,
            position="rope",
            **fields,
        )
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(0.5 * torch.randn(parameter.shape))
    return model


def check_ablation(attention: str) -> None:
    """Without a head: the logits of a model whose out_proj does not read that head's columns; bias stays."""
    fields = {"window": 4} if attention == "swa" else {}
    ids = torch.randint(30, (2, 10), generator=torch.Generator().manual_seed(3))
    for layer, head in ((0, 0), (1, 2), (1, 3)):
        model, cut = tiny(attention, **fields), tiny(attention, **fields)
        whole = model(ids).logits.detach()
        columns = slice(head * cut.config.head_dim, (head + 1) * cut.config.head_dim)
        with torch.no_grad():
            cut.blocks[layer].attn.out_proj.weight[:, columns] = 0.0  # type: ignore[union-attr, index]
        with trace.ablate_heads(model, [(layer, head)]):
            without = model(ids).logits.detach()
        worst = (without - cut(ids).logits).abs().max().item()
        assert worst < 1e-5, (
            f"{attention}: head {head} of layer {layer} is not what was taken away ({worst:.3g} off)"
        )
        assert (without - whole).abs().max().item() > 1e-3, "taking a head away changed nothing"
        assert torch.equal(model(ids).logits, whole), "the head is still missing after the context has ended"


def check_maps_of_a_model(attention: str) -> None:
    """The maps are the ones in use: shares times values, through out_proj, give the attention's own output."""
    fields = {"window": 4} if attention == "swa" else {"n_kv_head": 2} if attention == "gqa" else {}
    model = tiny(attention, **fields)
    ids = torch.randint(30, (1, 10), generator=torch.Generator().manual_seed(4))
    outputs: list[tuple[Tensor, Tensor]] = []
    hooks = [
        block.attn.register_forward_hook(lambda _, x, y: outputs.append((x[0], y)))  # type: ignore[union-attr]
        for block in model.blocks
    ]
    with torch.no_grad():
        model(ids)
    for hook in hooks:
        hook.remove()
    maps = trace.attention_maps(model, ids)
    assert maps.shape == (2, 4, 10, 10)
    torch.testing.assert_close(maps.sum(-1), torch.ones(2, 4, 10), msg="rows of a map must sum to 1")
    seen = trace.visible_keys(model, 10)
    for q in range(10):
        for k in range(10):
            allowed = 0 <= q - k < fields.get("window", 10)
            assert bool(seen[0, 0, q, k]) is allowed
            assert allowed or float(maps[:, :, q, k].abs().max()) == 0, (
                f"token {q} looks at {k}, which it cannot see"
            )
    with torch.no_grad():
        for block, (x, y), shares in zip(model.blocks, outputs, maps, strict=True):
            attn: Any = block.attn
            if attention == "mla":
                latent = attn.kv_norm(attn.kv_down_proj(x)[..., : attn.latent_dim])
                v = attn.kv_up_proj(latent).view(1, 10, 4, 2, attn.head_dim)[:, :, :, 1].transpose(1, 2)
            else:
                v = attn.project(x)[2].repeat_interleave(4 // attn.n_kv_head, dim=1)
            rebuilt = attn.out_proj((shares @ v[0]).transpose(0, 1).reshape(1, 10, -1))
            worst = float((rebuilt - y).abs().max())
            assert worst < 1e-5, f"{attention}: the map shown is not the one that was used ({worst:.3g} off)"
