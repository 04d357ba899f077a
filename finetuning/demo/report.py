"""The demo's last page: one HTML file with everything in it, so that it can be sent or kept.

Figures are SVG written by matplotlib into the page; there is no script, no font and no address
outside the file. It is made from `summary.json` and the run's metrics alone, so it can be made again.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.plotting import figure_to_svg, style

STYLE = Path(__file__).with_name("report.css")
TOKEN_COLOURS = ("#cfe3f5", "#fde2c8", "#d5efd6", "#f3d6e4", "#e6dff5", "#f4efc4")


def write_report(
    path: Path, facts: Mapping[str, Any], metrics: Mapping[str, Sequence[Mapping[str, Any]]]
) -> Path:
    """Write the page to `path` from the demo's `facts` (summary.json) and the two runs' metric records."""
    parts: list[Callable[[], str]] = [
        lambda: _head(facts),
        lambda: _numbers(facts),
        lambda: _curves(facts, metrics),
        lambda: _samples(facts),
        lambda: _tokens(facts),
        lambda: _attention(facts),
        lambda: _stories(facts),
        lambda: _instructions(facts),
        lambda: _decoding(facts),
        lambda: _next(facts),
    ]
    body = "\n".join(part() for part in parts)
    title = html.escape(f"From bytes to a chat: {facts['corpus']['name']}")
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE.read_text(encoding='utf-8')}</style></head><body>\n{body}\n</body></html>\n"
    )
    from utils.files import atomic_write_text

    atomic_write_text(path, page)
    return path


def _head(facts: Mapping[str, Any]) -> str:
    corpus, model = facts["corpus"], facts["model"]
    return (
        f"<h1>From bytes to a chat</h1><p class=lead>{html.escape(corpus['name'])}: "
        f"{corpus['megabytes']:.1f} MB in {corpus['train_documents'] + corpus['val_documents']:,} texts; a GPT of "
        f"{model['parameters'] / 1e6:.2f} million parameters, "
        f"trained for {facts['training']['minutes']:.1f} minutes on {html.escape(facts['hardware'])}. "
        f"Run {html.escape(facts['id'])}, {facts['total_seconds']:.0f} s in all.</p>"
    )


def _number(value: str, meaning: str) -> str:
    return f"<div class=number><b>{html.escape(value)}</b><span>{html.escape(meaning)}</span></div>"


def _numbers(facts: Mapping[str, Any]) -> str:
    proof, decoding = facts["proof"], facts["decoding"]
    cells = [
        _number(f"{proof['loss']:.3f}", "validation loss, nats per token"),
        _number(f"{proof['bigram']:.3f}", "the same for a bigram table"),
        _number(f"{proof['bits_per_byte']:.3f}", "bits per byte"),
    ]
    if stories := facts.get("stories"):
        cells.append(_number(f"{stories['share']:.0%}", f"of {stories['total']} sampled stories coherent"))
    if tuning := facts.get("tuning"):
        cells.append(
            _number(f"{tuning['before']:.0%} → {tuning['after']:.0%}", "held-out requests answered exactly")
        )
    cells.append(_number(f"{decoding['ratio']:.1f} ×", "faster decoding with the KV cache"))
    return f"<div class=numbers>{''.join(cells)}</div>"


def _figure(draw: Callable[[Any], None], size: tuple[float, float]) -> str:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with style():
        figure, axes = plt.subplots(figsize=size)
        draw(axes)
        svg = figure_to_svg(figure)
        plt.close(figure)
    return f"<div class=figure>{svg}</div>"


def _curves(facts: Mapping[str, Any], metrics: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    def pretraining(axes: Any) -> None:
        for split, label in (("train", "training"), ("val", "validation")):
            rows = [r for r in metrics["pretrain"] if r.get("split") == split and "loss" in r]
            axes.plot([r["step"] for r in rows], [r["loss"] for r in rows], label=label)
        for name, dash in (("unigram", ":"), ("bigram", "--")):
            axes.axhline(
                facts["proof"][name], color="grey", linestyle=dash, linewidth=1, label=f"{name} table"
            )
        axes.set(xlabel="step", ylabel="loss, nats per token", title="Pretraining")
        axes.legend()

    def tuning(axes: Any) -> None:
        for split, label in (("train", "training"), ("val", "validation")):
            rows = [r for r in metrics["tune"] if r.get("split") == split and "loss" in r]
            axes.plot([r["step"] for r in rows], [r["loss"] for r in rows], label=label)
        axes.set(xlabel="step", ylabel="loss, nats per answer token", title="Instruction tuning")
        axes.legend()

    figures = _figure(pretraining, (5.2, 3.4))
    if metrics.get("tune"):
        figures += _figure(tuning, (5.2, 3.4))
    return (
        "<h2>What it learned, step by step</h2><p>A model that knows nothing spreads its bets over all "
        f"{facts['tokenizer']['vocab_size']:,} tokens and pays ln {facts['tokenizer']['vocab_size']:,} = "
        f"{facts['proof']['uniform']:.2f} nats for each. The dotted lines are what two tables of counts reach "
        f"on the same tokens.</p><div class=figures>{figures}</div>"
    )


def _samples(facts: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<blockquote><small>step {s['step']:,}</small>{html.escape(s['text'].strip())}</blockquote>"
        for s in facts["samples"]
    )
    return f"<h2>What it wrote on the way</h2>{rows}" if rows else ""


def _tokens(facts: Mapping[str, Any]) -> str:
    strips = "".join(
        "<p class=tokens>"
        + "".join(
            f'<span style="background:{TOKEN_COLOURS[i % len(TOKEN_COLOURS)]}">{html.escape(piece)}</span>'
            for i, piece in enumerate(sentence)
        )
        + f" <small>({len(sentence)} tokens)</small></p>"
        for sentence in facts["tokenizer"]["sentences"]
    )
    return (
        f"<h2>How it reads</h2><p>The tokenizer learned {facts['tokenizer']['vocab_size']:,} pieces from this text "
        f"and needs one token for {facts['tokenizer']['bytes_per_token']:.2f} bytes.</p>{strips}"
    )


def _attention(facts: Mapping[str, Any]) -> str:
    maps = facts.get("attention")
    if not maps:
        return ""
    labels = [t.replace("\n", "⏎") for t in maps["tokens"]]

    def draw(axes: Any) -> None:
        image = axes.imshow(maps["weights"], cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=8)
        axes.set_yticks(range(len(labels)), labels, fontsize=8)
        axes.set(
            xlabel="looks at", ylabel="token", title=f"Layer {maps['layer'] + 1}, head {maps['head'] + 1}"
        )
        axes.figure.colorbar(image, ax=axes, shrink=0.7, label="weight")

    return (
        "<h2>Where it looks</h2><p>One head of the trained model. Each row is a token and adds up to one; "
        "the upper right is empty because nobody may look ahead.</p>"
        f"<div class=figures>{_figure(draw, (6.4, 5.4))}</div>"
    )


def _stories(facts: Mapping[str, Any]) -> str:
    stories = facts.get("stories")
    if not stories:
        return ""
    low, high = stories["interval"]
    shown = "".join(
        f"<blockquote><small class={'ok' if s['coherent'] else 'no'}>"
        f"{'coherent' if s['coherent'] else 'broken: ' + html.escape(', '.join(s['rules']))}</small>"
        f"{html.escape(s['text'])}</blockquote>"
        for s in stories["shown"]
    )
    rules = "".join(
        f"<tr><td>{html.escape(r)}</td><td class=n>{n}</td></tr>" for r, n in stories["broken_rules"].items()
    )
    table = f"<table><tr><th>rule broken</th><th class=n>stories</th></tr>{rules}</table>" if rules else ""
    return (
        f"<h2>Are its stories coherent?</h2><p>{stories['hits']} of {stories['total']} sampled stories "
        f"({stories['share']:.0%}, 95 % interval {low:.0%} to {high:.0%}) passed Storyland's checker, which knows who "
        f"has what and who is where.</p>{shown}{table}"
    )


def _instructions(facts: Mapping[str, Any]) -> str:
    tuning = facts.get("tuning")
    if not tuning:
        return f"<h2>Following requests</h2><p>{html.escape(facts['tuning_note'])}</p>"
    rows = "".join(
        f"<tr><td>{html.escape(k['kind'])}</td><td class=n>{k['before']:.0%}</td><td class=n>{k['after']:.0%}</td></tr>"
        for k in tuning["kinds"]
    )
    examples = "".join(
        f"<blockquote><small class={'ok' if e['correct'] else 'no'}>{html.escape(e['kind'])}: "
        f"{'right' if e['correct'] else 'wrong'}</small><b>{html.escape(e['prompt'])}</b>\n{html.escape(e['answer'])}"
        "</blockquote>"
        for e in tuning["examples"]
    )
    return (
        f"<h2>Following requests</h2><p>{tuning['asked']} requests that were never trained on, answered greedily "
        f"and judged by exact verifiers: {tuning['before']:.0%} before tuning, {tuning['after']:.0%} after.</p>"
        "<table><tr><th>kind</th><th class=n>before</th><th class=n>after</th></tr>"
        f"{rows}</table>{examples}"
    )


def _decoding(facts: Mapping[str, Any]) -> str:
    d = facts["decoding"]
    return (
        f"<h2>Why the KV cache</h2><p>Writing {d['tokens']} tokens: {d['cached']:.0f} tokens/s with the cache, "
        f"{d['uncached']:.0f} without, the same text both times. Without a cache every new token reads the whole "
        "text again.</p>"
    )


def _next(facts: Mapping[str, Any]) -> str:
    return f"<h2>What comes next</h2><pre>{html.escape(chr(10).join(facts['next']))}</pre>"
