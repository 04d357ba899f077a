"""What the sources of text must keep, as functions that raise AssertionError.

The laws call them on the real code, the mutations on code with a classic bug put back. Expectations come
from plain Python over the very bytes that were written, never from the code under test.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from utils.errors import UserError
from working_with_text_data import documents, huggingface_source, manifest, safe_archives, user_dataset

# --- LT10: a stream goes on where it stopped -----------------------------------------------------------


def stream_files(folder: Path, kind: str, rows: int = 120) -> list[Path]:
    """Three files of numbered texts (the WikiText form: articles of one to four lines), in one format."""
    texts = [f"text {i} " + "x" * (i % 7) for i in range(rows)]
    if kind == "wikitext":
        texts = []
        for i in range(rows // 3):
            texts += [f" = Title {i} = \n", *(f" line {j} of article {i}\n" for j in range(i % 4))]
        kind = "jsonl"
    paths, share = [], -(-len(texts) // 3)
    for number in range(3):
        path = folder / f"part{number}.{kind}"
        part = [{"text": t, "n": i} for i, t in enumerate(texts)][number * share : (number + 1) * share]
        if kind == "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in part))
        else:
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(pa.Table.from_pylist(part), path, row_group_size=7)
        paths.append(path)
    return paths


def open_stream(paths: list[Path], form: str = "text", **options) -> huggingface_source.HubSource:
    builder = "parquet" if paths[0].suffix == ".parquet" else "json"
    return huggingface_source.HubSource(builder, data_files=paths, form=form, **options)


def seen(documents) -> list[tuple[str, int]]:
    return [(d.text, d.index) for d in documents]


def check_stream_resumes(paths: list[Path], before: int, form: str = "text", **options) -> None:
    """A fresh source that is given the state hands out exactly what the first one still had."""
    first = open_stream(paths, form, **options)
    walk = iter(first)
    for _ in range(before):
        next(walk)
    state = json.loads(json.dumps(first.state_dict()))
    fresh = open_stream(paths, form, **options)
    fresh.load_state_dict(state)
    assert seen(fresh) == seen(walk), (
        f"after {before} documents the resumed stream goes on differently: the state must hold the row, the "
        "lines of a document that was begun, and how many documents are out"
    )


# --- LT11, the manifest --------------------------------------------------------------------------------


def check_manifest_sum(folder: Path) -> None:
    """One changed byte or one renamed file is another sum; order, time and place are not."""
    (folder / "one" / "sub").mkdir(parents=True)
    a, b, c = folder / "one" / "a.txt", folder / "one" / "sub" / "b.txt", folder / "one" / "c.bin"
    a.write_bytes(b"alpha"), b.write_bytes(b"beta"), c.write_bytes(bytes(range(256)))
    root = folder / "one"
    first = manifest.make_manifest([a, b, c], root=root).sha256
    for order in ([c, a, b], [b, c, a, a], [root]):
        assert manifest.make_manifest(order, root=root).sha256 == first, (
            "the order or the way of selecting files changed the sum: sort them and take each once"
        )
    os.utime(a, (1, 1))
    assert manifest.make_manifest(root).sha256 == first, "a file's time is not its content"
    a.write_bytes(b"alphb")
    assert manifest.make_manifest(root).sha256 != first, (
        "one byte changed, the size did not, and the sum is the same: hash the bytes, not size and time"
    )
    a.write_bytes(b"alpha")
    b.rename(b.with_name("renamed.txt"))
    assert manifest.make_manifest(root).sha256 != first, (
        "a renamed file must give another sum: hash paths too"
    )
    b.with_name("renamed.txt").rename(b)
    a.rename(folder / "x"), b.rename(a), (folder / "x").rename(b)
    assert manifest.make_manifest(root).sha256 != first, (
        "two files changed places and the sum is the same: hash each path with its own sum"
    )
    b.rename(folder / "x"), a.rename(b), (folder / "x").rename(a)
    root.rename(folder / "two")
    assert manifest.make_manifest(folder / "two").sha256 == first, "the place of the folder is not content"


def check_manifest_verifies(folder: Path) -> None:
    """`verify` names exactly what changed, is missing and is new."""
    root = folder / "data"
    root.mkdir()
    for name in ("kept", "changed", "gone"):
        (root / f"{name}.txt").write_text(f"{name}!")
    made = manifest.make_manifest(root)
    made.save(root / "manifest.json")
    assert manifest.verify(root / "manifest.json").ok, (
        "nothing changed (the manifest itself is not a new file)"
    )
    (root / "changed.txt").write_text("changed?")  # as long as before
    (root / "gone.txt").unlink()
    (root / "new.txt").write_text("")
    found = manifest.verify(root / "manifest.json")
    assert found.changed == ["changed.txt"], f"one file changed by a byte, but changed is {found.changed}"
    assert found.missing == ["gone.txt"], f"gone.txt is missing, but missing is {found.missing}"
    assert found.new == ["new.txt"], f"new.txt is new, but new is {found.new}"


# --- LS5: names and archives from strangers ------------------------------------------------------------

HOSTILE_NAMES = (
    "../x", "a/../../x", "/etc/x", "//x", "..", ".", "", " ", "a\\..\\..\\x", "C:\\x", "c:x", "a\x00.txt", "a\n.txt",
    "CON", "nul.txt", "a/aux.md", "x.", "x ", "a/./../../x", "x" * 300, "a/" * 600 + "x", "\ud800",
)  # fmt: skip


def check_names_stay_inside(folder: Path) -> None:
    """A hostile name is refused; a good one ends below its folder, by the operating system's own account."""
    root = folder / "up"
    root.mkdir()
    for name in (*HOSTILE_NAMES, f"../{root.name}-evil/x", f"../{root.name}x"):
        try:
            target = safe_archives.target_in(root, name)
        except UserError:
            continue
        raise AssertionError(
            f"the name {name!r} was taken, as {target}: compare whole parts of paths, since "
            "'/data/up-evil' begins with '/data/up', and refuse what climbs before it is joined"
        )
    (root / "leads").symlink_to(folder)
    try:
        target = safe_archives.target_in(root, "leads/x")
    except UserError:
        pass
    else:
        raise AssertionError(
            f"a link within the folder leads out of it, and {target} was taken: resolve links first"
        )
    for name in ("a.txt", "a/b/c.jsonl", "…/ü.txt", "..a", "a..b"):
        target = safe_archives.target_in(root, name)
        assert os.path.commonpath([root, os.path.normpath(target)]) == str(root), f"{name!r} became {target}"


