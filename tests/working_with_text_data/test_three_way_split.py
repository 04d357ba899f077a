"""Three sides of tiny, odd and labelled data: what is refused, what is served first, what is reported."""

import itertools
import json

import pytest
from data_checks import documents_of, unique_texts
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.errors import UserError
from working_with_text_data.documents import Document
from working_with_text_data.split_report import label_gap
from working_with_text_data.splitting import assign, document_hash, split_documents


class TestTinyData:
    @pytest.mark.parametrize(
        ("count", "expected"), [(2, (1, 1, 0)), (3, (1, 1, 1)), (4, (2, 1, 1)), (40, (36, 2, 2))]
    )
    def test_training_is_served_first_then_validation_then_the_test_set(self, count, expected):
        split = split_documents(documents_of(unique_texts(count)), val_fraction=0.05, test_fraction=0.05)
        assert (len(split.train), len(split.val), len(split.test)) == expected

    @pytest.mark.parametrize(("val", "test"), [(0.5, 0.49), (0.0, 0.99), (0.99, 0.0), (0.001, 0.001)])
    def test_extreme_fractions_leave_training_one_document(self, val, test):
        split = split_documents(documents_of(unique_texts(5)), val_fraction=val, test_fraction=test)
        assert split.train and bool(split.val) == (val > 0) and bool(split.test) == (test > 0)

    @settings(max_examples=150, deadline=None)
    @given(
        st.text(alphabet="ab \n", min_size=1, max_size=60) | st.integers(2, 40_000).map("x".__mul__),
        st.sampled_from([0.001, 0.05, 0.4]),
        st.sampled_from([0.001, 0.1, 0.5]),
        st.integers(0, 9),
    )
    def test_any_single_text_is_shared_out_without_loss(self, text, val, test, seed):
        split = split_documents(
            [Document(text, "t", 0)], val_fraction=val, test_fraction=test, seed=seed, method="spans"
        )
        pieces = sorted([*split.train, *split.val, *split.test, *split.dropped], key=lambda d: d.index)
        assert "".join(d.text for d in pieces) == text
        assert all(d.text.strip() for d in [*split.val, *split.test])
        if len(text.split()) >= 2 or len(text.strip()) >= 2:
            assert split.val and split.train, f"one side of {text!r} is empty"

    def test_three_words_are_enough_for_three_sides(self):
        for text in ("one two three", "a b c", "the cat sat on the mat"):
            split = split_documents(documents_of([text]), val_fraction=0.1, test_fraction=0.1)
            assert split.train and split.val and split.test, text

    def test_a_threshold_may_leave_a_small_side_empty(self):
        split = split_documents(documents_of(["a", "b"]), val_fraction=0.001, method="threshold")
        assert len(split.train) == 2 and split.val == []


class TestRefusals:
    @pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
    def test_a_test_fraction_out_of_range(self, fraction):
        with pytest.raises(UserError, match=r"test_fraction is .*at least 0 and below 1"):
            split_documents(documents_of(["a", "b"]), test_fraction=fraction)

    @pytest.mark.parametrize("method", ["documents", "threshold", "spans"])
    def test_fractions_that_leave_training_nothing(self, method):
        with pytest.raises(UserError, match=r"together 1\.1: keep them below 1"):
            split_documents(documents_of(["a", "b"]), val_fraction=0.5, test_fraction=0.6, method=method)

    @pytest.mark.parametrize("text", ["some text", "", "AB" * 32, "ab" * 33, "ab" * 32 + "\n"])
    def test_a_text_where_a_hash_is_needed(self, text):
        with pytest.raises(UserError, match=r"give document_hash\(text\), 64 hex digits"):
            assign(text)

    def test_strata_without_classes(self):
        with pytest.raises(UserError, match=r"pass label=…"):
            split_documents(documents_of(["a", "b"]), stratify=True)

    def test_strata_of_spans(self):
        with pytest.raises(UserError, match='need method="documents"'):
            split_documents(documents_of(["a", "b"]), stratify=True, label=len, method="threshold")


def labelled(text: str, meta: dict | None = None) -> Document:
    return Document(text, "made", 0, meta)


class TestClasses:
    def test_the_label_in_the_meta_is_counted(self):
        documents = [labelled(text, meta={"label": n % 2}) for n, text in enumerate(unique_texts(10))]
        documents.append(labelled("no label"))
        report = split_documents(documents, val_fraction=0.3).report
        total = {name: sum(side[name] for side in report.labels.values()) for name in ("0", "1", "(none)")}
        assert total == {"0": 5, "1": 5, "(none)": 1}
        assert 0 < report.label_gap < 1 and "labels differ" in str(report)

    def test_a_text_with_two_labels_stays_on_one_side_in_any_order(self):
        rows = [(text, name) for text in unique_texts(30) for name in ("spam", "ham")]
        answers = set()
        for order in (rows, rows[::-1]):
            documents = [labelled(text, meta={"label": name}) for text, name in order]
            split = split_documents(documents, val_fraction=0.2, stratify=True)
            assert not {d.text for d in split.train} & {d.text for d in split.val}
            answers.add(frozenset(d.text for d in split.val))
        assert len(answers) == 1

    def test_pieces_of_a_cut_document_keep_its_meta(self):
        text = " ".join(unique_texts(1, words=4_000))
        split = split_documents([labelled(text, meta={"label": "book"})], val_fraction=0.2)
        assert {d.meta["label"] for d in split.train + split.val} == {"book"}

    def test_the_gap_is_the_largest_difference_of_shares(self):
        assert label_gap({}) == 0.0
        assert (
            label_gap({"train": {"a": 3, "b": 1}, "val": {"a": 1, "b": 1}, "test": {"a": 0, "b": 2}}) == 0.75
        )


def test_a_report_is_plain_json_and_names_the_third_side():
    documents = documents_of(unique_texts(20))
    report = split_documents(documents, val_fraction=0.1, test_fraction=0.1).report
    plain = json.loads(json.dumps(report.to_dict()))
    assert plain["test_documents"] == 2 and plain["test_leak_rate"] == 0.0
    assert "test 2 documents" in str(report)
    assert "test" not in str(split_documents(documents).report)
    hashes = {plain[f"{side}_hash"] for side in ("train", "val", "test")}
    assert len(hashes) == 3


@pytest.mark.parametrize("seed", range(3))
def test_thresholds_are_nested(seed):
    """More validation keeps what was validation: the same line, a later mark."""
    digests = [document_hash(text) for text in unique_texts(300, words=2)]
    for small, large in itertools.pairwise((0.0, 0.05, 0.2, 0.6)):
        held = [{d for d in digests if assign(d, val_fraction=f, seed=seed) == "val"} for f in (small, large)]
        assert held[0] <= held[1] and len(held[0]) < len(held[1])
