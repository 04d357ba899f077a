"""Splits of tiny, odd and single texts, and the estimate of near-duplicates against counting them all."""

import random

import pytest
from data_checks import documents_of, unique_texts
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.errors import UserError
from working_with_text_data.documents import Document
from working_with_text_data.near_duplicates import count_near_duplicates
from working_with_text_data.splitting import span_cuts, split_documents


class TestTinyData:
    @pytest.mark.parametrize(
        ("count", "fraction", "held_out"), [(2, 0.05, 1), (3, 0.05, 1), (3, 0.9, 2), (40, 0.1, 4)]
    )
    def test_few_documents_still_give_both_sides(self, count, fraction, held_out):
        split = split_documents(documents_of(unique_texts(count)), val_fraction=fraction)
        assert (len(split.train), len(split.val)) == (count - held_out, held_out)

    def test_no_documents_is_an_error_and_no_validation_is_a_choice(self):
        with pytest.raises(UserError, match="no documents"):
            split_documents([])
        split = split_documents(documents_of(unique_texts(3)), val_fraction=0.0)
        assert (len(split.train), len(split.val)) == (3, 0)
        assert split_documents(documents_of(["one text"]), val_fraction=0.0).val == []

    @pytest.mark.parametrize("fraction", [-0.1, 1.0, 5, float("nan")])
    def test_a_fraction_out_of_range_is_refused(self, fraction):
        with pytest.raises(UserError, match=r"val_fraction is .*at least 0 and below 1"):
            split_documents(documents_of(["a", "b"]), val_fraction=fraction)

    def test_an_unknown_method_is_refused(self):
        with pytest.raises(UserError, match="choose auto, documents, threshold or spans"):
            split_documents(documents_of(["a", "b"]), method="random")

    @settings(max_examples=200, deadline=None)
    @given(
        st.text(alphabet="ab \n", min_size=1, max_size=60) | st.integers(2, 40_000).map("x".__mul__),
        st.sampled_from([0.001, 0.05, 0.5, 0.999]),
        st.integers(0, 9),
    )
    def test_any_single_text_is_shared_out_without_loss(self, text, fraction, seed):
        split = split_documents([Document(text, "t", 0)], val_fraction=fraction, seed=seed, method="spans")
        pieces = sorted([*split.train, *split.val, *split.dropped], key=lambda d: d.index)
        assert "".join(d.text for d in pieces) == text
        if len(text.split()) >= 2 or len(text.strip()) >= 2:
            assert split.val and split.train, f"one side of {text!r} is empty"
            assert all(d.text.strip() for d in split.val)

    def test_a_single_character_goes_to_training(self):
        split = split_documents(documents_of(["x"]))
        assert [d.text for d in split.train] == ["x"] and split.val == []

    def test_a_text_without_white_space_is_cut_all_the_same(self):
        split = split_documents(documents_of(["abcdefghij" * 10_000]), val_fraction=0.1)
        assert len(split.val) == 5 and 0.08 < split.report.val_bytes / 100_000 < 0.12

    def test_copies_of_one_text_are_cut_at_the_same_places(self):
        text = " ".join(unique_texts(30, words=80))
        split = split_documents(documents_of([text, text]), val_fraction=0.1)
        assert split.report.method == "spans" and split.report.duplicates == 1
        assert not {d.text for d in split.train} & {d.text for d in split.val}
        assert len({d.text for d in split.val}) * 2 == len(split.val)

    def test_spans_can_be_asked_for_with_several_documents(self):
        books = documents_of([" ".join(unique_texts(1, 9000)), " ".join(unique_texts(2, 9000)[1:])])
        split = split_documents(books, method="spans")
        assert {d.source.split("[")[0] for d in split.val} == {"made.txt"} and len(split.val) >= 2
        assert not {w for d in split.val for w in d.text.split()} & {
            w for d in split.train for w in d.text.split()
        }

    def test_other_seeds_take_other_spans(self):
        text = " ".join(unique_texts(1, 9000))
        assert span_cuts(text, 0.05, key=1) == span_cuts(text, 0.05, key=1) != span_cuts(text, 0.05, key=2)


def shingles(text: str) -> set[tuple[str, ...]]:
    words = text.lower().split()
    return {tuple(words[i : i + 8]) for i in range(max(1, len(words) - 7))}


def counted_one_by_one(train: list[str], val: list[str]) -> int:
    """The definition, in sets: validation texts of which one training text holds 80 % of the shingles."""
    sets = [shingles(text) for text in train]
    return sum(any(len(v & t) >= 0.8 * len(v) for t in sets) for v in map(shingles, val))


def edited_corpus(seed: int) -> tuple[list[str], list[str]]:
    """Random texts over few words, and validation texts that share from none to all of a training text."""
    rng = random.Random(seed)
    words = [f"w{n}" for n in range(400)]
    train = [" ".join(rng.choices(words, k=rng.randint(3, 200))) for _ in range(60)]
    val = []
    for text in train[:40]:
        kept = text.split()[: int(rng.random() * len(text.split()))]
        val.append(" ".join(kept + rng.choices(words, k=rng.randint(1, 60))))
    return train, [*val, *train[40:45], "", "Short one", train[0].upper()]


class TestNearDuplicates:
    @pytest.mark.parametrize("seed", range(5))
    def test_looking_at_every_shingle_equals_the_definition(self, seed):
        train, val = edited_corpus(seed)
        found = count_near_duplicates(train, val, keep_one_in=1)
        assert found.checked == len(val)
        assert found.count == counted_one_by_one(train, val) >= 6

    def test_the_size_of_the_blocks_does_not_matter(self, monkeypatch):
        train, val = edited_corpus(0)
        whole = count_near_duplicates(train, val)
        monkeypatch.setattr("working_with_text_data.near_duplicates._BLOCK_TEXTS", 7)
        assert count_near_duplicates(train, val) == whole
        monkeypatch.setattr("working_with_text_data.near_duplicates._BLOCK_CHARS", 1)
        assert count_near_duplicates(train, val) == whole

    def test_the_sample_is_close_to_the_definition(self):
        exact = estimated = 0
        for seed in range(12):
            train, val = edited_corpus(seed)
            exact += counted_one_by_one(train, val)
            estimated += count_near_duplicates(train, val).count
        # Only texts whose containment is near 0.8 can be judged wrongly: a few per cent of these.
        assert abs(estimated - exact) <= 0.15 * exact

    def test_at_most_the_first_by_hash_are_checked(self):
        texts = unique_texts(50)
        found = count_near_duplicates(texts, texts, max_checked=20)
        assert (found.checked, found.count, found.rate) == (20, 20, 1.0)
        assert found == count_near_duplicates(texts, texts[::-1], max_checked=20)

    def test_nothing_to_check_is_no_leak(self):
        assert count_near_duplicates([], ["a b"]).rate == 0.0
        assert count_near_duplicates(["a b"], []).rate == 0.0
