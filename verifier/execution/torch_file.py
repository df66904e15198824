"""Looking into an artifact without loading it: compressors, zip members, and what a pickle would call.

Nothing is unpickled. The opcodes of each pickle are walked with `pickletools`, with a stack that knows text from everything else, so
that each global that unpickling would import is known by name. Whatever is not on the list of names that tensors need, and whatever
can't be followed, is a reason not to load the file. Formats of a submission's own are opaque to this; they are only loaded in
the sandbox, like everything else.
"""

from __future__ import annotations

import io
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from verifier.limits import MIB
from verifier.submission.archive import CENTRAL_BYTES_PER_MEMBER, central_directory_bytes
from verifier.submission.codecs import (
    PayloadError,
    PayloadLimit,
    decompress_brotli,
    decompress_bz2,
    decompress_gzip,
    decompress_lzma,
    decompress_zlib,
    decompress_zstd,
)

FILE = 256 * MIB
"""Largest artifact that is looked at; the contest's cap is 16 MB."""
UNPACKED = 256 * MIB
RATIO = 1_000
RATIO_FLOOR = 16 * MIB
"""What a file may always unpack to: zeros of a fresh layer pack a thousandfold."""
LAYERS = 3
MEMBERS = 20_000
PICKLE = 32 * MIB
OPCODES = 3_000_000
LEGACY = 0x1950A86A20F9469CFC6C
"""The number that the first pickle of torch's old format holds."""
LEGACY_PICKLES = 5

_SIGNATURES: tuple[tuple[bytes, str, Callable[[bytes, int], bytes]], ...] = (
    (b"\xfd7zXZ\0", "xz", decompress_lzma),
    (b"\x5d\0\0", "lzma", decompress_lzma),
    (b"\x28\xb5\x2f\xfd", "zstd", decompress_zstd),
    (b"\x1f\x8b\x08", "gzip", decompress_gzip),
    (b"BZh", "bz2", decompress_bz2),
    (b"\x78", "zlib", decompress_zlib),
    (b"BSHF", "byte-shuffle", lambda data, bound: _unshuffle(data)),
)
_TENSORS = frozenset(
    f"torch._utils.{name}"
    for name in (
        "_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter", "_rebuild_parameter_with_state",
        "_rebuild_qtensor", "_rebuild_sparse_tensor", "_rebuild_meta_tensor_no_storage",
    )
)  # fmt: skip
_STORAGES = frozenset(
    f"torch.{name}Storage"
    for name in (
        "Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool", "ComplexFloat", "ComplexDouble", "QInt8",
        "QUInt8", "QInt32",
    )
)  # fmt: skip
_TYPES = frozenset(
    f"torch.{name}"
    for name in (
        "float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64", "bool",
        "float8_e4m3fn", "float8_e5m2", "complex64", "complex128", "Size", "device", "strided", "per_tensor_affine", "per_channel_affine",
    )
)  # fmt: skip
_ARRAYS = frozenset(
    f"numpy.{name}"
    for name in (
        "ndarray",
        "dtype",
        *(f"{core}.multiarray.{made}" for core in ("core", "_core") for made in ("_reconstruct", "scalar")),
    )
)
_PLAIN = frozenset({
    "collections.OrderedDict", "collections.defaultdict", "_codecs.encode", "builtins.set", "builtins.frozenset", "builtins.bytearray",
    "builtins.complex", "builtins.slice", "builtins.dict", "builtins.list", "builtins.tuple", "builtins.int", "builtins.float", "builtins.bool",
    "builtins.str", "builtins.bytes", "torch.storage.UntypedStorage", "torch.storage.TypedStorage", "torch.UntypedStorage",
    "torch.serialization._get_layout", "torch.nn.parameter.Parameter", "torch.Tensor",
})  # fmt: skip
ALLOWED = _TENSORS | _STORAGES | _TYPES | _ARRAYS | _PLAIN
"""What a file of tensors needs. Calling any of these with any arguments makes data, and nothing else happens."""


