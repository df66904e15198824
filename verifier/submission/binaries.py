"""Tokenizer, metadata and artifact files: recognised by their bytes, hashed, never loaded."""

from __future__ import annotations

import ast
import io
import re
import struct
import zipfile
import zlib
from dataclasses import dataclass, field

import brotli

from verifier.submission.archive import CENTRAL_BYTES_PER_MEMBER, central_directory_bytes


@dataclass(frozen=True, slots=True)
class BinaryFile:
    """`kind` is `sentencepiece`, `tokenmonster`, `tokenmonster-yaml`, `npz`, `npy`, `torch-zip`, `pickle`, `safetensors`,
    `archive`, `compressed`, `image` or `unknown`. `arrays` lists an npz's members as (name, dtype, shape); a member that holds
    pickled objects has dtype `object` and is never read. `vocab_size` where the format says it. `content`: the whole file, kept
    only for tokenizers and byte metadata, which the byte audit reads entry by entry."""

    path: str
    kind: str
    size: int
    sha256: str | None
    vocab_size: int | None = None
    arrays: tuple[tuple[str, str, tuple[int, ...]], ...] = ()
    content: bytes | None = field(default=None, repr=False, compare=False)

    @property
    def counts_bytes(self) -> bool:
        """Whether this is a tokenizer or a table of bytes per token."""
        return self.kind in TOKENIZER_KINDS or any(name == "base_bytes" for name, _, _ in self.arrays)


TOKENIZER_KINDS = frozenset({"sentencepiece", "tokenmonster", "tokenmonster-yaml"})
MEMBERS = 4_096
"""Zip members looked at to tell what a zip file is."""
PIECES = 1_000_000
"""Vocabulary entries walked; the largest real vocabularies have some 260,000."""
NPY_HEADER = 10_000
"""Longest npy header parsed (numpy's own bound)."""
_HEAD = 8_192

