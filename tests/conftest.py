"""Shared fixtures. Set before any import: no library may look for a network."""

import os
import signal
from pathlib import Path

# A shell starts what it puts in the background with Ctrl-C ignored, and children inherit that: the tests that press
# it would wait for nothing (`make test &`, nohup, some CI runners).
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
from browser_pages import browser, open_page  # noqa: F401  (fixtures)

ROOT = Path(__file__).resolve().parents[1]
# Chainlit looks once, when it is imported, for the folder it may write into.
os.environ.setdefault("CHAINLIT_APP_ROOT", str(ROOT / "chat_ui"))


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The root of the checkout under test."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data kept beside the project (see its README), or a skip that says so."""
    folder = Path(os.environ.get("SCRATCHBOOK_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"real test data not found at {folder}: set SCRATCHBOOK_SHARED to its parent")
    return folder


@pytest.fixture(autouse=True)
def one_thread_and_own_rng():
    """One thread keeps sums in one order and leaves the other core to the rest of the suite."""
    import sys

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    yield


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--fail-on-skipped-laws`: what CI asks for, because a skipped law proves nothing."""
    parser.addoption("--fail-on-skipped-laws", action="store_true", default=False)


_skipped_laws: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember every skipped law, except those that only lack the optional real data."""
    guarded = "tests/laws/" in report.nodeid or "tests/mutations/" in report.nodeid
    if guarded and report.skipped and "real test data not found" not in str(report.longrepr):
        _skipped_laws.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Turn a skipped law into a failed run where that was asked for."""
    if session.config.getoption("--fail-on-skipped-laws") and _skipped_laws:
        print(f"\n{len(_skipped_laws)} law(s) were skipped, so they were not checked: {_skipped_laws}")
        session.exitstatus = 1
