"""What a classifier must keep (LF5), as functions that raise AssertionError.

The laws call them on the real code, the mutations on code with a classic bug put back. References: the text run alone
through a language model and one row of numpy, float64 loops, torch's own cross-entropy, scikit-learn.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from finetuning.classification import batches, data, metrics, model, reading, train, tuning
from finetuning.lora import LoRAConfig
from gpt_model import GPT, GPTConfig
from utils.errors import UserError
from working_with_text_data.byte_tokenizer import ByteTokenizer
from working_with_text_data.readers import Problems

SHAPE = {"vocab_size": 257, "block_size": 32, "n_layer": 2, "n_head": 2, "n_embd": 16}
SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "rope": {"position": "rope", "norm": "rmsnorm", "mlp": "swiglu", "bias": False, "tie_weights": False},
    "alibi": {"position": "alibi"},
    "post": {"norm_order": "post"},
}
LABELS = ("ham", "spam", "other")
LENGTHS = (5, 1, 17, 9)


def language_model(shape: str = "gpt2") -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(**{**SHAPE, **SHAPES[shape]})).double()


def classifier(shape: str = "gpt2", **settings: Any) -> model.Classifier:
    torch.manual_seed(1)
    config = model.ClassifierConfig(LABELS, **{"max_tokens": 32, **settings})
    made = model.from_language_model(language_model(shape), config).double()
    torch.nn.init.normal_(made.head.weight)
    return made.eval()


def some_rows(seed: int = 0) -> list[list[int]]:
    """Rows of different lengths. Some end in id 0, which a padded row must not mistake for padding."""
    chance = torch.Generator().manual_seed(seed)
    rows = [torch.randint(0, 257, (n,), generator=chance).tolist() for n in LENGTHS]
    rows[0][-1] = rows[2][-1] = 0
    return rows


# --- the place that is read ------------------------------------------------------------------------------


@torch.no_grad()
def check_it_reads_the_last_real_token(shape: str, pool: str) -> None:
    """A batch of different lengths gives each text the logits of the text alone, computed with numpy from the stream
    that the language model itself has; the padding, its side and its amount change nothing."""
    gpt, made, rows = language_model(shape).eval(), classifier(shape, pool=pool), some_rows()
    weight, bias = made.head.weight.numpy(), made.head.bias.numpy()
    expected = []
    seen: list[torch.Tensor] = []
    hook = gpt.final_norm.register_forward_hook(lambda module, args, out: seen.append(out))
    for row in rows:
        gpt(torch.tensor([row]))
        stream = seen.pop()[0].numpy()
        what = stream[len(row) - 1] if pool == "last" else stream.mean(axis=0)
        expected.append(weight @ what + bias)
    hook.remove()
    want = torch.tensor(np.array(expected))
    wide = F.pad(batches.padded(rows), (0, 6), value=model.PADDING)
    for how, ids in (
        ("alone", None),
        ("padded on the right", batches.padded(rows)),
        ("padded on the left", batches.padded(rows, left=True)),
        ("padded further than needed", wide),
    ):
        if ids is None:
            found = torch.cat([made(torch.tensor([row])).logits for row in rows])
        else:
            found = made(ids).logits
        worst = (found - want).abs().max(dim=1).values
        row = int(worst.argmax())
        assert float(worst.max()) < 1e-10, (
            f"{how}, pool={pool}: the text of {len(rows[row])} tokens gets logits {float(worst.max()):.2g} off: "
            "they must come from its own last real token, whatever stands behind or before it"
        )


def check_an_empty_row_is_refused() -> None:
    """A row without a token has no last one; its logits would be somebody else's."""
    ids = batches.padded([[3, 4], [5]])
    ids[1] = model.PADDING
    try:
        classifier()(ids)
    except UserError as error:
        assert "row 1" in str(error), error
        return
    raise AssertionError("a row without a token was classified")


def check_probabilities_come_back_in_their_order() -> None:
    """Rows are sorted by length to save padding; what comes out stands where its text stood."""
    made, rows = classifier(), some_rows()
    found = made.probabilities(rows, batch_size=2)
    alone = torch.stack([made(torch.tensor([row])).logits[0].detach().float().softmax(-1) for row in rows])
    assert torch.allclose(found, alone, atol=1e-6), "a text got the probabilities of another one"


