"""Statistics of a text: counted by hand, by numpy, by scipy; bounded in memory; a page that stands alone."""

import json
import math
import re
import tracemalloc
from html.parser import HTMLParser

import pytest
import statistics_checks as checks
from data_checks import documents_of, unique_texts
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.errors import UserError
from working_with_text_data import text_statistics
from working_with_text_data.bounded_counting import DistinctSample, Reservoir, WordCounts
from working_with_text_data.documents import Document
from working_with_text_data.statistics_report import to_html, to_markdown, write_report
from working_with_text_data.text_comparison import compare_statistics, total_variation
from working_with_text_data.text_statistics import describe, fit_zipf


class TestAgainstReferences:
    def test_counts_equal_plain_python(self):
        checks.check_counts_equal_plain_python()

    def test_percentiles_equal_numpy(self):
        checks.check_percentiles_equal_numpy()

    def test_the_zipf_line_equals_scipy(self):
        checks.check_the_zipf_line_equals_scipy()

    def test_scripts_equal_regex(self):
        checks.check_scripts_equal_regex()

    def test_comparison_equals_scipy(self):
        checks.check_comparison_equals_scipy()


class TestBounds:
    def test_a_full_table_stays_within_its_bounds(self):
        checks.check_a_full_table_stays_within_its_bounds()

    def test_a_sample_of_different_things_counts_copies(self):
        checks.check_a_sample_of_different_things_counts_copies()

    def test_a_reservoir_is_uniform(self):
        checks.check_a_reservoir_is_uniform()

    def test_estimates_are_named_as_such(self, monkeypatch):
        words = checks.zipfian_words(40_000, seed=5)
        texts = [" ".join(words[i : i + 40]) for i in range(0, len(words), 40)]
        exact = describe(documents_of(texts), languages=False)
        monkeypatch.setattr(DistinctSample.__init__, "__defaults__", (256,))
        found = describe(documents_of(texts), languages=False, max_words=500, max_lengths=200)
        assert found.undercount > 0 and found.vocabulary_error > 0 and exact.undercount == 0
        assert found.once is None and exact.once > 0
        assert abs(found.zipf.slope - exact.zipf.slope) < 0.2 and found.zipf.ranks[-1] < 1_000
        assert not found.lengths["characters"].exact and found.lengths["characters"].rank_error > 3
        assert found.lengths["characters"].minimum == exact.lengths["characters"].minimum
        assert found.top_words[:5] == exact.top_words[:5], "the most frequent words survive each clearing"
        assert "Estimated." in to_markdown(found) and "exact count" in to_markdown(exact)
        assert not compare_statistics(found, exact).exact and compare_statistics(exact, exact).exact

    def test_memory_does_not_grow_with_the_stream(self):
        def stream(n):
            for number in range(n):
                yield Document(f"new{number} words{number} each time{number % 1000}", "made", number)

        peaks = []
        for n in (4_000, 16_000):
            tracemalloc.start()
            describe(stream(n), languages=False, max_words=1_000, max_lengths=1_000)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        # Four times the stream. The sample of hashes may fill up to its limit of 16,384 (1.5 MB).
        assert peaks[1] < peaks[0] + 2_500_000, f"{peaks}: something is kept of every document"

    @pytest.mark.parametrize("limit", [2, 3, 10])
    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.lists(st.sampled_from("abcdefghijklmnop"), max_size=12), max_size=30))
    def test_the_bound_holds_for_any_words(self, limit, pieces):
        table = WordCounts(limit)
        for piece in pieces:
            table.update(piece)
        for letter in "abcdefghijklmnop":
            truth = sum(piece.count(letter) for piece in pieces)
            assert truth - table.undercount <= table.counts[letter] <= truth

    def test_a_table_without_room_is_refused(self):
        with pytest.raises(ValueError, match="room for at least 2"):
            WordCounts(1)

    def test_the_reservoir_keeps_all_while_there_is_room(self):
        kept = Reservoir[int](5)
        for item in range(5):
            kept.add(item)
        assert kept.exact and kept.items == [0, 1, 2, 3, 4]


