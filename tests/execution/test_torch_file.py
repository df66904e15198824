"""Artifacts that are not what they seem: each is refused without being loaded, its honest twin is not."""

from __future__ import annotations

import bz2
import collections
import gzip
import io
import lzma
import os
import pickle
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.execution.torch_file import ALLOWED, ArtifactFile, check_artifact

HONEST = pickle.dumps({"weights": collections.OrderedDict(a=1), "tags": {"x"}, "raw": b"\0\1", "n": 2**70}, protocol=2)


class Calls:
    """Pickles to a call of `function`."""

    def __init__(self, function: Any, *words: Any) -> None:
        self.what = (function, words)

    def __reduce__(self) -> Any:
        return self.what


def torch_zip(data: bytes = HONEST, **members: bytes) -> bytes:
    """A zip as torch writes one; `members` come on top (`__` for `/`)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", b"little")
        archive.writestr("archive/data/0", b"\0" * 64)
        archive.writestr("archive/version", b"3\n")
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return out.getvalue()


def shuffled(data: bytes, width: int = 2) -> bytes:
    """As several records write it before they compress."""
    return b"BSHF" + bytes([width]) + b"".join(data[place::width] for place in range(width))


def refusal(file: ArtifactFile) -> str:
    return " ".join(file.refused)


@pytest.mark.parametrize(
    ("pack", "layer"),
    [
        (zlib.compress, "zlib"), (lzma.compress, "xz"), (gzip.compress, "gzip"), (bz2.compress, "bz2"), (brotli.compress, "brotli"),
        (zstandard.compress, "zstd"), (shuffled, "byte-shuffle"),
    ],
)  # fmt: skip
def test_an_honest_file_in_each_compressor(pack: Any, layer: str) -> None:
    file = check_artifact(pack(torch_zip()))
    assert file.layers == (layer, "torch-zip")
    assert not file.refused
    assert file.known
    assert "collections.OrderedDict" in file.globals
    assert file.members == 4


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_is_followed(protocol: int) -> None:
    honest = pickle.dumps(
        {"a": collections.OrderedDict(b=2), "again": [collections.OrderedDict(), b"x", {1, 2}]}, protocol=protocol
    )
    assert not check_artifact(honest).refused
    assert set(check_artifact(honest).globals) <= ALLOWED
    for hostile in (Calls(os.system, "true"), Calls(eval, "1"), Calls(getattr, "x", "upper")):
        file = check_artifact(zlib.compress(torch_zip(pickle.dumps({"w": [1, hostile]}, protocol=protocol))))
        assert "would import" in refusal(file)


def test_layers_are_undone_one_by_one() -> None:
    file = check_artifact(brotli.compress(shuffled(torch_zip(pickle.dumps(Calls(os.system, "true"))), 3)))
    assert "system" in refusal(file)
    assert check_artifact(lzma.compress(shuffled(torch_zip(), 4))).layers == ("xz", "byte-shuffle", "torch-zip")


def test_the_call_is_never_made(tmp_path: Path) -> None:
    mark = tmp_path / "called"
    for data in (pickle.dumps(Calls(os.mkdir, str(mark))), torch_zip(pickle.dumps(Calls(os.mkdir, str(mark))))):
        assert "mkdir" in refusal(check_artifact(data))
    assert not mark.exists()


def test_a_name_that_the_pickle_computes_is_refused() -> None:
    # builtins.str("os") makes the module's name at run time: what would be imported is not in the file.
    computed = b"\x80\x04\x8c\x08builtins\x8c\x03str\x93\x8c\x02os\x85R\x8c\x06system\x93\x8c\x04true\x85R."
    assert "computes the name" in refusal(check_artifact(computed))


def test_names_that_come_from_the_memo_are_followed() -> None:
    memo = b"\x80\x04\x8c\x06system\x94\x8c\x02os\x940h\x01h\x00\x93\x8c\x04true\x85R."
    assert "system" in refusal(check_artifact(memo))
    put = b"\x80\x02X\x06\x00\x00\x00systemq\x05X\x05\x00\x00\x00posixq\x070h\x07h\x05\x93."
    assert "posix.system" in refusal(check_artifact(put))


@pytest.mark.parametrize("body", [b"(S'true'\nios\nsystem\n.", b"(cos\nsystem\nS'true'\no.", b"\x82\x01."])
def test_other_ways_to_call_are_refused(body: bytes) -> None:
    assert check_artifact(b"\x80\x02" + body).refused


def test_torch_s_old_format_is_followed_to_its_weights() -> None:
    legacy = b"".join(pickle.dumps(part, protocol=2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    honest = legacy + HONEST + pickle.dumps(["0"], protocol=2) + b"\0" * 99
    assert not check_artifact(honest).refused
    hostile = legacy + pickle.dumps(Calls(os.system, "true"), protocol=2) + pickle.dumps(["0"], protocol=2)
    assert "system" in refusal(check_artifact(hostile))


def test_a_bomb_stops_at_its_bound() -> None:
    packed = zlib.compress(b"\0" * (40 << 20), 9)
    bomb = lzma.compress(packed + b"\0" * (60 << 20))
    tracemalloc.start()
    assert "unpack to more than" in refusal(check_artifact(bomb))
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def test_a_member_that_unpacks_to_too_much_is_refused_unread() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", HONEST)
        archive.writestr("archive/data/0", b"\0" * (20 << 20))
    assert "unpack to more than" in refusal(check_artifact(out.getvalue()))


@pytest.mark.parametrize("name", ["../../etc/cron.d/x", "/etc/passwd", "archive/../../x", "C:/x", "archive\\..\\..\\x"])
def test_climbing_names_are_refused(name: str) -> None:
    assert "climbing" in refusal(check_artifact(torch_zip(**{name.replace("/", "__"): b"x"})))


def test_two_members_of_one_name_are_refused() -> None:
    # torch's reader takes DATA.PKL for data.pkl.
    assert "two members" in refusal(check_artifact(torch_zip(archive__DATA=b"", **{"archive__DATA.PKL": b"x"})))


@pytest.mark.parametrize(
    "members", [{"archive__code____torch__.py": b"x"}, {"archive__constants.pkl": b"x"}, {"other__data.pkl": b"x"}]
)
def test_archives_with_code_or_more_pickles_are_refused(members: dict[str, bytes]) -> None:
    assert check_artifact(torch_zip(**members)).refused


def test_too_many_members_are_refused_before_they_are_listed() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", HONEST)
    data = out.getvalue()
    # 100,000 directory entries that point at the one member.
    at = data.index(b"PK\x01\x02")
    entry, end = data[at : data.index(b"PK\x05\x06")], bytearray(data[data.index(b"PK\x05\x06") :])
    directory = entry * 100_000
    end[8:16] = struct.pack("<HHI", 0xFFFF, 0xFFFF, len(directory))
    assert "directory" in refusal(check_artifact(data[:at] + directory + bytes(end)))


def test_overlapping_members_are_refused() -> None:
    data = torch_zip()
    at = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4)
    forged = bytearray(data)
    forged[at + 42 : at + 46] = struct.pack("<I", 0)
    assert "share their bytes" in refusal(check_artifact(bytes(forged)))


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
def test_a_truncated_file_is_refused(keep: float) -> None:
    packed = zlib.compress(torch_zip())
    assert check_artifact(packed[: int(len(packed) * keep)]).refused
    whole = torch_zip()
    assert check_artifact(whole[: int(len(whole) * keep)]).refused


def test_what_precedes_a_zip_is_refused() -> None:
    data = torch_zip()
    assert check_artifact(data[:4] + b"x" * 40 + data).refused


def test_arrays_of_objects_are_refused() -> None:
    np = pytest.importorskip("numpy")
    honest, hostile = io.BytesIO(), io.BytesIO()
    np.savez(honest, a=np.zeros(3))
    np.savez(hostile, a=np.array([Calls(os.system, "true")], dtype=object))
    assert check_artifact(honest.getvalue()).layers == ("npz",)
    assert not check_artifact(honest.getvalue()).refused
    assert "objects" in refusal(check_artifact(hostile.getvalue()))


def test_a_format_of_its_own_is_left_to_the_sandbox() -> None:
    file = check_artifact(b"OWN1" + bytes(range(256)) * 9)
    assert (file.known, file.refused) == (False, ())
    assert file.layers[-1] == "own-format"


@settings(max_examples=150)
@given(st.binary(max_size=300), st.sampled_from([b"", b"\x80\x02", b"\x80\x04", b"PK\x03\x04", b"\x78\x9c", b"\x28\xb5\x2f\xfd"]))
def test_any_bytes_are_answered(data: bytes, head: bytes) -> None:
    file = check_artifact(head + data)
    assert file.size == len(head) + len(data)


@settings(max_examples=100)
@given(st.data())
def test_damaged_files_are_answered(data: st.DataObject) -> None:
    content = bytearray(torch_zip())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    assert set(check_artifact(bytes(content)).globals) <= ALLOWED or check_artifact(bytes(content)).refused


def test_what_torch_writes_is_allowed(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    state = {
        "state": model.state_dict(), "int8": torch.zeros(3, dtype=torch.int8), "half": torch.zeros(2, 2).half(), "bf16": torch.zeros(2).bfloat16(),
        "dtype": torch.float16, "size": torch.Size([1, 2]), "parameter": torch.nn.Parameter(torch.ones(2)), "text": "x", "bytes": b"abc",
        "set": {1}, "packed": bytearray(b"x"), "shared": torch.arange(9)[2:5],
    }  # fmt: skip
    for legacy in (True, False):
        out = io.BytesIO()
        torch.save(state, out, _use_new_zipfile_serialization=not legacy)
        file = check_artifact(zlib.compress(out.getvalue()))
        assert not file.refused
        assert file.layers == ("zlib", "pickle" if legacy else "torch-zip")
