"""The harness measures in turn and writes results that can be repeated; figures become text."""

import base64
import gc
import json
import mmap
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

import pytest

from utils import timing
from utils.errors import UserError
from utils.plotting import PALETTE, figure_to_data_uri, figure_to_svg, style, use_style
from utils.timing import MemorySampler, Timer, compare, peak_memory_bytes, write_result


def test_candidates_run_in_turn_after_the_warmup():
    calls = []
    compare({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3, warmup=2)
    assert "".join(calls) == "ab" * 5


def test_figures_are_medians_with_their_spread_and_ratios_within_rounds(monkeypatch):
    # A clock that advances by what the candidate says; the later rounds are slow, as on a busy machine.
    clock = {"now": 0.0}
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock["now"])
    a, b = iter([9, 1, 10, 4]), iter([9, 0.5, 5, 4])

    def advance(times):
        clock["now"] += next(times)

    result = compare({"a": lambda: advance(a), "b": lambda: advance(b)}, rounds=3, warmup=1)
    figures = result["candidates"]
    assert (result["baseline"], result["rounds"], result["warmup"]) == ("a", 3, 1)
    assert figures["a"]["seconds"] == [1, 10, 4] and figures["a"]["median_s"] == 4
    assert (figures["a"]["min_s"], figures["a"]["max_s"], figures["a"]["speedup"]) == (1, 10, 1)
    assert (figures["b"]["speedup"], figures["b"]["speedup_min"], figures["b"]["speedup_max"]) == (2, 1, 2)
    assert json.loads(json.dumps(result)) == result


def test_the_collector_rests_while_a_candidate_runs_and_comes_back_after_an_error():
    seen = []
    compare({"a": lambda: seen.append(gc.isenabled())}, rounds=1, warmup=0)
    assert seen == [False] and gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        compare({"a": lambda: 1 / 0})
    assert gc.isenabled()


@pytest.mark.parametrize(("candidates", "rounds"), [({}, 5), ({"a": int}, 0)])
def test_nothing_to_compare_is_an_error(candidates, rounds):
    with pytest.raises(UserError, match="compare needs"):
        compare(candidates, rounds=rounds)


def test_a_timer_reads_inside_and_after_its_block():
    timer = Timer()
    assert timer.seconds == 0.0
    with timer:
        time.sleep(0.01)
        inside = timer.seconds
    after = timer.seconds
    time.sleep(0.01)
    assert 0.01 <= inside <= after == timer.seconds


def test_a_result_says_where_its_numbers_come_from(tmp_path):
    path = write_result(
        tmp_path / "results" / "speed.json",
        name="speed",
        figures={"speedup": 1.5},
        command="python -m x",
        seed=3,
        notes="quiet machine",
    )
    result = json.loads(path.read_text())
    assert (
        result["figures"] == {"speedup": 1.5} and result["seed"] == 3 and result["notes"] == "quiet machine"
    )
    assert {"name", "command", "hardware", "versions", "git_sha", "git_dirty", "date"} <= set(result)
    assert result["hardware"]["cpu"] and result["versions"]["python"]
    for missing in ("name", "command", "figures"):
        good = {"name": "speed", "figures": {"x": 1}, "command": "c"}
        with pytest.raises(UserError, match=f"needs its {missing}"):
            write_result(tmp_path / "y.json", **{**good, missing: type(good[missing])()})


def test_memory_that_was_held_is_seen_by_both_meters():
    size = 64 << 20
    with MemorySampler(interval=0.002) as sampler:
        # Asked of the system itself: the allocator may hold freed memory that it would hand out again.
        with mmap.mmap(-1, size) as block:
            for page in range(0, size, mmap.PAGESIZE):
                block[page] = 1  # touch it, or it is not there
            time.sleep(0.05)
    assert sampler.grown_bytes >= 0.9 * size
    assert sampler.start_bytes < sampler.peak_bytes <= peak_memory_bytes() * 1.05


def test_a_small_child_does_not_report_its_parent_s_peak():
    code = (
        "import subprocess, sys\n"
        "block = bytearray(200 << 20)\n"
        "block[::4096] = b'x' * len(block[::4096])\n"
        "child = 'from utils.timing import peak_memory_bytes; print(peak_memory_bytes())'\n"
        "print(int(subprocess.check_output([sys.executable, '-c', child])))\n"
    )
    peak = int(subprocess.check_output([sys.executable, "-c", code]))
    if sys.platform == "linux":
        assert peak < 150 << 20
    assert peak > 1 << 20


@pytest.fixture
def figure():
    from matplotlib.figure import Figure

    with style():
        fig = Figure()
        axes = fig.subplots()
        axes.plot([1, 2, 3], [3, 1, 2], label="loss")
        axes.set_title("Loss <by> step")
        axes.legend()
    return fig


def test_an_svg_is_one_element_with_text_that_can_be_read(figure):
    text = figure_to_svg(figure)
    assert text.startswith("<svg") and text.endswith("</svg>\n")
    root = ElementTree.fromstring(text)
    assert "Loss <by> step" in "".join(root.itertext())
    addresses = set(re.findall(r'(?:href|src)="(http[^"]*)"', text))
    assert not addresses, "a figure loads nothing from elsewhere"


def test_the_same_figure_gives_the_same_bytes(figure):
    assert figure_to_svg(figure) == figure_to_svg(figure)
    assert figure_to_data_uri(figure) == figure_to_data_uri(figure)


def test_data_uris_hold_what_they_name(figure):
    png = figure_to_data_uri(figure)
    assert png.startswith("data:image/png;base64,")
    assert base64.b64decode(png.partition(",")[2]).startswith(b"\x89PNG\r\n")
    svg = figure_to_data_uri(figure, "svg")
    assert base64.b64decode(svg.partition(",")[2]).decode() == figure_to_svg(figure)
    with pytest.raises(UserError, match="'png' or 'svg'"):
        figure_to_data_uri(figure, "gif")  # type: ignore[arg-type]


def test_the_style_lasts_for_its_block_only():
    import matplotlib

    before = matplotlib.rcParams["axes.spines.top"]
    with style():
        assert matplotlib.rcParams["figure.dpi"] == 80
        assert not matplotlib.rcParams["axes.spines.top"] and not matplotlib.rcParams["axes.spines.right"]
    assert matplotlib.rcParams["axes.spines.top"] == before
    with matplotlib.rc_context():
        use_style()
        assert matplotlib.rcParams["figure.dpi"] == 80


def test_every_colour_shows_on_white_paper():
    """Contrast with white by WCAG 2.1's relative luminance: a line needs less than text, but not nothing."""

    def luminance(colour):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    assert len(set(PALETTE)) == len(PALETTE)
    values = [luminance(c) for c in PALETTE]
    assert all(1.05 / (v + 0.05) >= 2 for v in values)
