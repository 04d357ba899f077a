"""Shards: the bytes on disk as documented, and every way in which a file can be wrong refused in one line."""

import json
import struct

import numpy as np
import pytest
from data_checks import SHA

from utils.errors import UserError
from working_with_text_data import shards as shards_module
from working_with_text_data.shards import (
    HEADER,
    Progress,
    ShardWriter,
    TokenArray,
    open_shard,
    open_shards,
    write_shards,
)

OTHER_SHA = "a1" * 32


def write(folder, documents=((1, 2, 3), (4, 5), (6, 7, 8, 9)), vocab_size=300, shard_tokens=4, **options):
    return write_shards(
        folder,
        "train",
        documents,
        tokenizer_sha256=SHA,
        vocab_size=vocab_size,
        shard_tokens=shard_tokens,
        **options,
    )


class TestFormat:
    @pytest.mark.parametrize(
        ("vocab_size", "width", "code"), [(300, 2, "H"), (65_536, 2, "H"), (65_537, 4, "I")]
    )
    def test_the_bytes_are_a_header_of_64_and_little_endian_ids(self, tmp_path, vocab_size, width, code):
        write(tmp_path, vocab_size=vocab_size)
        raw = (tmp_path / "train_001.bin").read_bytes()
        # Read by hand, with nothing of the module: this is what another program would do.
        assert raw[:8] == b"SBTOKENS"
        assert struct.unpack_from("<HHIQ", raw, 8) == (1, width, vocab_size, 4)
        assert raw[24:56].hex() == SHA and raw[56:64] == bytes(8)
        assert struct.unpack_from(f"<4{code}", raw, 64) == (5, 6, 7, 8)
        assert len(raw) == 64 + 4 * width

    def test_meta_names_what_belongs_together(self, tmp_path):
        write(tmp_path, extra={"text_bytes": 77})
        meta = json.loads((tmp_path / "meta.json").read_text())
        assert (meta["format"], meta["version"], meta["dtype"]) == ("SBTOKENS", 1, "uint16")
        assert (meta["tokenizer_sha256"], meta["vocab_size"]) == (SHA, 300)
        train = meta["splits"]["train"]
        assert (train["tokens"], train["documents"], train["text_bytes"]) == (9, 3, 77)
        assert [s["file"] for s in train["shards"]] == ["train_000.bin", "train_001.bin", "train_002.bin"]

    def test_a_shorter_set_replaces_a_longer_one_and_other_splits_stay(self, tmp_path):
        write(tmp_path)
        write_shards(tmp_path, "val", [[1]], tokenizer_sha256=SHA, vocab_size=300)
        write(tmp_path, documents=[[42]])
        assert sorted(p.name for p in tmp_path.iterdir()) == ["meta.json", "train_000.bin", "val_000.bin"]
        assert open_shards(tmp_path, "train")[:].tolist() == [42]
        assert open_shards(tmp_path, "val")[:].tolist() == [1]

    def test_a_set_of_another_tokenizer_takes_the_old_ones_with_it(self, tmp_path):
        write(tmp_path)
        write_shards(tmp_path, "val", [[1]], tokenizer_sha256=OTHER_SHA, vocab_size=300)
        with pytest.raises(UserError, match="no split named 'train': it has val"):
            open_shards(tmp_path, "train")

    def test_no_ids_are_an_empty_array(self, tmp_path):
        assert len(write(tmp_path, documents=[])) == 0
        assert open_shards(tmp_path, "train")[0:5].tolist() == []

    def test_a_slice_within_a_shard_is_not_copied(self, tmp_path):
        array = write(tmp_path, shard_tokens=100)
        assert np.shares_memory(array[2:5], array.shards[0])
        with pytest.raises((ValueError, RuntimeError)):
            array[0:2][0] = 1

    def test_indexing_has_the_rules_of_a_list(self, tmp_path):
        array, ids = write(tmp_path), list(range(1, 10))
        for key in (0, 3, 4, 8, -1, -9):
            assert array[key] == ids[key] and isinstance(array[key], int)
        for key in (slice(-3, None), slice(None, -7), slice(5, 2), slice(3, 1000), slice(None)):
            assert array[key].tolist() == ids[key]
        for key in (9, -10):
            with pytest.raises(IndexError, match="outside of 9 tokens"):
                array[key]
        with pytest.raises(UserError, match="only step 1"):
            array[::2]
        assert np.asarray(array).tolist() == ids and array.nbytes == 18
        assert len(TokenArray([])) == 0