@dataclass(frozen=True, slots=True)
class ArtifactFile:
    """What an artifact is. `layers` names it from the outside in (`zlib`, `torch-zip`); `known` says whether its innermost layer is
    a format that was checked; `globals` are the names that unpickling would import; `refused` are the reasons not to load it."""

    size: int
    layers: tuple[str, ...] = ()
    known: bool = False
    unpacked: int = 0
    members: int = 0
    globals: tuple[str, ...] = ()
    refused: tuple[str, ...] = field(default=())


class _Refused(Exception):
    """A reason not to load the file."""


def check_artifact(data: bytes) -> ArtifactFile:
    """Look into an artifact. Never raises on its content."""
    layers: list[str] = []
    inner = data
    try:
        if len(data) > FILE:
            raise _Refused(f"{len(data):,} bytes, more than the {FILE:,} that are looked at")
        while len(layers) < LAYERS and (unpacked := _unpack(inner)) is not None:
            name, inner = unpacked
            layers.append(name)
        if inner[:4] == b"PK\x03\x04" or inner[:4] == b"PK\x05\x06":
            return _check_zip(data, inner, layers)
        if _begins_pickle(inner):
            found = _globals_of_stream(inner)
            return _judged(len(data), (*layers, "pickle"), len(inner), 0, found)
        if inner[8:9] == b"{" and int.from_bytes(inner[:8], "little") <= len(inner) - 8:
            return ArtifactFile(len(data), (*layers, "safetensors"), True, len(inner))
        return ArtifactFile(len(data), (*layers, "own-format"), False, len(inner))
    except _Refused as reason:
        return ArtifactFile(len(data), tuple(layers), True, len(inner), refused=(str(reason),))


def _judged(size: int, layers: tuple[str, ...], unpacked: int, members: int, found: set[str]) -> ArtifactFile:
    foreign = sorted(found - ALLOWED)
    refused = tuple(f"unpickling it would import {name[:120]}" for name in foreign[:20])
    return ArtifactFile(size, layers, True, unpacked, members, tuple(sorted(found)), refused)


# --- compressors ---------------------------------------------------------------------------------------------------------


def _unpack(data: bytes) -> tuple[str, bytes] | None:
    """One compressor undone, `None` where there is none. Raises `_Refused` for a bomb or a cut stream."""
    bound = min(UNPACKED, max(RATIO_FLOOR, RATIO * len(data)))
    for signature, name, undo in _SIGNATURES:
        if not data.startswith(signature) or (name == "zlib" and int.from_bytes(data[:2]) % 31):
            continue
        try:
            return name, undo(data, bound)
        except PayloadLimit as failure:
            raise _Refused(f"{len(data):,} bytes of {name} unpack to {failure}") from failure
        except PayloadError as failure:
            # Two or three bytes that other formats may begin with too; but what unpacks to its cut end is one.
            if name in ("zlib", "lzma") and not str(failure).startswith("truncated"):
                return None
            raise _Refused(str(failure)[:200]) from failure
    if data[:4] in (b"PK\x03\x04", b"PK\x05\x06") or _begins_pickle(data):
        return None
    try:
        return "brotli", decompress_brotli(data, bound)
    except PayloadLimit as failure:
        raise _Refused(f"{len(data):,} bytes of brotli unpack to {failure}") from failure
    except PayloadError:
        return None


def _unshuffle(data: bytes) -> bytes:
    """Bytes that scripts sort by their place in a word before they pack them: a mark, the width, then all first bytes, all second ones, ..."""
    width, payload = data[4] if len(data) > 4 else 0, data[5:]
    if width < 1:
        raise PayloadError("not byte-shuffle: no width")
    out = bytearray(len(payload))
    at = 0
    for place in range(width):
        count = len(range(place, len(payload), width))
        out[place::width] = payload[at : at + count]
        at += count
    return bytes(out)


# --- torch's zip ---------------------------------------------------------------------------------------------------------