def zip_of(*members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as bundle:
        for name, data in members:
            bundle.writestr(name, data)
    return out.getvalue()


def zip_entry(name: str, kind: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = (kind | 0o777) << 16
    return entry


def tar_of(*members: tuple[str, bytes | dict], mode: str = "w:gz") -> bytes:
    """Members with bytes are files; with a dict, its keys are attributes of the entry (type, linkname)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as bundle:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            if isinstance(content, dict):
                for key, value in content.items():
                    setattr(entry, key, value)
                bundle.addfile(entry)
            else:
                entry.size = len(content)
                bundle.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def half_random(size: int) -> bytes:
    """Bytes that pack about eight to one: neither a bomb nor larger than the limit while packed."""
    return b"".join(os.urandom(2**13) + bytes(7 * 2**13) for _ in range(size // 2**16))


SMALL = safe_archives.Limits(max_bytes=20 * 2**20, max_files=50, max_ratio=100)


def attacks(outside: Path) -> dict[str, Callable[[], bytes]]:
    """Archives that must be refused, by what is wrong with them. `outside` must stay as it is."""
    good = ("good.txt", b"text")
    link = {"type": tarfile.SYMTYPE, "linkname": str(outside)}
    hard = {"type": tarfile.LNKTYPE, "linkname": "../outside/secret"}

    def encrypted() -> bytes:
        data = bytearray(zip_of(good))
        data[data.rindex(b"PK\x01\x02") + 8] |= 1
        return bytes(data)

    return {
        "zip: climbs": lambda: zip_of(good, ("../outside/evil", b"x")),
        "zip: absolute": lambda: zip_of(good, (f"{outside}/evil", b"x")),
        "zip: windows path": lambda: zip_of(good, (zip_entry("..\\outside\\evil", stat.S_IFREG), b"x")),
        "zip: link": lambda: zip_of(
            (zip_entry("way", stat.S_IFLNK), str(outside).encode()), ("way/evil", b"x")
        ),
        "zip: device": lambda: zip_of((zip_entry("dev", stat.S_IFCHR), b"")),
        "zip: climbing folder": lambda: zip_of(good, ("../outside/sub/", b"")),
        "zip: one name twice": lambda: zip_of(("a.txt", b"1"), ("A.TXT", b"2")),
        "zip: file and folder": lambda: zip_of(("a", b"1"), ("a/b", b"2")),
        "zip: too many files": lambda: zip_of(*((f"{i}.txt", b"x") for i in range(51))),
        "zip: bomb by ratio": lambda: zip_of(("zeros.txt", b"0" * (15 * 2**20))),
        "zip: too much in all": lambda: zip_of(*((f"{i}.txt", half_random(2**21)) for i in range(11))),
        "zip: zip within": lambda: zip_of(good, ("inner.zip", zip_of(good))),
        "zip: zip within, renamed": lambda: zip_of(good, ("inner.txt", zip_of(good))),
        "zip: password": encrypted,
        "zip: cut short": lambda: zip_of(("a.txt", os.urandom(5000)))[:-900],
        "zip: nothing in it": lambda: zip_of(),
        "tar: climbs": lambda: tar_of(good, ("../outside/evil", b"x")),
        "tar: absolute": lambda: tar_of(good, (f"{outside}/evil", b"x")),
        "tar: link, then through it": lambda: tar_of(("way", link), ("way/evil", b"x")),
        "tar: hard link": lambda: tar_of(("way", hard)),
        "tar: pipe": lambda: tar_of(("way", {"type": tarfile.FIFOTYPE})),
        "tar: device": lambda: tar_of(("way", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5})),
        "tar: bomb by ratio": lambda: tar_of(("zeros.txt", b"0" * (15 * 2**20))),
        "tar: too much in all": lambda: tar_of(*((f"{i}.txt", half_random(2**21)) for i in range(11))),
        "tar: tar within": lambda: tar_of(good, ("inner.bin", tar_of(good, mode="w"))),
        "tar: cut short": lambda: tar_of(("a.txt", os.urandom(50000)))[:-9000],
        "no archive": lambda: b"this is only text, not an archive" * 40,
        "nothing": lambda: b"",
    }


REASONS = {
    "zip: climbs": "leads out",
    "zip: absolute": "absolute",
    "zip: windows path": "backslash",
    "zip: link": "link or device",
    "zip: device": "link or device",
    "zip: climbing folder": "leads out",
    "zip: one name twice": "one name on some",
    "zip: file and folder": "twice",
    "zip: too many files": "more than 50 files",
    "zip: bomb by ratio": "times its packed size",
    "zip: too much in all": "more than 20,971,520 bytes",
    "zip: zip within": "within an archive",
    "zip: zip within, renamed": "within an archive",
    "zip: password": "password",
    "zip: cut short": "damaged",
    "zip: nothing in it": "no file",
    "tar: climbs": "leads out",
    "tar: absolute": "absolute",
    "tar: link, then through it": "link, device",
    "tar: hard link": "link, device",
    "tar: pipe": "link, device",
    "tar: device": "link, device",
    "tar: bomb by ratio": "times its packed size",
    "tar: too much in all": "more than 20,971,520 bytes",
    "tar: tar within": "within an archive",
    "tar: cut short": "damaged",
    "no archive": "damaged",
    "nothing": "damaged",
}


def check_archive_refused(folder: Path, name: str) -> None:
    """The archive is refused with one line, the target is not there, and nothing outside was touched."""
    outside = folder / "outside"
    outside.mkdir()
    (outside / "secret").write_text("kept")
    archive = attacks(outside)[name]()
    before = sorted(str(p) for p in folder.rglob("*"))
    refused = False
    try:
        safe_archives.safe_extract(archive, folder / "in" / "up", SMALL)
    except UserError as error:
        assert "\n" not in str(error), f"{name}: an error is one line"
        assert REASONS[name] in str(error), f"{name}: refused for another reason: {error}"
        refused = True
    except Exception as error:
        raise AssertionError(f"{name}: ended in {error!r}, which no person can act on") from error
    target = str(folder / "in")
    after = sorted(str(p) for p in folder.rglob("*"))
    outside_now = [p for p in after if p != target and not p.startswith(f"{target}/up")]
    assert outside_now == before, (
        f"{name}: written outside, or left: {sorted(set(outside_now) ^ set(before))}"
    )
    assert (outside / "secret").read_text() == "kept", f"{name}: a file outside was changed"
    assert refused, f"{name}: the archive was unpacked; it must be refused as a whole"
    assert f"{target}/up" not in after, f"{name}: refused, but half of it was left behind"


def check_gzip_is_bounded_by_what_comes_out(folder: Path) -> None:
    """The size at the end of a gzip file is that of its last member: only counting bytes tells the truth."""
    path = folder / "bomb.jsonl.gz"
    line = json.dumps({"text": "0" * 50_000}).encode() + b"\n"
    path.write_bytes(gzip.compress(line * 100) + gzip.compress(b'{"text": "small"}\n'))
    for read in (
        lambda: documents.load_documents(path, max_bytes=1_000_000),
        lambda: user_dataset.validate_dataset(path, max_bytes=1_000_000).raise_if_bad(),
    ):
        try:
            read()
        except UserError as error:
            assert "1,000,000" in str(error), f"the limit must be named: {error}"
        else:
            raise AssertionError(
                "five megabytes came out of a file that may hold one: count what is unpacked, a header or trailer lies"
            )


# --- nothing is lost in silence ------------------------------------------------------------------------


def check_nothing_is_lost(folder: Path) -> None:
    """Every line is a document, empty, or counted as skipped; the good ones come out as they are."""
    good = [f"text {i}\nsecond line" for i in range(40)]
    lines: list[bytes] = [json.dumps({"text": t}).encode() for t in good]
    bad = (
        b'{"text": ',
        b"[1]",
        b'{"body": "x"}',
        b'{"text": 5}',
        b'{"text": "\\ud800"}',
        b'{"text": "' + b"y" * 5000,
    )
    for place, line in zip((0, 7, 13, 21, 30, 46), bad, strict=True):
        lines.insert(place, line)
    lines.insert(5, b'{"text": "  "}')
    path = folder / "mixed.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    problems = documents.Problems()
    found = documents.load_documents(path, on_bad_line="skip", problems=problems, max_line_bytes=4000)
    assert [d.text for d in found] == good, "the good lines must come out unchanged and in order"
    assert problems.counts["skipped"] == len(bad), (
        f"{len(bad)} lines cannot be used, but {problems.counts['skipped']} were counted as skipped"
    )
    assert problems.counts["empty"] == 1, "a document of white space is left out and counted"
    total = len(found) + problems.counts["skipped"] + problems.counts["empty"]
    assert total == len(lines), f"{len(lines)} lines came in, {total} are accounted for"
    numbers = [number for number, line in enumerate(lines, start=1) if line in bad]
    for number, place in zip(numbers, problems.places, strict=True):
        assert f"line {number}:" in place, f"line {number} is bad, but the list says {place}"
    with pytest.warns(UserWarning, match="6 skipped"):
        documents.load_documents(path, on_bad_line="skip", max_line_bytes=4000)


def check_links_do_not_lead_out(folder: Path) -> None:
    """A folder is read as far as it goes: links out of it, to files or folders, are counted and left."""
    inside, outside = folder / "mine", folder / "other"
    inside.mkdir(), outside.mkdir()
    (inside / "a.txt").write_text("mine")
    (outside / "secret.txt").write_text("secret")
    (inside / "b.txt").symlink_to(outside / "secret.txt")
    (inside / "c").symlink_to(outside)
    (inside / "d.txt").symlink_to(inside / "a.txt")
    (inside / "e.txt").symlink_to(inside / "not there")
    problems = documents.Problems()
    texts = [d.text for d in documents.load_documents(inside, problems=problems)]
    assert texts == ["mine", "mine"], f"a link leads out of the folder and was followed: {texts}"
    assert problems.counts["links"] == 2, (
        f"two linked files were left out, {problems.counts['links']} counted"
    )


def check_replaced_bytes_are_counted(folder: Path, data: bytes) -> None:
    """With errors="replace" the text is what Python's own decoder gives, and each U+FFFD it made is counted."""
    path = folder / "bytes.txt"
    path.write_bytes(b"text: " + data)
    problems = documents.Problems()
    found = documents.load_documents(path, errors="replace", problems=problems)
    expected = (b"text: " + data).decode("utf-8", "replace")
    assert found[0].text == expected.replace("\0", "\ufffd"), "replacing must change nothing else"
    made = expected.count("\ufffd") - data.count("\ufffd".encode()) + data.count(b"\0")
    assert problems.counts["replaced"] == made, (
        f"{made} places were replaced, but {problems.counts['replaced']} were counted"
    )


def check_sanitising_keeps_newlines(text: str) -> None:
    """Control characters go, line ends become one kind, everything else (and each line) stays."""
    clean, removed, ends = user_dataset.sanitise(text)
    unified = text.replace("\r\n", "\n").replace("\r", "\n")
    expected = "".join(c for c in unified if c in "\n\t" or unicodedata.category(c) != "Cc")
    assert clean == expected, (
        f"{text!r} became {clean!r}: a text keeps its newlines and tabs, and loses only control characters"
    )
    assert removed == len(unified) - len(expected), f"{removed} removed characters were counted, not all"
    assert ends == text.count("\r"), f"{ends} changed line ends were counted, not {text.count(chr(13))}"