class TestEdges:
    def test_nothing_is_an_error_that_names_the_input(self):
        with pytest.raises(UserError, match=r"empty\.txt: there are no documents"):
            describe([], name="empty.txt")

    def test_one_empty_text_has_no_line_no_word_and_no_slope(self, tmp_path):
        found = describe(documents_of([""]), languages=False)
        assert (found.lines, found.words, found.vocabulary, found.zipf) == (0, 0, 0, None)
        assert found.scripts == {} and found.once == 0 and found.bytes_per_token is None
        for suffix in (".html", ".md", ".json"):
            assert write_report(tmp_path / f"r{suffix}", found, found).stat().st_size > 100

    def test_a_text_of_one_frequency_has_a_flat_line(self):
        assert fit_zipf([3, 3, 3, 3]).slope == 0.0 and fit_zipf([3, 3, 3, 3]).r2 == 1.0
        assert fit_zipf([3, 2]) is None

    def test_half_a_surrogate_pair_is_counted_and_not_fatal(self):
        assert describe(documents_of(["a\ud800b"]), languages=False).characters == 3

    def test_the_generators_of_others_stand_still(self):
        import random

        before = random.getstate()
        describe(documents_of(unique_texts(50)), languages=False, max_lengths=10)
        assert random.getstate() == before

    def test_the_same_stream_gives_the_same_numbers(self):
        words = checks.zipfian_words(8_000, seed=6)
        texts = [" ".join(words[i : i + 20]) for i in range(0, len(words), 20)]
        one, two = (
            describe(documents_of(texts), languages=False, max_words=50, max_lengths=30).to_dict()
            for _ in range(2)
        )
        assert one == two

    def test_a_missing_language_package_is_no_failure(self, monkeypatch):
        from working_with_text_data import language

        def missing(*arguments, **options):
            raise UserError("needs the package py3langid")

        monkeypatch.setattr(language, "identify", missing)
        found = describe(documents_of(["some text"]))
        assert found.languages is None and found.languages_sampled == 0
        assert "not asked" in to_markdown(found)


class TestLanguages:
    def test_the_mix_is_that_of_the_documents(self):
        pytest.importorskip("py3langid")
        english = ["The children walked home through the quiet village in the evening."] * 3
        german = ["Die Kinder gingen am Abend durch das stille Dorf nach Hause."]
        found = describe(documents_of(english + german))
        assert found.languages == {"en": 0.75, "de": 0.25} and found.languages_sampled == 4


class TestComparison:
    def test_a_text_does_not_differ_from_itself(self):
        one = describe(documents_of(unique_texts(20)), languages=False, name="a")
        found = compare_statistics(one, one)
        assert found.word_divergence == found.length_distance == found.script_distance == 0.0
        assert found.shared_vocabulary == found.a_covered_by_b == 1.0
        assert found.typical_of_a == found.typical_of_b == () and found.language_distance is None

    def test_texts_without_a_common_word_differ_by_one_bit(self):
        a = describe(documents_of(["red red green"]), languages=False)
        b = describe(documents_of(["sky sea"]), languages=False)
        found = compare_statistics(a, b)
        assert math.isclose(found.word_divergence, 1.0)
        assert found.typical_of_a == ("red", "green") and found.typical_of_b == ("sea", "sky")

    def test_total_variation_is_what_would_have_to_move(self):
        assert total_variation({"en": 0.9, "de": 0.1}, {"en": 0.6, "fr": 0.4}) == pytest.approx(0.4)


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.outside, self.texts = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.outside += [v for k, v in attrs if k in ("src", "href") and v and not v.startswith("#")]

    def handle_data(self, data):
        self.texts.append(data)


