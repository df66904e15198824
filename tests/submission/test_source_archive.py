"""Archives: read without unpacking, with every trick that a name, a size or a ratio can play."""

from __future__ import annotations

import gzip
import io
import pickle
import random
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.limits import Limits
from verifier.submission.archive import Archive
from verifier.submission.archive_source import ArchiveSource
from verifier.submission.source import EntryKind, Unreadable, incomplete_listing

LIMITS = Limits(archive_members=50, archive_bytes=3_000_000, archive_ratio=100)


def _zip(path: Path, members: Iterable[tuple[str | zipfile.ZipInfo, bytes]], packing: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def _tar(
    path: Path, members: Iterable[tuple[str | tarfile.TarInfo, bytes]], mode: str = "w:gz", kind: int = tarfile.PAX_FORMAT
) -> Path:
    with tarfile.open(path, mode, format=kind) as archive:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = info.size or len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def _source(path: Path, limits: Limits = LIMITS) -> ArchiveSource:
    return ArchiveSource(Archive(path, limits), "", "x")


def _paths(source: ArchiveSource) -> list[str]:
    return [entry.path for entry in source.entries()]


def _problems(source: ArchiveSource) -> list[str]:
    return [problem.kind for problem in source.problems()]


def _refusal(source: ArchiveSource, path: str, limit: int = 10_000_000) -> str:
    with pytest.raises(Unreadable) as refused:
        source.read(path, limit)
    return refused.value.kind


def _rejected(path: Path, limits: Limits = LIMITS) -> str:
    with pytest.raises(Unreadable) as refused:
        Archive(path, limits)
    return refused.value.kind


def _problems_or_refusal(path: Path) -> list[str]:
    try:
        source = _source(path)
    except Unreadable as failure:
        return [failure.kind]
    return _problems(source)


FILES = [("X/README.md", b"# X"), ("X/logs/train.log", b"seed:42\n" * 100)]


def test_zip_and_tar_in_every_form_read_alike(tmp_path: Path) -> None:
    archives = [
        _zip(tmp_path / "a.zip", FILES),
        _zip(tmp_path / "b.zip", FILES, zipfile.ZIP_STORED),
        _tar(tmp_path / "c.tar.gz", FILES),
        _tar(tmp_path / "d.tar", FILES, "w"),
        _tar(tmp_path / "e.tgz", FILES, kind=tarfile.GNU_FORMAT),
        _tar(tmp_path / "f.tar.gz", FILES, kind=tarfile.USTAR_FORMAT),
    ]
    for path in archives:
        source = ArchiveSource(Archive(path, LIMITS), "X", "x")
        assert [(entry.path, entry.size) for entry in source.entries()] == [("README.md", 3), ("logs/train.log", 800)]
        assert source.read("logs/train.log", 800) == b"seed:42\n" * 100
        assert source.problems() == ()


def test_long_names_of_both_tar_dialects(tmp_path: Path) -> None:
    name = "X/" + "long" * 60 + "/naïve.log"
    for kind in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        source = _source(_tar(tmp_path / "a.tar.gz", [(name, b"x")], kind=kind))
        assert _paths(source) == [name]
        assert source.read(name, 10) == b"x"


@pytest.mark.parametrize("name", ["../evil.py", "X/../../evil.py", "/etc/passwd", "C:\\evil.py", "..\\evil.py", "X/./y", "X//y"])
def test_climbing_and_absolute_names_are_refused(tmp_path: Path, name: str) -> None:
    for path in (_zip(tmp_path / "a.zip", [(name, b"x"), *FILES]), _tar(tmp_path / "a.tar.gz", [(name, b"x"), *FILES])):
        source = _source(path)
        assert _paths(source) == ["X/README.md", "X/logs/train.log"]
        assert _problems(source) == ["refused-name"]
        assert incomplete_listing(source.problems())


def test_duplicate_names_are_not_read(tmp_path: Path) -> None:
    double = [("train_gpt.py", b"shown"), ("train_gpt.py", b"run"), ("README.md", b"x")]
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = _zip(tmp_path / "a.zip", double)
    for source in (_source(path), _source(_tar(tmp_path / "a.tar", double, "w"))):
        assert _paths(source) == ["README.md"]
        assert _problems(source) == ["duplicate-name"]
        assert _refusal(source, "train_gpt.py") == "unreadable"


def test_a_zip_bomb_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    source = _source(_zip(tmp_path / "a.zip", [("bomb.log", bytes(2_500_000)), ("README.md", b"x")]))
    assert _refusal(source, "bomb.log") == "archive-limit"
    assert source.read("README.md", 10) == b"x"


def test_the_sum_of_what_is_read_is_limited(tmp_path: Path) -> None:
    noise = [(f"{number}.bin", zlib.compress(bytes([number]) * 99) * 20_000) for number in range(5)]
    source = _source(_zip(tmp_path / "a.zip", noise, zipfile.ZIP_STORED), Limits(archive_bytes=800_000))
    refused = [name for name in _paths(source) if _readable(source, name) == "archive-limit"]
    assert 0 < len(refused) < 5


def _readable(source: ArchiveSource, name: str) -> str:
    try:
        source.read(name, 10_000_000)
    except Unreadable as failure:
        return failure.kind
    return ""


def test_a_gzip_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(bytes(50_000_000)))
    assert _rejected(path) == "archive-limit"