def _check_zip(data: bytes, inner: bytes, layers: list[str]) -> ArtifactFile:
    """A zip as `torch.save` writes it (a pickle and raw storages), or numpy's. Raises `_Refused`."""
    with _open_zip(inner) as archive:
        infos = archive.infolist()
        unpacked = _check_members(infos, len(inner))
        names = [info.filename for info in infos]
        if names and all(name.endswith(".npy") for name in names):
            heads = [_read_member(archive, info, 128) for info in infos]
            # An array of objects is a pickle; numpy loads it only where the script asks for that.
            if any(b"'|O'" in head or b"'O'" in head for head in heads):
                raise _Refused("an array of pickled objects in an npz file")
            return ArtifactFile(len(data), (*layers, "npz"), True, unpacked, len(infos))
        pickles = [info for info in infos if info.filename.rsplit("/", 1)[-1].lower().endswith(".pkl")]
        roots = {info.filename.rsplit("/", 1)[0] for info in pickles}
        code = next((name for name in names if name.endswith((".py", "constants.pkl")) or "/code/" in name), None)
        if code is not None:
            raise _Refused(f"a TorchScript archive: it holds code ({code[:80]})")
        if len(pickles) != 1 or len(roots) != 1 or pickles[0].filename.rsplit("/", 1)[-1] != "data.pkl":
            raise _Refused(f"a zip with {len(pickles)} pickles: torch.save writes one, data.pkl")
        if pickles[0].file_size > PICKLE:
            raise _Refused(f"a pickle of {pickles[0].file_size:,} bytes")
        found = globals_of_pickle(_read_member(archive, pickles[0], PICKLE))
        return _judged(len(data), (*layers, "torch-zip"), unpacked, len(infos), found)


def _open_zip(inner: bytes) -> zipfile.ZipFile:
    stream = io.BytesIO(inner)
    if central_directory_bytes(stream) > MEMBERS * CENTRAL_BYTES_PER_MEMBER:
        raise _Refused(f"a zip directory larger than {MEMBERS:,} members need")
    try:
        return zipfile.ZipFile(stream)
    except (zipfile.BadZipFile, OSError, ValueError, struct.error, NotImplementedError, OverflowError) as failure:
        raise _Refused(f"not a readable zip: {str(failure)[:120]}") from failure


def _check_members(infos: list[zipfile.ZipInfo], size: int) -> int:
    """Names, sizes and places of all members; their unpacked sum. Raises `_Refused`."""
    if len(infos) > MEMBERS:
        raise _Refused(f"{len(infos):,} members, more than {MEMBERS:,}")
    seen: set[str] = set()
    total = end = 0
    for info in sorted(infos, key=lambda one: one.header_offset):
        name = info.orig_filename
        parts = name.replace("\\", "/").split("/")
        if ".." in parts or name.startswith(("/", "\\")) or "\0" in name or not name or ":" in parts[0]:
            raise _Refused(f"a member with a climbing or absolute name ({name[:80]!r})")
        # torch's reader does not tell upper case from lower.
        if name.lower() in seen:
            raise _Refused(f"two members of one name ({name[:80]!r})")
        seen.add(name.lower())
        if info.flag_bits & 0x1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _Refused(f"an encrypted member, or one packed in an unusual way ({name[:80]!r})")
        if info.header_offset < end or info.header_offset + info.compress_size > size:
            raise _Refused("members that share their bytes, or lie outside of the file")
        if not end and info.header_offset:
            raise _Refused("bytes before the first member: two readers may see two files")
        end = info.header_offset + 30 + info.compress_size
        total += info.file_size
        if info.file_size > max(RATIO_FLOOR, RATIO * info.compress_size) or total > UNPACKED:
            raise _Refused(f"members that unpack to more than {RATIO} times their size or {UNPACKED:,} bytes in all")
    return total


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes:
    try:
        with archive.open(info) as member:
            return member.read(most)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, struct.error, RuntimeError) as failure:
        raise _Refused(f"{info.filename[:80]!r} can't be read: {str(failure)[:120]}") from failure


# --- pickles -------------------------------------------------------------------------------------------------------------