class TestBadInput:
    @pytest.mark.parametrize(
        ("damage", "says"),
        [
            (lambda raw: b"", "0 bytes, less than a shard's header"),
            (lambda raw: raw[:40], "40 bytes, less than a shard's header"),
            (lambda raw: raw[: len(raw) // 2 + 30], "the file was cut or grew"),
            (lambda raw: raw[:-1], "the file was cut or grew"),
            (lambda raw: raw + b"\0\0", "the file was cut or grew"),
            (lambda raw: b"NOTOKENS" + raw[8:], "not a token shard"),
            (lambda raw: raw[:8] + struct.pack("<H", 9) + raw[10:], "shard version 9, this program reads 1"),
            (lambda raw: raw[:10] + struct.pack("<H", 4) + raw[12:], "4 bytes an id for a vocabulary of 300"),
            (lambda raw: raw[:10] + struct.pack("<H", 3) + raw[12:], "3 bytes an id"),
            (
                lambda raw: raw[:12] + struct.pack("<I", 10**6) + raw[16:],
                "2 bytes an id for a vocabulary of 1,000,000",
            ),
            (lambda raw: raw[:16] + struct.pack("<Q", 3) + raw[24:], "the file was cut or grew"),
            (lambda raw: raw[:24] + bytes.fromhex(OTHER_SHA) + raw[56:], "made by another tokenizer"),
        ],
    )
    def test_a_damaged_shard_is_refused_with_one_line(self, tmp_path, damage, says):
        write(tmp_path)
        path = tmp_path / "train_001.bin"
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(UserError) as error:
            open_shards(tmp_path, "train", tokenizer_sha256=SHA)
        assert (
            says in str(error.value) and "train_001.bin" in str(error.value) and "\n" not in str(error.value)
        )

    def test_a_changed_id_is_found_when_asked(self, tmp_path):
        write(tmp_path)
        path = tmp_path / "train_001.bin"
        path.write_bytes(path.read_bytes()[:-1] + b"\1")
        open_shards(tmp_path, "train")
        with pytest.raises(UserError, match="content is not what was written"):
            open_shards(tmp_path, "train", verify=True)

    def test_a_whole_but_wrong_shard_is_refused(self, tmp_path):
        write(tmp_path)
        (tmp_path / "train_000.bin").write_bytes((tmp_path / "train_002.bin").read_bytes())
        with pytest.raises(UserError, match=r"1 tokens where meta.json lists 4"):
            open_shards(tmp_path, "train")

    def test_another_tokenizer_is_refused_by_its_hash(self, tmp_path):
        write(tmp_path)
        with pytest.raises(UserError, match=r"made by another tokenizer .*5e5e5e.*a1a1a1"):
            open_shards(tmp_path, "train", tokenizer_sha256=OTHER_SHA)

    def test_missing_things_are_named(self, tmp_path):
        with pytest.raises(UserError, match=r"no token shards there .meta.json is missing"):
            open_shards(tmp_path, "train")
        write(tmp_path)
        with pytest.raises(UserError, match="no split named 'test': it has train"):
            open_shards(tmp_path, "test")
        (tmp_path / "train_002.bin").unlink()
        with pytest.raises(UserError, match=r"train_002.bin: the shard is missing"):
            open_shards(tmp_path, "train")
        with pytest.raises(UserError, match="the shard is missing"):
            open_shard(tmp_path / "none.bin")

    @pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": "other", "splits": {}}'])
    def test_a_damaged_or_foreign_meta_is_refused(self, tmp_path, content):
        (tmp_path / "meta.json").write_text(content)
        with pytest.raises(UserError, match=r"meta.json: (damaged JSON|not a description)"):
            open_shards(tmp_path, "train")

    @pytest.mark.parametrize("ids", [[300], [5, -1], [70_000]])
    def test_an_id_outside_the_vocabulary_is_refused_not_wrapped(self, tmp_path, ids):
        with pytest.raises(UserError, match=r"document 1 holds the id -?\d+, but the vocabulary has 300"):
            write(tmp_path, documents=[[1], ids])
        with pytest.raises(UserError, match="no token shards"):
            open_shards(tmp_path, "train")

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"shard_tokens": 0}, "shard_tokens is 0"),
            ({"vocab_size": 0}, "vocab_size is 0"),
            ({"documents": [[0.5]]}, "whole numbers"),
            ({"documents": [[[1]]]}, "flat list"),
        ],
    )
    def test_settings_that_make_no_shard_are_refused(self, tmp_path, options, says):
        with pytest.raises(UserError, match=says):
            write(tmp_path, **options)

    def test_a_hash_that_is_none_is_refused(self, tmp_path):
        with pytest.raises(UserError, match="64 hexadecimal digits"):
            write_shards(tmp_path, "train", [[1]], tokenizer_sha256="abc", vocab_size=300)


class TestKilledWriters:
    def test_a_writer_that_stops_between_any_two_shards_can_go_on(self, tmp_path):
        documents = [[10 * d + i for i in range(n)] for d, n in enumerate([3, 9, 1, 4, 0, 6, 2])]
        flat = [i for document in documents for i in document]

        class Killed(Exception):
            pass

        for last in range(1, 7):
            folder = tmp_path / str(last)
            saved: list[Progress] = []

            def stop(progress, saved=saved, last=last):
                saved[:] = [Progress(list(progress.shards), progress.documents, progress.carry)]
                if len(progress.shards) == last:
                    raise Killed

            options = {"tokenizer_sha256": SHA, "vocab_size": 300, "shard_tokens": 4}
            writer = ShardWriter(folder, "train", on_shard=stop, **options)
            with pytest.raises(Killed):
                for document in documents:
                    writer.add(document)
                writer.close()
            with pytest.raises(UserError, match="no token shards"):
                open_shards(folder, "train")  # without meta.json nothing is taken for good
            again = ShardWriter(folder, "train", progress=saved[0], **options)
            for document in documents[saved[0].documents :]:
                again.add(document)
            progress = again.close()
            arrays = [open_shard(folder / shard["file"]) for shard in progress.shards]
            assert TokenArray(arrays)[:].tolist() == flat, f"stopped after shard {last}"
            assert progress.documents == len(documents)

    def test_a_full_disk_leaves_nothing_that_opens(self, tmp_path, monkeypatch):
        write(tmp_path)
        real = shards_module.atomic_write_bytes

        def full(path, data):
            if path.name == "train_001.bin":
                raise OSError(28, "No space left on device", str(path))
            return real(path, data)

        monkeypatch.setattr(shards_module, "atomic_write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            write(tmp_path, documents=[[7] * 12])
        with pytest.raises(UserError, match="no split named 'train'"):
            open_shards(tmp_path, "train")


def test_the_header_is_as_documented():
    assert HEADER.size == 64 and shards_module.SHARD_TOKENS * 2 == 32 * 2**20