def test_a_tar_with_too_many_members_is_refused(tmp_path: Path) -> None:
    assert _rejected(_tar(tmp_path / "a.tar.gz", [(f"{number}.txt", b"") for number in range(60)])) == "archive-limit"


def test_a_zip_with_too_many_members_is_refused(tmp_path: Path) -> None:
    assert _rejected(_zip(tmp_path / "a.zip", [(f"{number}.txt", b"") for number in range(60)])) == "archive-limit"


def test_a_zip_with_a_huge_directory_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    assert _rejected(_zip(tmp_path / "a.zip", [(f"{number:0200}.txt", b"") for number in range(500)])) == "archive-limit"


def test_members_that_share_bytes_are_refused(tmp_path: Path) -> None:
    path = _zip(tmp_path / "a.zip", [("a.log", b"a" * 1000), ("b.log", b"b" * 1000)])
    data = bytearray(path.read_bytes())
    second = data.rfind(b"PK\x01\x02")
    data[second + 42 : second + 46] = struct.pack("<I", 0)  # the second entry points at the first one's data
    path.write_bytes(data)
    assert _rejected(path) == "archive-limit"


def test_encrypted_members_are_listed_and_not_read(tmp_path: Path) -> None:
    path = _zip(tmp_path / "a.zip", [("train.log", b"x" * 100)])
    data = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(signature) + flags] |= 1
    path.write_bytes(data)
    source = _source(path)
    assert _paths(source) == ["train.log"]
    assert _refusal(source, "train.log") == "encrypted"


def test_an_lzma_member_is_not_unpacked(tmp_path: Path) -> None:
    source = _source(_zip(tmp_path / "a.zip", [("train.log", b"x" * 100)], zipfile.ZIP_LZMA))
    assert _refusal(source, "train.log") == "unreadable"


def test_a_member_that_lies_about_its_contents_is_refused(tmp_path: Path) -> None:
    path = _zip(tmp_path / "a.zip", [("train.log", b"x" * 100)], zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"x" * 100, b"y" * 100))
    assert _refusal(_source(path), "train.log") == "unreadable"


def test_local_and_central_names_that_differ_are_refused(tmp_path: Path) -> None:
    path = _zip(tmp_path / "a.zip", [("shown.py", b"x" * 10)], zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"shown.py", b"other.py", 1))
    assert _refusal(_source(path), "shown.py") == "unreadable"