_UNKNOWN = object()
_TEXT_OPCODES = frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "SHORT_BINSTRING", "BINSTRING", "STRING"})
_REFUSED_OPCODES = {
    "INST": "a class by the old protocol", "OBJ": "a class by the old protocol", "EXT1": "a registered extension",
    "EXT2": "a registered extension", "EXT4": "a registered extension",
}  # fmt: skip


def _begins_pickle(data: bytes) -> bool:
    return len(data) > 2 and data[0] == 0x80 and 2 <= data[1] <= 5


def _globals_of_stream(data: bytes) -> set[str]:
    """The globals of a file that begins with a pickle: that one, and the others of torch's old format."""
    stream = io.BytesIO(data)
    found, first = _walk(stream)
    if first == LEGACY:
        for _ in range(LEGACY_PICKLES - 1):
            found |= _walk(stream)[0]
    return found


def globals_of_pickle(data: bytes) -> set[str]:
    """`module.name` of everything that unpickling would import. Raises `_Refused` where that can't be told."""
    return _walk(io.BytesIO(data))[0]


def _walk(stream: io.BytesIO) -> tuple[set[str], object]:
    """One pickle: its globals, and its value where that is a plain number. The stack is followed as `pickletools` describes each
    opcode's effect on it."""
    found: set[str] = set()
    stack: list[object] = []
    memo: dict[int, object] = {}
    last: object = _UNKNOWN
    for number, (opcode, argument) in enumerate(_opcodes(stream)):
        name = opcode.name
        if number >= OPCODES:
            raise _Refused(f"a pickle of more than {OPCODES:,} steps")
        if name in _REFUSED_OPCODES:
            raise _Refused(f"the pickle makes {_REFUSED_OPCODES[name]} ({name})")
        if name == "GLOBAL":
            module, _, attribute = str(argument).partition(" ")
            found.add(_name(module, attribute))
        elif name == "STACK_GLOBAL":
            words = _pop(stack), _pop(stack)
            if not isinstance(words[0], str) or not isinstance(words[1], str):
                raise _Refused("the pickle computes the name of what it imports")
            found.add(_name(words[1], words[0]))
            stack.append(_UNKNOWN)
            continue
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[argument if isinstance(argument, int) else len(memo)] = stack[-1] if stack else _UNKNOWN
            continue
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo.get(argument, _UNKNOWN) if isinstance(argument, int) else _UNKNOWN)
            continue
        elif name == "DUP":
            stack.append(stack[-1] if stack else _UNKNOWN)
            continue
        elif name == "STOP":
            last = _pop(stack)
        _apply(opcode, argument, stack)
    return found, last


def _opcodes(stream: io.BytesIO) -> Iterator[tuple[pickletools.OpcodeInfo, object]]:
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            yield opcode, argument
    except (ValueError, IndexError, KeyError, struct.error, OverflowError, MemoryError, UnicodeError) as failure:
        raise _Refused(f"a pickle that can't be followed: {str(failure)[:120]}") from failure


def _apply(opcode: pickletools.OpcodeInfo, argument: object, stack: list[object]) -> None:
    """The effect of an opcode on the stack: text and whole numbers are kept, everything else is unknown."""
    if opcode.name == "STOP":
        return
    before = list(opcode.stack_before)
    if pickletools.markobject in before:
        while stack and _pop(stack) is not pickletools.markobject:
            pass
        before = before[: before.index(pickletools.markobject)]
    for _ in before:
        _pop(stack)
    for made in opcode.stack_after:
        if made is pickletools.markobject:
            stack.append(made)
        elif opcode.name in _TEXT_OPCODES or isinstance(argument, int):
            stack.append(argument)
        else:
            stack.append(_UNKNOWN)


def _name(module: str, attribute: str) -> str:
    """Protocols up to 2 name the built-ins as Python 2 did."""
    return f"{'builtins' if module == '__builtin__' else module}.{attribute}"


def _pop(stack: list[object]) -> object:
    return stack.pop() if stack else _UNKNOWN
