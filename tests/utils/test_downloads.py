"""Downloads against a real local server that cuts the line, ignores Range, sends wrong bytes or none."""

import errno
import os
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from utils import downloads
from utils.downloads import data_root, fetch
from utils.errors import RunFailure, UserError
from utils.files import sha256_bytes

DATA = bytes(range(256)) * 2000  # 512,000 bytes: more than one block
SUM = sha256_bytes(DATA)


class Server:
    """Serves DATA at every path, with the faults that the path asks for; remembers each request's Range."""

    def __init__(self):
        self.requests: list[tuple[str, str | None]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format, *args):
                """Keep the test output quiet."""

            def do_GET(self):
                outer.requests.append((self.path, self.headers.get("Range")))
                outer.answer(self)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def url(self, path):
        return f"http://127.0.0.1:{self.server.server_port}/{path}"

    def count(self, path):
        return sum(asked == f"/{path}" for asked, _ in self.requests)

    def answer(self, handler):
        path = handler.path.strip("/")
        number = self.count(path)
        asked = handler.headers.get("Range")
        start = int(re.fullmatch(r"bytes=(\d+)-", asked).group(1)) if asked else 0
        data = DATA
        if path == "missing":
            return handler.send_error(404)
        if path == "busy-twice" and number <= 2:
            return handler.send_error(503)
        if path == "always-busy":
            return handler.send_error(503)
        if path == "wrong":
            data = b"\xff" + DATA[1:]
        if path == "too-long":
            data = DATA + b"extra"
        if path.startswith("no-range"):
            start = 0
        if start >= len(data):
            return handler.send_error(416)
        claimed = start + 1 if path == "lying-range" and start else start
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {claimed}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        body = data[start:]
        if path == "cut-often" and len(body) > 100_000:
            body = body[:100_000]
        if path in ("cut-once", "no-range", "lying-range") and number == 1:
            body = body[:200_000]
        if path == "cut-at-once":
            body = b""
        handler.wfile.write(body)
        return None

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture(scope="module")
def running_server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def server(running_server):
    running_server.requests.clear()
    return running_server


@pytest.fixture
def get(server, tmp_path):
    def get(*paths, name="corpus/book.txt", sha256=SUM, **options):
        urls = [p if "://" in p else server.url(p) for p in paths]
        return fetch(name, urls, sha256, root=tmp_path, **{"pause": 0.001, "timeout": 5, **options})

    return get


def names(folder):
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def test_a_file_is_fetched_once_and_then_only_checked(server, get, tmp_path):
    path = get("good")
    assert path == tmp_path / "corpus" / "book.txt" and path.read_bytes() == DATA
    assert get("good") == path and server.count("good") == 1
    assert get("http://127.0.0.1:9/unreachable") == path, "what is there needs no network"
    assert names(tmp_path) == ["book.txt"]


def test_progress_is_reported_with_the_total(get):
    seen = []
    get("good", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(DATA), len(DATA))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_cut_line_goes_on_where_it_stopped(server, get):
    assert get("cut-once").read_bytes() == DATA
    assert server.requests == [("/cut-once", None), ("/cut-once", "bytes=200000-")]


def test_a_line_that_is_cut_often_but_brings_something_is_not_given_up(server, get):
    assert get("cut-often", retries=2).read_bytes() == DATA
    assert server.count("cut-often") == 6


def test_a_line_that_brings_nothing_is_given_up(server, get, tmp_path):
    with pytest.raises(RunFailure, match="the line was cut after 0 of 512000 bytes"):
        get("cut-at-once", retries=3)
    assert server.count("cut-at-once") == 3
    assert not (tmp_path / "corpus" / "book.txt").exists()


def test_a_server_that_ignores_range_sends_it_all_again(server, get):
    assert get("no-range").read_bytes() == DATA
    assert server.requests[1] == ("/no-range", "bytes=200000-")


def test_a_longer_part_leaves_no_tail_when_it_is_all_sent_again(server, get, tmp_path):
    part = tmp_path / "corpus" / "book.txt.part"
    part.parent.mkdir()
    part.write_bytes(DATA + b"tail")
    assert get("no-range-whole").read_bytes() == DATA
    assert server.count("no-range-whole") == 1


def test_a_server_that_lies_about_the_range_is_asked_from_the_start(server, get):
    assert get("lying-range").read_bytes() == DATA
    assert [r for _, r in server.requests] == [None, "bytes=200000-", None]


def test_a_part_from_an_earlier_day_is_taken_up(server, get, tmp_path):
    part = tmp_path / "corpus" / "book.txt.part"
    part.parent.mkdir()
    part.write_bytes(DATA[:300_000])
    assert get("good").read_bytes() == DATA
    assert server.requests == [("/good", "bytes=300000-")]
    assert names(tmp_path) == ["book.txt"]


