"""The inspector as functions and as a command: terminal, pages, prices, bad input."""

import json
import re
import subprocess
import sys
import unicodedata

import pytest

from utils.errors import UserError
from working_with_text_data import (
    ByteTokenizer,
    compare_tokenizers,
    estimate_price,
    load_tokenizer,
    statistics_of,
    train_bpe,
)
from working_with_text_data import inspect_tokens as command
from working_with_text_data.inspect_html import SHOWN_BYTES, comparison_html, token_report_html
from working_with_text_data.inspect_terminal import side_by_side

TEXT = "the cat sat on the mat; the dog sat on the log.\n" * 3


def one_line(error: pytest.ExceptionInfo) -> str:
    message = str(error.value)
    assert message and "\n" not in message
    return message


def cells(text):
    """The width that a terminal gives to a text."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def plain(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


# --- numbers --------------------------------------------------------------------------------------


def test_an_empty_text_divides_by_nothing():
    numbers = statistics_of("", ByteTokenizer())
    assert numbers.tokens == 0 and numbers.bytes_per_token == numbers.word_coverage == 0.0
    assert numbers.to_dict()["entropy_bits"] == 0 and json.dumps(numbers.to_dict())
    nothing = compare_tokenizers("", {"byte": ByteTokenizer()})
    assert nothing.agreement == 1.0 and "0 tokens" in side_by_side(nothing)
    with pytest.raises(UserError, match="no tokenizers"):
        compare_tokenizers("a", {})


def test_an_error_in_a_price_table_says_where(tmp_path):
    bad = {
        "a word": {"m": "cheap"},
        "below zero": {"m": -1},
        "no number": {"m": float("nan")},
        "yes": {"m": True},
        "a misspelling": {"m": {"input": 1, "outpt": 2}},
        "no input": {"m": {"output": 2}},
        "nothing": {},
        "only a currency": {"currency": "EUR"},
        "a currency that is a number": {"currency": 3, "m": 1},
    }
    for what, table in bad.items():
        with pytest.raises(UserError) as error:
            estimate_price(10, table)
        assert one_line(error), what
    with pytest.raises(UserError, match="no price for output"):
        estimate_price(10, {"m": {"input": 1}}, n_output_tokens=5)
    with pytest.raises(UserError, match="-1 tokens"):
        estimate_price(-1, {"m": 1})
    for name, content in {"a.yaml": "[1, 2]", "b.yaml": "a: [", "c.json": "{", "d.yaml": ""}.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(UserError, match=name) as error:
            estimate_price(10, tmp_path / name)
        one_line(error)
    with pytest.raises(UserError, match="does not exist"):
        estimate_price(10, tmp_path / "nothing.yaml")


def test_price_tables_are_read_from_yaml_and_json(tmp_path):
    (tmp_path / "p.yaml").write_text("currency: EUR\nm: {input: 2.5, output: 10}\n")
    (tmp_path / "p.json").write_text('{"currency": "EUR", "m": {"input": 2.5, "output": 10}}')
    for name in ("p.yaml", "p.json"):
        price = estimate_price(4, tmp_path / name, n_output_tokens=1)["m"]
        assert price.total == pytest.approx(0.00002) and str(price) == "0.00002 EUR"


# --- terminal -------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [20, 41, 80, 100])
@pytest.mark.parametrize("colour", [True, False])
def test_columns_hold_all_tokens_and_stay_in_their_width(width, colour):
    text = "the cat 東京東京 naïve\n\n" + "x" * 70 + " e\u0301\t<\x1b[31m>\n"
    pair = {"byte": ByteTokenizer(), "bpe": train_bpe(TEXT, 300)}
    comparison = compare_tokenizers(text, pair)
    lines = plain(side_by_side(comparison, width, colour)).split("\n")
    shown = {"byte": "", "bpe": ""}
    for line in lines[2:]:
        left, right = re.split(r" [│≠] ?", line, maxsplit=1)
        for name, cell in zip(shown, (left, right)):
            shown[name] += cell.replace(" ", "").replace("|", "")
        assert cells(line) <= max(width, 8 + 3 + 8)
    for name, rows in comparison.rows.items():
        assert shown[name] == "".join(row.shown for row in rows)
    assert "\x1b[31m" not in side_by_side(comparison, width, colour), "a text cannot colour the terminal"


def test_the_sign_between_columns_says_where_they_differ():
    pair = {"a": train_bpe(TEXT, 260), "b": train_bpe(TEXT, 320)}
    alike = compare_tokenizers("zzz", pair)
    assert "≠" not in side_by_side(alike) and "≠" in side_by_side(compare_tokenizers(TEXT, pair))


# --- pages ----------------------------------------------------------------------------------------


def test_a_long_text_stays_a_small_page_and_says_what_is_left_out():
    text = TEXT * 70
    assert len(text) > 10_000
    page = token_report_html(text, ByteTokenizer())
    assert len(page.encode()) < 300_000
    assert re.search(rf"The picture shows the first [\d,]+ of {len(text):,} tokens", page)
    both = comparison_html(compare_tokenizers(text, {"byte": ByteTokenizer(), "bpe": train_bpe(TEXT, 300)}))
    assert len(both.encode()) < 300_000 and "The picture shows the first" in both
    short = token_report_html(TEXT, ByteTokenizer())
    assert "The picture shows" not in short and short.count("<i ") == len(TEXT.encode())
    assert SHOWN_BYTES < 300_000


def test_a_comparison_shows_itself_in_a_notebook():
    comparison = compare_tokenizers(TEXT, {"byte": ByteTokenizer(), "bpe": train_bpe(TEXT, 300)})
    html = comparison._repr_html_()
    assert html == comparison_html(comparison) and "prefers-color-scheme" in html and "<script" not in html


@pytest.mark.browser
def test_a_browser_runs_nothing_that_a_text_holds(tmp_path):
    """The page in a real Chromium: no dialog, no script, no request, and the text is there to read."""
    from shutil import which

    api = pytest.importorskip("playwright.sync_api")
    chromium = which("chromium") or which("chromium-browser") or which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    text = "<script>document.title='broken'</script><img src=x onerror=alert(1)> 東京 \u202eabc"
    page_file = tmp_path / "page.html"
    assert command.main([text, "compare=byte", "tokenizer=byte", f"html={page_file}", "rows=0"]) == 0
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        events = []
        for scheme in ("light", "dark"):
            page = browser.new_page(color_scheme=scheme)
            page.on("dialog", lambda dialog: (events.append("dialog"), dialog.dismiss()))
            page.on("request", lambda request: events.append(request.url))
            page.goto(page_file.as_uri())
            assert set(events) == {page_file.as_uri()} and page.title() == "Tokens: byte"
            assert "onerror" in page.inner_text(".sb-tokens .t").replace("\u200b", "")
            colours = page.evaluate(
                "[...document.querySelectorAll('.sb-tokens i')].slice(0, 5).map(e => ["
                "getComputedStyle(e).color, getComputedStyle(e).backgroundColor])"
            )
            for ink, paper in colours:
                assert contrast(ink, paper) >= 4.5, f"{scheme}: {ink} on {paper} cannot be read (WCAG AA)"
        browser.close()


def contrast(*colours):
    """The contrast of two colours by WCAG 2.1: from 1 to 21."""

    def luminance(colour):
        red, green, blue = (int(value) / 255 for value in re.findall(r"\d+", colour)[:3])
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted(map(luminance, colours))
    return (light + 0.05) / (dark + 0.05)


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    train_bpe(TEXT, 300, special_tokens=["<|end|>"]).save(tmp_path / "bpe.json")
    return tmp_path / "bpe.json"


def test_the_command_prints_rows_numbers_and_prices(saved, tmp_path, capsys):
    (tmp_path / "p.yaml").write_text("currency: USD\nsmall: 1.5\n")
    words = ["text=the cat é<|end|>", f"tokenizer={saved}", f"prices={tmp_path / 'p.yaml'}", "special=all"]
    assert command.main([*words, f"json={tmp_path / 'n.json'}", f"html={tmp_path / 'p.html'}"]) == 0
    printed = capsys.readouterr().out
    assert "‹c3›" in printed and "(special)" in printed and "price, small" in printed and "USD" in printed
    numbers = json.loads((tmp_path / "n.json").read_text())
    tokens = len(load_tokenizer(saved).encode("the cat é<|end|>", "all"))
    assert numbers["statistics"][str(saved)]["tokens"] == tokens
    assert numbers["prices"][str(saved)]["small"] == pytest.approx(tokens * 1.5e-6)
    assert (tmp_path / "p.html").read_text().startswith("<!doctype html>")


def test_the_command_compares(saved, tmp_path, capsys):
    (tmp_path / "t.txt").write_text(TEXT)
    for compare in ("compare=byte", "compare=[byte]"):
        assert command.main([f"file={tmp_path / 't.txt'}", f"tokenizer={saved}", compare]) == 0
        printed = capsys.readouterr().out
        assert "│" in printed and "≠" in printed and "agreement" in printed


def test_words_may_be_given_as_they_are(saved, capsys):
    assert command.main([f"tokenizer={saved}", "--", "vocab_size=3 ${x}"]) == 0
    assert "{|x|}" in capsys.readouterr().out


def test_a_text_too_long_is_cut_and_said_so(capsys):
    assert command.main(["text=" + "a" * 50, "max_chars=20", "rows=2"]) == 0
    printed = capsys.readouterr().out
    assert "only the first 20" in printed and "20 bytes" in printed and "18 more" in printed


@pytest.mark.parametrize(
    "bad, word",
    [
        (["text=a", "file=b.txt"], "more than once"),
        (["file=nowhere.txt"], "nowhere.txt"),
        (["file=binary.bin"], "not UTF-8"),
        (["text="], "empty"),
        (["text=a", "tokenizer=nothing"], "nothing"),
        (["text=a", "compare=nothing"], "nothing"),
        (["text=a", "prices=nothing.yaml"], "nothing.yaml"),
        (["text=a", "max_chars=0"], "max_chars"),
        (["text=a", "special=some"], "special"),
        (["text=a", "colour=red"], "colour"),
    ],
)
def test_bad_input_ends_with_one_line(bad, word, tmp_path):
    (tmp_path / "binary.bin").write_bytes(bytes(range(256)))
    done = subprocess.run(
        [sys.executable, "-m", "working_with_text_data.inspect_tokens", *bad],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and word in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["binary.bin"]


def test_a_pipe_is_read_and_help_loads_nothing_heavy():
    run = [sys.executable, "-m", "working_with_text_data.inspect_tokens", "rows=1"]
    done = subprocess.run(run, input="piped in", capture_output=True, text=True)
    assert done.returncode == 0 and "p|i|p|e|d|·|i|n\n" in done.stdout, done.stderr
    code = (
        "import sys\n"
        "from working_with_text_data import inspect_tokens, tiktoken_adapter, huggingface_adapter\n"
        "try: inspect_tokens.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'tokenizers', 'numpy', 'tiktoken', 'regex', 'omegaconf', 'yaml'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