# --- the loss --------------------------------------------------------------------------------------------


def check_the_loss_is_the_mean_over_texts(weights: tuple[float, ...] | None) -> None:
    """In training each text's loss times its label's weight, over the number of texts; unweighted in evaluation. The
    gradient of a batch is the same however it is cut into micro-batches."""
    from pretraining.gradients import accumulate

    made, rows = classifier(class_weights=weights), some_rows()
    labels = torch.tensor([0, 2, 1, 1])
    ids = batches.padded(rows)
    losses = F.cross_entropy(made(ids).logits.double(), labels, reduction="none")
    made.class_weights = made.class_weights.double()
    scale = torch.tensor(weights or (1.0, 1.0, 1.0), dtype=torch.float64)[labels]
    judged = float(made(ids, targets=labels).loss.detach())
    assert math.isclose(judged, float(losses.detach().mean()), rel_tol=1e-5), (
        f"evaluated, the loss is {judged}, not {float(losses.detach().mean())}: class weights are for training alone"
    )
    made.train()
    learned = float(made(ids, targets=labels).loss.detach())
    assert math.isclose(learned, float((losses.detach() * scale).mean()), rel_tol=1e-5), (
        f"in training the loss is {learned}, not {float((losses.detach() * scale).mean())}"
    )
    whole = gradients(made, [(ids, labels)], accumulate)
    pieces = [(batches.padded([row]), labels[i : i + 1]) for i, row in enumerate(rows)]
    for cut, parts in (("4×1", pieces), ("1+3", [pieces[0], (batches.padded(rows[1:]), labels[1:])])):
        other = gradients(made, parts, accumulate)
        gap = max(float((a - b).abs().max()) for a, b in zip(whole, other, strict=True))
        size = max(float(a.abs().max()) for a in whole)
        assert gap < 1e-6 * size, (
            f"cut into {cut} micro-batches the gradient is {gap / size:.1e} off (law LP3)"
        )


def gradients(made: Any, parts: list[Any], accumulate: Any) -> list[torch.Tensor]:
    made.zero_grad(set_to_none=True)
    accumulate(made, parts)
    return [p.grad.clone() for p in made.parameters() if p.grad is not None]


def check_balanced_weights() -> None:
    """n / (k · n_c), as scikit-learn has it; their mean over the training texts is 1, so the rate keeps its meaning."""
    from sklearn.utils.class_weight import compute_class_weight

    numbers = [0] * 87 + [1] * 13 + [2] * 5
    found = tuning.class_weights("balanced", LABELS, numbers)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=np.array(numbers))
    assert found is not None and np.allclose(found, expected), f"{found}, but scikit-learn has {expected}"
    assert math.isclose(float(np.mean([found[n] for n in numbers])), 1.0)


# --- what learns -----------------------------------------------------------------------------------------


