"""LT11: cleaning accounts for every document, keeps newlines, finds what was planted, changes nothing else."""

import random

import pytest
from cleaning_checks import (
    BOOK,
    check_every_document_is_accounted_for,
    check_lines_are_kept,
    check_mojibake_is_undone,
    check_nothing_depends_on_the_workers,
    check_pre_filter_changes_nothing,
    check_quality_rules,
    check_talk_of_gutenberg_is_no_frame,
    check_the_book_comes_out_of_its_frame,
    check_whitespace_table,
    damaged,
    mixed_corpus,
    prose,
)
from duplicate_checks import (
    check_estimates,
    check_exact_copies_are_found,
    check_identical_and_disjoint,
    check_planted_near_copies,
    check_s_curve,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pii_checks import (
    check_finds_are_datafogs,
    check_personal_data_table,
)

from working_with_text_data import pii
from working_with_text_data.cleaning import CleaningConfig, clean_documents
from working_with_text_data.documents import Document, load_documents

ENGINES = ("readable", "rensa")
# Characters at which a stage has something to decide, mixed with any others.
TELLING = st.sampled_from(list("aeZ09 .,-()+@/#_…“”’éÃ©â€™Â\u00a0\u0301\ufeff\t\r\n\x00\x0b\x85\ud83d"))
TEXTS = st.text(st.one_of(TELLING, st.characters(exclude_categories=())), max_size=60)
NUMBERS = st.text(st.sampled_from(list("0123456789" * 2 + " -.()+@\nax/")), max_size=60)


def test_processed_is_kept_plus_every_reason():
    check_every_document_is_accounted_for()


@pytest.mark.parametrize(("workers", "chunk_documents"), [(1, 1), (2, 3), (3, 64)])
def test_workers_change_neither_order_nor_account(workers, chunk_documents):
    check_nothing_depends_on_the_workers(workers, chunk_documents)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_lines_are_kept_by_every_stage_that_says_so(text):
    check_lines_are_kept(text)


@settings(max_examples=100, deadline=None)
@given(st.lists(NUMBERS, max_size=4).map("\n".join))
def test_lines_are_kept_around_numbers(text):
    check_lines_are_kept(text)


def test_white_space_is_tidied_as_the_table_says():
    check_whitespace_table()


def test_mojibake_is_undone_and_right_text_left_alone():
    check_mojibake_is_undone()


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXTS, max_size=4).map("\n".join))
def test_the_quick_look_before_ftfy_changes_nothing(text):
    check_pre_filter_changes_nothing([text])


def test_the_quick_look_holds_for_damaged_sentences():
    rng = random.Random(0)
    words = ["café", "naïve", "“quoted”", "über", "—", "dash…", "señor", "日本", "plain", "words", "œuvre"]
    texts = []
    for _ in range(200):
        lines = [" ".join(rng.choices(words, k=6)) for _ in range(3)]
        lines[rng.randrange(3)] = damaged(lines[0])
        texts.append("\n".join(lines))
    check_pre_filter_changes_nothing(texts)


def test_books_come_out_of_every_historical_frame():
    check_the_book_comes_out_of_its_frame([BOOK, "A short poem.", prose(3)])


def test_real_books_come_out_of_every_historical_frame(shared_data):
    books = [document.text for document in load_documents(shared_data / "text" / "gutenberg")]
    check_the_book_comes_out_of_its_frame(books)


def test_talk_of_gutenberg_is_not_a_frame():
    check_talk_of_gutenberg_is_no_frame()


def test_personal_data_is_replaced_as_the_table_says():
    check_personal_data_table()


@settings(max_examples=300, deadline=None)
@given(NUMBERS)
def test_finds_are_those_of_datafog(text):
    check_finds_are_datafogs(text)


def test_books_and_stories_hold_no_personal_data(shared_data):
    """8.5 MB of novels with their years, page numbers and prices, and 3,000 stories: not one false alarm."""
    folder = shared_data / "text"
    for path in (
        folder / "gutenberg",
        folder / "wikitext-2",
        folder / "tinystories" / "tinystories_val_3117.txt",
    ):
        for document in load_documents(path):
            finds = pii.find_pii(document.text)
            shown = [document.text[max(0, find.start - 20) : find.stop + 20] for find in finds[:3]]
            assert not finds, f"{path.name}: {len(finds)} false alarms, such as {shown}"


def test_quality_rules_say_what_the_paper_says():
    rng = random.Random(1)
    pool = [
        "the",
        "The,",
        "and",
        "of",
        "story",
        "it's",
        "1234",
        "#tag",
        "end…",
        "so...",
        "a",
        "extraordinarily",
    ]
    texts = [" ".join(rng.choices(pool, rng.choices(range(1, 9), k=12), k=size)) for size in range(45, 145)]
    texts += ["", " ", "one", " ".join(["word"] * 49), " ".join(["the and"] * 25), "7 " * 60, "#" * 300]
    # Exactly at each limit: 50 words, 10 % hashes, 80 % letters, 3 and 10 characters on average.
    texts += [
        " ".join(["the", "and"] * 25),
        " ".join(["and", "the", "#xyzzyx"] + ["words"] * 7)
        + " "
        + " ".join(["more"] * 40 + ["#a", "#b", "#c", "#d"]),
        " ".join(["the", "and"] * 40 + ["123", "456"] * 10),
        " ".join(["the", "and"] + ["abcdefghijk"] * 12 + ["ten", "then"] * 20),
        " ".join(["the", "and"] * 5 + ["abcdefghijkl"] * 45),
    ]
    check_quality_rules(texts)


def test_exact_copies_are_found_whatever_their_white_space():
    check_exact_copies_are_found()


@pytest.mark.parametrize("engine", ENGINES)
def test_estimates_are_unbiased_with_the_stated_error(engine):
    check_estimates(engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_equal_texts_have_likeness_one_and_strangers_none(engine):
    check_identical_and_disjoint(engine)


def test_candidates_follow_the_s_curve():
    check_s_curve()


@pytest.mark.parametrize("engine", ENGINES)
def test_planted_near_copies_are_dropped_and_the_first_kept(engine):
    check_planted_near_copies(engine)


def test_both_engines_drop_the_same_documents():
    texts, _, _ = mixed_corpus()
    documents = [Document(text, "made", number) for number, text in enumerate(texts)]
    kept = {
        engine: [d.index for d in clean_documents(documents, CleaningConfig(near_engine=engine))]
        for engine in ENGINES
    }
    assert kept["readable"] == kept["rensa"]


@settings(max_examples=50, deadline=None)
@given(st.lists(TEXTS, max_size=6))
def test_cleaning_clean_documents_changes_nothing(texts):
    """Twice is once, and the second time nothing is edited or dropped: no stage undoes another."""
    config = CleaningConfig(quality=False)
    once = list(clean_documents([Document(t, "made", i) for i, t in enumerate(texts)], config))
    twice = list(clean_documents(once, config))
    assert twice == once
