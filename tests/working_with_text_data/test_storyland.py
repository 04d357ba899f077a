"""The generator: seeded, endless, consistent, of the promised size and variety."""

import doctest
import hashlib
import importlib
import json
import re
import subprocess
import sys

import pytest

from working_with_text_data.storyland import (
    MAX_SEED,
    PLOTS,
    main,
    phrases,
    stories,
    story_corpus,
    tell,
    world,
)
from working_with_text_data.storyland.grammar import Dice, count, fill, indefinite, parse
from working_with_text_data.storyland.state import ImpossibleEvent, World


@pytest.fixture(scope="module")
def corpus() -> list[str]:
    return story_corpus(n_stories=6000, seed=4)


def test_the_same_seed_gives_the_same_stories_and_another_seed_others():
    assert story_corpus(n_stories=20, seed=1) == story_corpus(n_stories=20, seed=1)
    assert not set(story_corpus(n_stories=20, seed=1)) & set(story_corpus(n_stories=20, seed=2))


def test_stories_do_not_depend_on_the_hash_seed_of_the_interpreter():
    code = (
        "import hashlib; from working_with_text_data.storyland import story_corpus; "
        "print(hashlib.sha256('|'.join(story_corpus(n_stories=40, seed=3)).encode()).hexdigest())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    here = hashlib.sha256("|".join(story_corpus(n_stories=40, seed=3)).encode()).hexdigest()
    assert {s.strip() for s in seen} == {here}


def test_a_story_is_a_pure_function_of_seed_and_index():
    stream = stories(9)
    assert [next(stream) for _ in range(5)][4] == tell(9, 4)
    assert tell(9, 4) == tell(9 + MAX_SEED, 4)


def test_a_corpus_has_the_size_asked_for_and_no_story_twice():
    texts = story_corpus(50_000, seed=0)
    size = sum(len(t.encode()) for t in texts)
    assert 50_000 <= size < 50_000 + 2_000
    assert len(set(texts)) == len(texts)
    with pytest.raises(ValueError, match="exactly one"):
        story_corpus()


def test_lengths_paragraphs_and_vocabulary_are_as_promised(corpus):
    words = [len(re.findall(r"[A-Za-z']+", t)) for t in corpus]
    assert 90 <= sum(words) / len(words) <= 120
    assert min(words) >= 45 and max(words) <= 220
    assert {t.count("\n\n") + 1 for t in corpus} == {2, 3, 4}
    assert all("  " not in t and "\n\n\n" not in t and t == t.strip() for t in corpus)
    vocabulary = {w.removesuffix("'s") for t in corpus for w in re.findall(r"[a-z']+", t.lower())}
    assert 1500 <= len(vocabulary) <= 2500


def test_every_plot_is_told_about_equally_often(corpus):
    kinds = [tell(4, i).facts.kind for i in range(2000)]
    for kind in PLOTS:
        assert 0.07 < kinds.count(kind) / len(kinds) < 0.13, kind


def test_no_sentence_is_worn_out(corpus):
    """No opening sentence pattern shows through: first four words and whole sentences stay rare."""
    from collections import Counter

    from working_with_text_data.storyland.reading import read

    sentences = Counter(s.text for t in corpus[:2000] for s in read(t).sentences)
    assert sentences.most_common(1)[0][1] <= 0.05 * 2000, sentences.most_common(3)
    starts = Counter(" ".join(t.split()[:4]) for t in corpus[:2000])
    assert starts.most_common(1)[0][1] <= 0.12 * 2000, starts.most_common(3)


def test_there_are_at_least_a_billion_stories():
    """A lower bound from choices that all show in the text of a "lost" story told by one opening."""
    names = len(world.GIRLS) * len(world.BOYS)  # of different gender, in one order
    places = len(world.PLACES)
    looks = len(world.ITEM_LOOKS)
    bound = names * len(world.TRAITS) * len(phrases.HOBBIES) * places * len(world.ITEMS) * looks
    assert bound >= 10**9


def test_facts_say_what_happened():
    for i in range(300):
        story = tell(5, i)
        assert len(story.facts.characters) >= 2
        assert all(name in story.text for name in story.facts.characters if name[0].isupper())
        if story.facts.kind == "lost":
            owner = story.facts.characters[0]
            (thing,) = story.facts.holders
            assert story.facts.holders[thing] == owner and thing in story.text
            assert ("lose", owner, thing) in story.facts.events
        if story.facts.kind == "trade":
            a, b = story.facts.characters
            assert sorted(story.facts.holders.values()) == sorted((a, b))


def test_the_world_refuses_what_cannot_happen():
    scene = World("test", "park", ["Mia", "Tom"])
    scene.own("Mia", "kite")
    with pytest.raises(ImpossibleEvent, match="does not have"):
        scene.give("Tom", "Mia", "kite")
    with pytest.raises(ImpossibleEvent, match="not lying about"):
        scene.find("Tom", "kite")
    with pytest.raises(ImpossibleEvent, match="not in this story"):
        scene.own("Zoe", "drum")
    with pytest.raises(ImpossibleEvent, match="already a kite"):
        scene.own("Tom", "kite")
    scene.lose("Mia", "kite")
    scene.find("Tom", "kite")
    scene.give("Tom", "Mia", "kite")
    assert scene.facts().holders == {"kite": "Mia"}


def test_tables_of_the_world_agree_with_each_other():
    for place, (preposition, _, fixtures) in world.PLACES.items():
        assert preposition in ("in", "on", "at") and len(set(fixtures)) >= 3, place
        assert set(fixtures) <= set(world.FIXTURES)
    assert not world.TRACKED & set(world.FIXTURES), "a thing cannot also be a fixture"
    assert not world.TRACKED & set(world.PLACES)
    assert set(world.DEEDS) <= set(world.FIXTURES)
    assert not set(world.GIRLS) & set(world.BOYS)


def test_templates_parse_and_articles_follow_sounds():
    dice = Dice(0)
    assert fill("a~ {X} and a~ {Y}", {"X": "owl", "Y": "unicorn"}, dice) == "An owl and a unicorn"
    assert indefinite("hour") == "an hour"
    assert count("[a|b] [c|[d|e]]") == 6
    with pytest.raises(ValueError, match="unbalanced"):
        parse("[a|b]]")
    for template in phrases.template_strings():
        assert count(template) >= 1


def test_the_command_writes_each_kind_as_json_lines(tmp_path, capsys):
    for kind, field in (
        ("stories", "text"),
        ("instructions", "answer"),
        ("reviews", "label"),
        ("preferences", "chosen"),
    ):
        out = tmp_path / f"{kind}.jsonl"
        assert main([f"kind={kind}", "n=3", "seed=5", f"out={out}"]) == 0
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert len(rows) == 3 and all(field in row for row in rows)
    assert main(["n=1"]) == 0
    assert tell(0, 0).text in capsys.readouterr().out


def test_the_command_refuses_what_it_does_not_make():
    from utils.errors import UserError

    with pytest.raises(UserError, match="choose one of"):
        main(["kind=poems"])
    with pytest.raises(UserError, match="at least 1"):
        main(["n=0"])


@pytest.mark.parametrize(
    "name", ["grammar", "reading", "rules", "syntax", "verifiers", "task_words", "checker"]
)
def test_the_worked_examples_are_true(name):
    module = importlib.import_module(f"working_with_text_data.storyland.{name}")
    result = doctest.testmod(module)
    assert result.attempted > 0 and result.failed == 0


def test_storyland_imports_nothing_heavy():
    code = (
        "import sys, working_with_text_data.storyland, working_with_text_data.storyland.checker, "
        "working_with_text_data.storyland.tasks; assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