def check_only_what_tune_names_changes(tune: str) -> None:
    """One step changes the new head and, of the body, what `tune` names; all else is the same to the bit."""
    made = classifier()
    made.train()
    learning, total = tuning.choose_trainable(made, tune, LoRAConfig(r=2))
    with torch.no_grad():
        for name, p in made.named_parameters():
            if "lora" in name:  # with B = 0, A has no gradient yet
                p.normal_(std=0.1)
    before = {name: p.detach().clone() for name, p in made.named_parameters()}
    made(batches.padded(some_rows()), targets=torch.tensor([0, 2, 1, 1])).loss.backward()
    moved = {name for name, p in made.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    with torch.no_grad():
        for p in made.parameters():
            if p.grad is not None:
                p -= 0.1 * p.grad
    changed = {name for name, p in made.named_parameters() if not torch.equal(p, before[name])}
    assert changed == moved and {"head.weight", "head.bias"} <= changed, (
        f"tune={tune}: the new head did not learn"
    )
    named = {
        "all": lambda name: True,
        "head": lambda name: False,
        "last-1": lambda name: name.startswith(("body.blocks.1.", "body.final_norm.")),
        "lora": lambda name: "lora" in name,
    }[tune]
    body = {name for name in before if name.startswith("body.")}
    wanted = {name for name in body if named(name)}
    wrong = sorted((changed & body) - wanted)
    assert not wrong, f"tune={tune} changed {wrong[:3]}"
    still = sorted(wanted - changed)
    assert not still, f"tune={tune} left {still[:3]} as they were"
    counted = sum(before[name].numel() for name in wanted | {"head.weight", "head.bias"})
    assert (learning, total) == (counted, sum(p.numel() for p in made.parameters())), (
        learning,
        total,
        counted,
    )


def check_saved_and_loaded_is_the_same(folder: Path, tune: str) -> None:
    """Logits before and after are equal with ==: labels, pool, cut, adapter and all."""
    made = classifier("rope", pool="mean", keep="ends", class_weights=(1.0, 2.0, 0.5)).float()
    tuning.choose_trainable(made, tune, LoRAConfig(r=2))
    torch.manual_seed(4)
    with torch.no_grad():
        for p in made.parameters():
            if p.requires_grad:
                torch.nn.init.normal_(p, std=0.1)
    made.save_pretrained(folder)
    again = model.Classifier.load(folder)
    ids = batches.padded(some_rows())
    with torch.no_grad():
        assert torch.equal(again(ids).logits, made(ids).logits), "a loaded classifier says something else"
    assert again.settings == made.settings, f"{again.settings} was {made.settings}"


def check_a_resumed_run_is_the_whole_run(folder: Path, tune: str) -> None:
    """20 steps == 10 + a checkpoint + a new trainer + 10: losses and weights equal with == (LP1)."""
    from pretraining.callbacks import Callback
    from pretraining.checkpoints import load_checkpoint
    from pretraining.config import TrainConfig
    from pretraining.trainer import Trainer

    class Losses(Callback):
        def __init__(self) -> None:
            self.at: dict[int, float] = {}

        def on_step_end(self, trainer: Any, record: Any) -> None:
            self.at[record["step"]] = record["loss"]

    rows = [row for seed in range(6) for row in some_rows(seed)]
    numbers = [i % 3 for i in range(len(rows))]
    config = TrainConfig(
        steps=20, batch_size=5, lr=1e-2, save_every=10, eval_every=0, log_every=0, device="cpu", dtype="fp32"
    )

    def trainer(name: str, made: Any) -> tuple[Any, Losses]:
        tuning.choose_trainable(made, tune, LoRAConfig(r=2, dropout=0.1))
        seen = Losses()
        fed = batches.ClassBatches(rows, numbers, 5, seed=3)
        return Trainer(made, config, fed, callbacks=[seen], checkpoint_dir=folder / name), seen

    fresh = classifier(dropout=0.2).float()
    whole, all_losses = trainer("whole", fresh)
    whole.fit()
    saved = load_checkpoint(folder / "whole", 10)
    again, tail = trainer("again", model.Classifier.load(saved.path))
    again.resume(saved)
    again.fit()
    assert tail.at == {step: loss for step, loss in all_losses.at.items() if step > 10}, (
        "another run after the resume"
    )
    ends = (whole.model.state_dict(), again.model.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


# --- batches ---------------------------------------------------------------------------------------------


def check_each_text_once_an_epoch() -> None:
    """Sorted by length or not: every text comes once an epoch with its own label, in another order each epoch."""
    rows = [[i] * (1 + i % 13) for i in range(150)]
    numbers = [i % 3 for i in range(150)]
    fed = batches.ClassBatches(rows, numbers, 4, seed=1)
    epochs = []
    for _ in range(2):
        seen = []
        for _ in range(fed.batches_per_epoch):
            ids, labels = next(fed)
            for row, label in zip(ids.tolist(), labels.tolist(), strict=True):
                real = [i for i in row if i != model.PADDING]
                assert real == rows[real[0]] and label == numbers[real[0]], (
                    "a text lost its label or some of its ids"
                )
                seen.append(real[0])
        assert sorted(seen) == list(range(150)), "a text came twice, or never"
        epochs.append(seen)
    assert epochs[0] != epochs[1], "two epochs in the same order"
    widths = [ids.size(1) for ids, _ in (next(fed) for _ in range(fed.batches_per_epoch))]
    computed, real = sum(4 * w for w in widths), sum(map(len, rows))
    assert computed < 1.35 * real, (
        f"{computed / real:.2f} ids computed for each real one: lengths are not kept together"
    )
    first = batches.ClassBatches(rows, numbers, 4, seed=1)
    for _ in range(9):
        next(first)
    later = batches.ClassBatches(rows, numbers, 4, seed=1)
    later.load_state_dict(first.state_dict())
    assert all(torch.equal(next(first)[0], next(later)[0]) for _ in range(50)), "resumed elsewhere"


def check_cutting_keeps_what_it_says() -> None:
    """Never longer than the limit, the beginning mark always there, and a special token in a text is text."""
    tokenizer = ByteTokenizer()
    begin = tokenizer.special_tokens["<|eos|>"]
    long = "abcdefghij" * 4
    for keep, expected in (("start", "abcdefg"), ("end", "defghij"), ("ends", "abcghij")):
        (row,) = batches.encode([long], tokenizer, 8, keep)
        assert row[0] == begin and len(row) == 8, f"keep={keep}: {len(row)} ids, beginning with {row[0]}"
        assert tokenizer.decode(row[1:]) == expected, f"keep={keep} kept {tokenizer.decode(row[1:])!r}"
    (row,) = batches.encode(["a<|eos|>b"], tokenizer, 30)
    assert row.count(begin) == 1, "a text that spells the special token made one (law LT4)"


# --- data ------------------------------------------------------------------------------------------------


def check_no_text_judges_itself(folder: Path) -> None:
    """Copies stand on one side, a rare label on all three, and a test set of its own loses nothing to training."""
    path = folder / "all.tsv"
    lines = [f"ham\tmessage number {i % 150}" for i in range(300)] + [f"spam\twin {i} now" for i in range(20)]
    path.write_text("\n".join(lines) + "\n")
    found = data.load_class_data(data.DataConfig(data=str(path)))
    parts = {name: set(data.texts(getattr(found, name))) for name in ("train", "val", "test")}
    names = list(parts)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            assert not parts[one] & parts[other], (
                f"{one} and {other} share {sorted(parts[one] & parts[other])[0]!r}"
            )
        assert "spam" in {each.label for each in getattr(found, one)}, (
            f"no spam in {one}: a rare label was lost"
        )
    assert sum(len(getattr(found, name)) for name in names) == len(lines)
    own = folder / "own.tsv"
    own.write_text("ham\tmessage number 3\nspam\twin 3 now\nham\tsomething new\n")
    found = data.load_class_data(data.DataConfig(data=str(path), test=str(own)))
    assert len(found.test) == 3 and found.report["also_in_test"] == 3, found.report
    assert not set(data.texts(found.train + found.val)) & set(data.texts(found.test)), (
        "a test text was trained on"
    )


def check_what_is_taken_is_mixed(folder: Path) -> None:
    """A set sorted by label, as IMDb's folders are: the first so many texts would have one label only."""
    for label in ("neg", "pos"):
        place = folder / "reviews" / label
        place.mkdir(parents=True)
        for i in range(60):
            (place / f"{i}_9.txt").write_text(f"{label} review {i}")
    found = data.load_class_data(data.DataConfig(data=str(folder / "reviews"), take=30, take_test=12))
    counts = found.report["counts"]
    assert (
        sum(counts["train"].values()) + sum(counts["val"].values()) == 30
        and sum(counts["test"].values()) == 12
    )
    assert all(len(counts[part]) == 2 for part in counts), f"one label only: {counts}"


def check_bad_lines_are_named_or_counted(folder: Path) -> None:
    """Every kind of bad line names its place; with on_bad_line=skip it is left out and counted."""
    good = "text,label\n" + "".join(f'"text {i}, fine",{"a" if i % 2 else "b"}\n' for i in range(40))
    cases = {
        "no label": ("lonely,\n", "line 42"),
        "empty text": (" ,a\n", "line 42"),
        "a comma too many": ("one, two,a\n", "line 42"),
    }
    for name, (line, place) in cases.items():
        path = folder / f"{name}.csv"
        path.write_text(good + line + "last,a\n")
        message = refused(lambda path=path: data.load_class_data(data.DataConfig(data=str(path))))
        assert place in message and path.name in message, f"{name}: {message!r} does not name {place}"
        kept = data.load_class_data(data.DataConfig(data=str(path), on_bad_line="skip"))
        assert sum(len(p) for p in (kept.train, kept.val, kept.test)) == 41, (
            f"{name}: the good lines were not kept"
        )
        assert kept.report["left_out"] == {"skipped": 1}, f"{name}: {kept.report['left_out']} was counted"


def check_unusable_sets_are_refused(folder: Path) -> None:
    """One label only; a label that training never saw; bytes that are not UTF-8: a reason with its place."""
    one = folder / "one.csv"
    one.write_text("text,label\n" + "".join(f"text {i},a\n" for i in range(30)))
    assert "'a'" in refused(lambda: data.load_class_data(data.DataConfig(data=str(one))))
    two, other = folder / "two.csv", folder / "other.csv"
    two.write_text("text,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(30)))
    other.write_text("text,label\nnew,a\nnewer,c\n")
    message = refused(lambda: data.load_class_data(data.DataConfig(data=str(two), test=str(other))))
    assert "other.csv, line 3" in message and "'c'" in message and "never seen" in message, message
    kept = data.load_class_data(data.DataConfig(data=str(two), test=str(other), on_bad_line="skip"))
    assert data.texts(kept.test) == ["new"] and kept.report["left_out"] == {"unknown label": 1}, kept.report
    latin = folder / "latin.csv"
    latin.write_bytes("text,label\nnaïve,a\nfine,b\n".encode("latin-1"))
    message = refused(lambda: list(reading.read_labelled(latin, reading.Fields(), Problems())))
    assert "not UTF-8" in message and "byte 13" in message, message


def refused(call: Any) -> str:
    try:
        call()
    except UserError as error:
        return str(error)
    raise AssertionError("bad input was taken without a word")


# --- scores ----------------------------------------------------------------------------------------------


def some_predictions(n: int = 400, k: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    truth = chance.choice(k, size=n, p=(0.7, 0.25, 0.05))
    logits = chance.normal(size=(n, k)) + 1.5 * np.eye(k)[truth]
    logits[:, 2] -= 8  # a label that is never predicted: 0/0
    p = np.exp(logits)
    return p / p.sum(axis=1, keepdims=True), truth


def check_scores_equal_scikit_learns() -> None:
    """Precision, recall, F1, their means, the confusion matrix and nats a text, also for a label never predicted."""
    from sklearn import metrics as theirs

    p, truth = some_predictions()
    found = metrics.score(p, truth.tolist(), LABELS)
    predicted = p.argmax(axis=1)
    assert (predicted != 2).all(), "the case that this is about"
    precision, recall, f1, support = theirs.precision_recall_fscore_support(truth, predicted, zero_division=0)
    for i, each in enumerate(found.classes):
        ours = (each.precision, each.recall, each.f1, each.support)
        expected = (precision[i], recall[i], f1[i], support[i])
        assert np.allclose(ours, expected), (
            f"{each.label}: precision, recall, F1, support {ours}, not {expected}"
        )
    assert np.allclose(
        (found.macro_precision, found.macro_recall, found.macro_f1),
        (precision.mean(), recall.mean(), f1.mean()),
    )
    assert math.isclose(found.accuracy, theirs.accuracy_score(truth, predicted))
    assert found.confusion == theirs.confusion_matrix(truth, predicted).tolist(), (
        "rows are truth, columns predictions"
    )
    assert math.isclose(found.nll, theirs.log_loss(truth, p), rel_tol=1e-9)


def check_calibration_equals_a_loop() -> None:
    """ECE as its definition says, text by text; 0 where a forecaster is right as often as it says."""
    p, truth = some_predictions()
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(10)]
    for row, label in zip(p.tolist(), truth.tolist(), strict=True):
        sure = max(row)
        place = next(b for b in range(10) if b / 10 < sure <= (b + 1) / 10)
        bins[place].append((sure, row.index(sure) == label))
    error = sum(
        abs(sum(s for s, _ in b) / len(b) - sum(r for _, r in b) / len(b)) * len(b) / len(truth)
        for b in bins
        if b
    )
    found, value = metrics.calibration(p, truth)
    assert math.isclose(value, error, rel_tol=1e-9), f"ECE is {error:.4f}, not {value:.4f}"
    assert sum(b.count for b in found) == len(truth)
    honest = np.tile([0.75, 0.25], (400, 1))
    exact = np.array([0, 0, 0, 1] * 100)
    assert metrics.calibration(honest, exact)[1] < 1e-12, "three of four at 75 % is perfectly calibrated"


def check_intervals_cover_texts_and_seeds() -> None:
    """Of one run the interval is that of a share; seeds that differ make it wider; the difference of two classifiers
    on the same texts is known better than either."""
    chance = np.random.default_rng(0)
    truth = np.zeros(400, dtype=int)
    one = (chance.random(400) < 0.2).astype(int)
    value, low, high = metrics.bootstrap(truth, one, 2)
    p = value
    wald = 1.96 * math.sqrt(p * (1 - p) / 400)
    assert math.isclose(value, float((one == 0).mean()))
    assert abs((high - low) / 2 - wald) < 0.15 * wald, (
        f"± {(high - low) / 2:.4f}, but a share has ± {wald:.4f}"
    )
    apart = np.stack([(chance.random(400) < q).astype(int) for q in (0.05, 0.2, 0.35)])
    _, low3, high3 = metrics.bootstrap(truth, apart, 2)
    assert high3 - low3 > 1.3 * (high - low), "three runs from 65 % to 95 %, and the interval does not know"
    better = one.copy()
    better[np.flatnonzero(one)[:20]] = 0  # right 20 times more, never wrong where the other was right
    gain, low2, high2 = metrics.bootstrap(truth, better, 2, against=one)
    assert math.isclose(gain, 0.05) and low2 > 0, (
        f"20 of 400 texts better, none worse: {gain} from {low2} to {high2}"
    )
    assert high2 - low2 < 0.8 * (high - low), (
        "the same texts are drawn for both, so the difference is known better"
    )


# --- the whole way ---------------------------------------------------------------------------------------


def tiny_run(folder: Path, **changes: Any) -> Any:
    """A run of the command's function on a tiny model and reviews."""
    start = folder / "start"
    if not start.exists():
        torch.manual_seed(0)
        GPT(GPTConfig(**{**SHAPE, "block_size": 96, "vocab_size": 272})).save_pretrained(start)
        ByteTokenizer().save(start / "tokenizer.json")
    usual = {
        "ckpt": str(start),
        "reviews": 60,
        "epochs": 1.0,
        "batch_size": 8,
        "device": "cpu",
        "dtype": "fp32",
    }
    return train.train_classifier(train.ClassifyConfig(**{**usual, "runs": str(folder / "runs"), **changes}))


def check_the_test_set_judges_once(folder: Path, monkeypatch: Any) -> None:
    """The checkpoint is chosen by validation; the test texts are seen once, after the last step, by that one."""
    from finetuning.classification import predict

    asked: list[int] = []
    real = predict.judge

    def counted(made: Any, tokenizer: Any, part: Any, labels: Any, **how: Any) -> Any:
        asked.append(len(part))
        return real(made, tokenizer, part, labels, **how)

    monkeypatch.setattr(predict, "judge", counted)
    run = tiny_run(folder, epochs=6.0, lr=0.3, patience=0)  # so much that the loss goes up again
    result, parts = run.meta["result"], run.meta["inputs"]["parts"]["counts"]
    assert asked == [sum(parts["test"].values())], f"the test set was asked {len(asked)} times"
    val = {
        row["step"]: row["loss"] for row in run.metrics() if row["split"] == "val" and not row.get("whole")
    }
    best = min(val, key=lambda step: val[step])
    assert best != max(val), "the case that this is about: the last evaluation is not the best"
    assert result["checkpoint"].endswith(f"step_{best:06d}"), (
        f"{result['checkpoint']} was judged, {best} was best"
    )
    majority = max(parts["test"].values()) / sum(parts["test"].values())
    assert 0 <= result["test"]["accuracy"] <= 1 and majority >= 0.5


def check_early_stopping_waits_and_ends(folder: Path) -> None:
    """It ends after `patience` evaluations without a new lowest loss, the run is complete, the lowest one is judged."""
    run = tiny_run(folder, epochs=60.0, lr=0.3, patience=3, eval_epochs=1.0, save_epochs=1.0)
    val = [row["loss"] for row in run.metrics() if row["split"] == "val"]
    lowest = val.index(min(val))
    assert run.status == "complete" and "early stop" in run.meta["result"]["ended"], run.meta["result"][
        "ended"
    ]
    assert len(val) - 1 - lowest == 3, (
        f"the lowest was number {lowest + 1} of {len(val)}: it waited another time"
    )