def test_symlinks_in_archives_are_listed_and_not_followed(tmp_path: Path) -> None:
    linked = zipfile.ZipInfo("train.log")
    linked.external_attr = (stat.S_IFLNK | 0o777) << 16
    tar_link = tarfile.TarInfo("train.log")
    tar_link.type, tar_link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    for source in (
        _source(_zip(tmp_path / "a.zip", [(linked, b"/etc/passwd")])),
        _source(_tar(tmp_path / "a.tar", [(tar_link, b"")], "w")),
    ):
        assert [entry.kind for entry in source.entries()] == [EntryKind.SYMLINK]
        assert _refusal(source, "train.log") == "symlink"


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE])
def test_hard_links_devices_and_sparse_files_are_listed_and_not_read(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("train.log")
    info.type, info.linkname = kind, "README.md" if kind == tarfile.LNKTYPE else ""
    source = _source(_tar(tmp_path / "a.tar", [("README.md", b"x"), (info, b"")], "w"))
    assert [(entry.path, entry.kind) for entry in source.entries()] == [
        ("README.md", EntryKind.FILE),
        ("train.log", EntryKind.OTHER),
    ]
    assert _refusal(source, "train.log") == "special-file"


def test_a_pax_sparse_file_is_not_read_as_a_plain_one(tmp_path: Path) -> None:
    info = tarfile.TarInfo("train.log")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1000000000000"}
    source = _source(_tar(tmp_path / "a.tar", [(info, b"x")], "w"))
    assert [entry.kind for entry in source.entries()] == [EntryKind.OTHER]


def test_a_cut_off_gzip_keeps_what_came_before_and_says_so(tmp_path: Path) -> None:
    noise = random.Random(0).randbytes(200_000)
    path = _tar(tmp_path / "a.tar.gz", [("README.md", b"x"), ("zz.log", noise)])
    path.write_bytes(path.read_bytes()[:-2000])
    source = _source(path)
    assert source.read("README.md", 10) == b"x"
    assert set(_problems(source)) == {"truncated-archive"}
    assert incomplete_listing(source.problems())


def test_a_cut_off_tar_says_so(tmp_path: Path) -> None:
    path = _tar(tmp_path / "a.tar", [("README.md", b"x"), ("zz.log", b"y" * 5000)], "w")
    path.write_bytes(path.read_bytes()[: 512 * 5])
    source = _source(path)
    assert _problems(source) == ["truncated-archive"]
    assert _refusal(source, "zz.log") == "truncated"


def test_damage_in_the_middle_of_a_gzip(tmp_path: Path) -> None:
    path = _tar(tmp_path / "a.tar.gz", [*FILES, ("zz.bin", random.Random(0).randbytes(300_000))])
    data = bytearray(path.read_bytes())
    data[200_000:200_400] = b"\xff" * 400
    path.write_bytes(data)
    assert "truncated-archive" in _problems_or_refusal(path)


def test_a_negative_tar_size_does_not_walk_backwards(tmp_path: Path) -> None:
    path = _tar(tmp_path / "a.tar", [("README.md", b"x"), ("b.log", b"y")], "w")
    data = bytearray(path.read_bytes())
    header = bytearray(data[1024:1536])
    header[124:136] = b"\xff" * 12  # base 256, negative
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    data[1024:1536] = header
    path.write_bytes(data)
    source = _source(path)
    assert _paths(source) == ["README.md"]
    assert _problems(source) == ["truncated-archive"]


def test_a_huge_extended_header_is_not_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.pax_headers = {"comment": "z" * 2_000_000}
    path = _tar(tmp_path / "a.tar", [("README.md", b"x"), (info, b"")], "w")
    assert _problems(_source(path)) == ["truncated-archive"]


def test_concatenated_gzip_members_are_one_stream(tmp_path: Path) -> None:
    plain = _tar(tmp_path / "a.tar", FILES, "w").read_bytes()
    path = tmp_path / "b.tar.gz"
    path.write_bytes(gzip.compress(plain[:1000], mtime=0) + gzip.compress(plain[1000:]) + bytes(512))
    assert _paths(_source(path)) == ["X/README.md", "X/logs/train.log"]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    info = tarfile.TarInfo("caf\udce9.log")
    source = _source(_tar(tmp_path / "a.tar", [(info, b"x")], "w", tarfile.GNU_FORMAT))
    assert _paths(source) == ["caf\udce9.log"]


def test_deep_names_in_archives_are_refused(tmp_path: Path) -> None:
    source = _source(_zip(tmp_path / "a.zip", [("d/" * 60 + "train.log", b"x")]))
    assert _paths(source) == []
    assert _problems(source) == ["tree-too-deep"]


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"PK\x05\x06", b"PK\x03\x04" + b"\0" * 30, b"\x1f\x8b", gzip.compress(b"no tar", mtime=0), bytes(2000)],
)
def test_what_is_no_archive_says_so(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    assert _problems_or_refusal(path) in (["unreadable"], [])


def test_a_source_travels_to_a_worker_process(tmp_path: Path) -> None:
    source = ArchiveSource(Archive(_tar(tmp_path / "a.tar.gz", FILES), LIMITS), "X", "x")
    there = pickle.loads(pickle.dumps(source))  # noqa: S301 - our own bytes
    assert there.entries() == source.entries()
    assert there.read("README.md", 10) == b"# X"


@settings(max_examples=40)
@given(st.binary(max_size=3000), st.sampled_from([b"", b"PK\x03\x04", b"\x1f\x8b\x08\x00"]), st.binary(max_size=40))
def test_any_bytes_give_an_archive_or_a_refusal(noise: bytes, start: bytes, end: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".zip") as file:
        file.write(start + noise + b"PK\x05\x06" + end)
        file.flush()
        try:
            source = _source(Path(file.name))
        except Unreadable:
            return
        for entry in source.entries():
            _readable(source, entry.path)


@settings(max_examples=40)
@given(st.data())
def test_a_damaged_tar_never_crashes(data: st.DataObject) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in [("naïve/README.md", b"# X"), ("train.log", b"x" * 700)]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    damaged = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, 3000))] = data.draw(st.integers(0, 255))
    with tempfile.NamedTemporaryFile(suffix=".tar") as file:
        file.write(damaged)
        file.flush()
        try:
            source = _source(Path(file.name))
        except Unreadable:
            return
        for entry in source.entries():
            _readable(source, entry.path)