def test_a_complete_part_needs_only_its_check(server, get, tmp_path):
    part = tmp_path / "corpus" / "book.txt.part"
    part.parent.mkdir()
    part.write_bytes(DATA)
    assert get("good").read_bytes() == DATA, "without a size the server says that nothing follows (416)"
    part.parent.joinpath("book.txt").unlink()
    part.write_bytes(DATA)
    server.requests.clear()
    assert get("good", size=len(DATA)).read_bytes() == DATA
    assert server.requests == []


@pytest.mark.parametrize("size", [None, len(DATA)])
@pytest.mark.parametrize("length", [1, 1000, len(DATA), len(DATA) + 5])
def test_a_part_with_foreign_bytes_is_thrown_away_and_fetched_afresh(server, get, tmp_path, length, size):
    part = tmp_path / "corpus" / "book.txt.part"
    part.parent.mkdir()
    part.write_bytes(b"\x07" * length)
    assert get("good", size=size).read_bytes() == DATA
    assert names(tmp_path) == ["book.txt"]


def test_wrong_bytes_never_arrive_and_the_mirror_is_asked(server, get, tmp_path):
    assert get("wrong", "good").read_bytes() == DATA
    assert (server.count("wrong"), server.count("good")) == (1, 1), (
        "asking again would give the same wrong bytes"
    )
    with pytest.raises(RunFailure, match="wrong bytes: the sha256 differs"):
        get("wrong", name="other.txt")
    assert names(tmp_path) == ["book.txt"], "neither the wrong file nor its part stays"


def test_more_bytes_than_expected_are_not_stored(get, tmp_path):
    with pytest.raises(RunFailure, match="more than the expected 512000 bytes"):
        get("too-long", size=len(DATA))
    assert all(p.stat().st_size == 0 for p in tmp_path.rglob("*") if p.is_file())


def test_a_404_goes_to_the_next_mirror_at_once(server, get):
    assert get("missing", "good").read_bytes() == DATA
    assert server.count("missing") == 1


def test_a_busy_server_is_asked_again_and_then_given_up(server, get):
    assert get("busy-twice").read_bytes() == DATA
    assert server.count("busy-twice") == 3
    with pytest.raises(RunFailure, match="HTTP 503"):
        get("always-busy", name="other.txt", retries=2)
    assert server.count("always-busy") == 2


def test_without_a_network_the_error_says_what_to_put_where(get, tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/book.txt"
        with pytest.raises(RunFailure) as caught:
            get(nobody, "http://no-such-host.invalid/book.txt", retries=1)
    message = str(caught.value)
    for part in (
        "corpus/book.txt",
        nobody,
        "no-such-host.invalid",
        str(tmp_path / "corpus"),
        SUM,
        "SCRATCHBOOK_DATA",
    ):
        assert part in message
    assert "\n" not in message and caught.value.exit_code == 1


def test_a_file_put_in_place_by_hand_is_used_if_it_is_the_right_one(server, get, tmp_path):
    path = tmp_path / "corpus" / "book.txt"
    path.parent.mkdir()
    path.write_bytes(DATA)
    assert get("missing") == path and server.requests == []
    path.write_bytes(b"my own notes")
    with pytest.raises(UserError, match="is there but is not the expected file"):
        get("good")
    assert path.read_bytes() == b"my own notes", "it may be the person's own: it stays"


def test_scratchbook_data_decides_where_files_lie(server, tmp_path, monkeypatch):
    monkeypatch.delenv("SCRATCHBOOK_DATA", raising=False)
    assert str(data_root()) == "data"
    monkeypatch.setenv("SCRATCHBOOK_DATA", str(tmp_path / "elsewhere"))
    assert fetch("x.bin", server.url("good"), SUM.upper()) == tmp_path / "elsewhere" / "x.bin"


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "", ".", "a\\..\\x"])
def test_a_name_cannot_leave_the_data_folder(get, name):
    with pytest.raises(UserError, match="not a file name within the data folder"):
        get("good", name=name)


@pytest.mark.parametrize("address", ["file:///etc/hostname", "ftp://x/y", "nonsense"])
def test_only_http_addresses_are_opened(tmp_path, address):
    with pytest.raises(RunFailure, match="not an http address"):
        fetch("x", address, SUM, root=tmp_path)


def test_no_address_at_all_still_says_where_to_put_the_file(tmp_path):
    with pytest.raises(RunFailure, match="no address is known"):
        fetch("x", [], SUM, root=tmp_path)


def test_a_full_disk_is_not_mistaken_for_the_network(server, get, tmp_path, monkeypatch):
    real = open

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def full_open(path, mode="r", *args, **kwargs):
        file = real(path, mode, *args, **kwargs)
        return Full(file) if str(path).endswith(".part") and mode in ("wb", "r+b") else file

    monkeypatch.setattr(downloads, "open", full_open, raising=False)
    with pytest.raises(OSError) as caught:
        get("good")
    assert caught.value.errno == errno.ENOSPC and server.count("good") == 1
    assert not (tmp_path / "corpus" / "book.txt").exists()