_COMPRESSED = (b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x1f\x8b\x08", b"BZh", b"\x5d\0\0", b"\x04\x22\x4d\x18")
_ARCHIVES = (b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07")
_IMAGES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"%PDF-", b"BM")
_DTYPE = re.compile(r"[<>|=]?(?P<kind>[?biufcmMOSUV])(?P<size>\d{0,9})(\[\w{1,8}\])?")
"""Type descriptions as the .npy format writes them: byte order, kind, item size."""
_NUMBERS = {"i": "int", "u": "uint", "f": "float", "c": "complex"}
_OTHERS = {"S": "bytes", "U": "str", "V": "void", "m": "timedelta", "M": "datetime"}
_PICKLE_OPCODES = frozenset(b"()}]{NKMJGXBCUTVIFLcq\x81\x82\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x90\x94\x95\x96h.")


def looks_like_text(data: bytes) -> bool:
    """Whether these bytes are text of some 8-bit or UTF-8 encoding, judged by their first 8 kB."""
    head = data[:_HEAD]
    if b"\0" in head:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as failure:
        if len(data) > _HEAD and failure.start >= len(head) - 3:
            return True  # only the cut through a character
        control = sum(byte < 9 or 13 < byte < 27 for byte in head)
        foreign = sum(byte > 126 for byte in head)
        return control * 100 <= len(head) and foreign * 4 <= len(head)
    return True


def recognise_binary(path: str, data: bytes, sha256: str | None) -> BinaryFile:
    """What a file is, by its content; the name only decides between guesses. Reads headers and tables of contents, no payload."""

    def of(kind: str, vocab_size: int | None = None, arrays: tuple[tuple[str, str, tuple[int, ...]], ...] = ()) -> BinaryFile:
        return BinaryFile(path, kind, len(data), sha256, vocab_size, arrays)

    if data[:2] == b"PK" and (found := _zip_kind(data)) is not None:
        return of(*found)
    if data[:6] == b"\x93NUMPY":
        header = _described(data[: NPY_HEADER + 12])
        return of("npy", None, (("", *header),)) if header else of("unknown")
    if (pieces := _sentencepiece_pieces(data)) is not None:
        return of("sentencepiece", pieces)
    if (vocabulary := _tokenmonster_size(data)) is not None:
        return of("tokenmonster", vocabulary)
    if is_tokenmonster_yaml(data):
        return of("tokenmonster-yaml")
    if _is_safetensors(data):
        return of("safetensors")
    if _is_pickle(data):
        return of("pickle")
    if data.startswith(_ARCHIVES) or data[257:262] == b"ustar" or path.lower().endswith((".tar.gz", ".tgz")):
        return of("archive")
    if data.startswith(_IMAGES):
        return of("image")
    if data.startswith(_COMPRESSED) or _is_zlib(data) or _is_brotli(path, data):
        return of("compressed")
    return of("unknown")


def is_tokenmonster_yaml(data: bytes) -> bool:
    """Whether this text is a TokenMonster vocabulary in its YAML form: its keys at the start of lines."""
    head = data[:_HEAD]
    keys = {line.split(b":", 1)[0] for line in head.splitlines() if b":" in line and not line.startswith((b" ", b"-", b"#"))}
    return {b"capcode", b"tokens"} <= keys and b"token:" in head


def _zip_kind(data: bytes) -> tuple[str, int | None, tuple[tuple[str, str, tuple[int, ...]], ...]] | None:
    """`npz`, `torch-zip` or `archive`, by the names of the members; `None` when the directory can't be read."""
    if central_directory_bytes(io.BytesIO(data)) > MEMBERS * CENTRAL_BYTES_PER_MEMBER:
        return "archive", None, ()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            if any(info.filename.rsplit("/", 1)[-1] == "data.pkl" for info in infos):
                return "torch-zip", None, ()
            if not infos or len(infos) > MEMBERS or not all(info.filename.endswith(".npy") for info in infos):
                return "archive", None, ()
            arrays = []
            for info in infos:
                header = _described(_member_head(archive, info))
                dtype, shape = header if header is not None else ("unreadable", ())
                arrays.append((info.filename.removesuffix(".npy"), dtype, shape))
            return "npz", None, tuple(arrays)
    except (zipfile.BadZipFile, OSError, ValueError, struct.error, NotImplementedError, OverflowError):
        return None


def _member_head(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """The first bytes of a member, as many as an npy header can take; empty when it can't be unpacked."""
    if info.flag_bits & 0x1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return b""
    try:
        with archive.open(info) as member:
            return member.read(NPY_HEADER + 12)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, struct.error, RuntimeError):
        return b""


@dataclass(frozen=True, slots=True)
class NpyHeader:
    """What an npy file says of its array. `descr`: the element type as written; `start`: offset of the first element."""

    descr: object
    fortran_order: bool
    shape: tuple[int, ...]
    start: int


def read_npy_header(data: bytes) -> NpyHeader | None:
    """The header of an npy file, of which the first `NPY_HEADER` + 12 bytes will do; `None` when it is malformed."""
    if data[:6] != b"\x93NUMPY" or len(data) < 12:
        return None
    version = data[6]
    start = 10 if version == 1 else 12
    length = int.from_bytes(data[8:start], "little")
    if version not in (1, 2, 3) or length > NPY_HEADER or len(data) < start + length:
        return None
    try:
        header = ast.literal_eval(data[start : start + length].decode("utf-8" if version == 3 else "latin-1").strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    if not isinstance(header, dict) or header.keys() != {"descr", "fortran_order", "shape"}:
        return None
    shape, order = header["shape"], header["fortran_order"]
    if not isinstance(shape, tuple) or not all(type(extent) is int and 0 <= extent < 1 << 63 for extent in shape):
        return None
    return NpyHeader(header["descr"], order, shape, start + length) if isinstance(order, bool) else None


def _described(data: bytes) -> tuple[str, tuple[int, ...]] | None:
    """(dtype, shape) of an npy file; `object` for arrays of pickled objects, `structured` for records without any."""
    header = read_npy_header(data)
    return None if header is None else (_dtype_name(header.descr), header.shape)


def _dtype_name(descr: object) -> str:
    """The usual name of an array's type, e.g. `int16` for `<i2`."""
    if isinstance(descr, list):
        return "object" if "O" in repr(descr) else "structured"
    match = _DTYPE.fullmatch(descr) if isinstance(descr, str) else None
    if match is None:
        return "unreadable"
    kind, size = match["kind"], match["size"]
    if kind == "O":
        return "object"
    if kind in "b?":
        return "bool"
    return f"{_NUMBERS[kind]}{8 * int(size)}" if kind in _NUMBERS and size else f"{_OTHERS.get(kind, kind)}{size}"


def _sentencepiece_pieces(data: bytes) -> int | None:
    """Number of pieces when `data` is a SentencePiece `ModelProto`: field 1 holds pieces, 2 to 5 specifications, to the last byte."""
    if data[:1] not in (b"\x0a", b"\x12"):
        return None
    position = pieces = 0
    while position < len(data):
        tag, position = _varint(data, position)
        if tag >> 3 not in (1, 2, 3, 4, 5) or tag & 7 != 2:
            return None
        length, position = _varint(data, position)
        if length < 0 or position + length > len(data):
            return None
        if tag >> 3 == 1:
            # A piece begins with its text: field 1, length-delimited, inside the message.
            if length < 2 or data[position] != 0x0A or (data[position + 1] > length - 2 and data[position + 1] < 0x80):
                return None
            pieces += 1
            if pieces > PIECES:
                return None
        position += length
    return pieces or None


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A protobuf varint and the position behind it; -1 for a malformed one."""
    value = 0
    for shift in range(0, 35, 7):
        if position >= len(data):
            return -1, position
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    return -1, position


def _tokenmonster_size(data: bytes) -> int | None:
    """Vocabulary size when `data` is a binary TokenMonster vocabulary: header, entries, byte classes and deleted tokens to the end."""
    if len(data) < 24 + 256 + 3 or data[0] > 2 or data[1] > 2 or data[3] > 5 or data[5:8] != b"\0\0\0":
        return None
    entries = int.from_bytes(data[17:20], "little")
    position = _skip_entries(data, 24, entries, 16)
    position = _skip_entries(data, position + 259, int.from_bytes(data[position + 256 : position + 259], "little"), 8)
    return int.from_bytes(data[11:14], "little") if entries and position == len(data) else None


def _skip_entries(data: bytes, position: int, count: int, fixed: int) -> int:
    """Behind `count` entries of a length byte, that many bytes and the rest of `fixed` bytes; -1000 when they don't fit."""
    for _ in range(count):
        if not 0 <= position < len(data) or data[position] > 40:
            return -1000
        position += fixed + data[position]
    return position


def _is_safetensors(data: bytes) -> bool:
    length = int.from_bytes(data[:8], "little")
    return 2 <= length <= len(data) - 8 and data[8:9] == b"{" and data[8 : 8 + length].rstrip(b" ").endswith(b"}")


def _is_pickle(data: bytes) -> bool:
    """A protocol byte and an opcode that can follow it. Protocol 0 has no signature and is text."""
    return len(data) > 3 and data[0] == 0x80 and data[1] in (2, 3, 4, 5) and data[2] in _PICKLE_OPCODES


def _is_zlib(data: bytes) -> bool:
    """A zlib header (deflate, window of 32 kB) whose check bits fit and a stream that starts to inflate."""
    if len(data) < 8 or data[0] != 0x78 or int.from_bytes(data[:2]) % 31:
        return False
    try:
        zlib.decompressobj().decompress(data[:_HEAD], 64)
    except zlib.error:
        return False
    return True


def _is_brotli(path: str, data: bytes) -> bool:
    """A guess, since brotli has no signature: the name says so, or the first bytes unpack without an error."""
    if path.lower().endswith((".br", ".brotli")):
        return True
    if len(data) < 64:
        return False
    try:
        return bool(brotli.Decompressor().process(data[:_HEAD], output_buffer_limit=1))
    except brotli.error:
        return False