class TestReport:
    NASTY = '<script>alert("x")</script> | pipe & *star*'

    def test_the_page_stands_alone_and_escapes_everything(self):
        one = describe(documents_of(unique_texts(30)), languages=False, name=self.NASTY)
        two = describe(documents_of(unique_texts(9)), languages=False, name="other")
        text = to_html(one, two)
        page = Page()
        page.feed(text)
        assert "script" not in page.tags and page.tags.count("svg") == 2
        assert not page.outside, f"the page asks for {page.outside}"
        assert not re.search(r"url\(\s*['\"]?http|@import", text)
        assert any('<script>alert("x")' in piece for piece in page.texts), "shown as text"
        assert {"table", "h1", "h2", "figure"} <= set(page.tags)

    def test_the_markdown_has_tables_of_equal_width(self):
        found = describe(documents_of(unique_texts(30)), languages=False, name=self.NASTY)
        text = to_markdown(found, found)
        assert "<script>" not in text
        width = None
        for line in text.splitlines():
            if not line.startswith("|"):
                width = None
                continue
            cells = len(re.findall(r"(?<!\\)\|", line))
            assert width in (None, cells), line
            width = cells

    def test_the_json_is_read_back(self, tmp_path):
        found = describe(documents_of(checks.TEXTS), languages=False, name="t")
        plain = json.loads(write_report(tmp_path / "r.json", found, found).read_text())
        assert plain["version"] == 1 and plain["statistics"][0]["documents"] == 6
        assert plain["comparison"]["word_divergence"] == 0
        assert set(plain["statistics"][0]["lengths"]["words"]) >= {"percentiles", "exact", "mean"}
        assert "sample" not in plain["statistics"][0]["lengths"]["words"]

    def test_numbers_on_the_page_are_those_that_were_found(self):
        found = describe(documents_of(["a b c d"] * 1_234), languages=False)
        text = to_markdown(found)
        assert "| documents | 1,234 |" in text and "| duplicates (copies) | 1,233 |" in text

    def test_another_suffix_is_refused(self, tmp_path):
        found = describe(documents_of(["a"]), languages=False)
        with pytest.raises(UserError, match=r"\.html, \.md or \.json"):
            write_report(tmp_path / "r.pdf", found)


class TestCommand:
    def test_one_text(self, tmp_path, capsys):
        out = tmp_path / "page.html"
        code = text_statistics.main(
            ["input=storyland", "n_bytes=20000", f"out={out}", "languages=false", "tokenizer=byte"]
        )
        printed = capsys.readouterr().out
        assert code == 0 and f"wrote: {out}" in printed and "next: python -m" in printed
        assert "bytes per token" in out.read_text()

    def test_two_texts(self, tmp_path):
        (tmp_path / "a.txt").write_text("the sea and the sky")
        (tmp_path / "b.jsonl").write_text('{"body": "red and green"}\n')
        (tmp_path / "c.txt").write_text("a third")
        out = tmp_path / "page.md"
        text_statistics.main(
            [f"input={tmp_path / 'a.txt'}", f"compare={tmp_path / 'c.txt'}", f"out={out}", "languages=false"]
        )
        assert "What differs" in out.read_text()

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["out=x.html"], "input"),
            (["input=nowhere.txt"], "no such file"),
            (["input=storyland", "out=x.pdf"], "a report is .html"),
            (["input=storyland", "tokenizer=nothing"], "nothing"),
        ],
    )
    def test_bad_input_is_one_line(self, arguments, words):
        with pytest.raises(UserError, match=words) as caught:
            text_statistics.main(arguments)
        assert "\n" not in str(caught.value)


def test_real_books_look_like_natural_language(shared_data):
    from working_with_text_data.documents import load_documents

    found = describe(load_documents(shared_data / "text" / "tinyshakespeare.txt"), languages=False)
    assert found.bytes == 1_115_394 and found.lines == 40_000
    assert -1.2 < found.zipf.slope < -0.9 and found.zipf.r2 > 0.95
    assert found.top_words[0][0] == "the" and found.scripts == {"Latin": 1.0}
