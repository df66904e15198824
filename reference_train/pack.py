"""From a payload to bytes on disk, and the ledger of what is submitted: code + model bytes, at most 16,000,000."""

from __future__ import annotations

import base64
import lzma
import zlib
from dataclasses import dataclass
from pathlib import Path

import brotli
import zstandard

from reference_train.errors import TrainerError
from reference_train.shards import write_atomic

CAP_BYTES = 16_000_000
SHUFFLE_MAGIC = b"BSHF"
COMPRESSORS = ("zlib", "lzma", "brotli", "zstd")
MAX_UNPACKED = 1 << 31
RAW_LZMA = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]


def byte_shuffle(data: bytes, stride: int = 2) -> bytes:
    """Bytes at positions 0 mod stride first, then 1 mod stride, ...: the high bytes of fp16 become neighbours."""
    if len(data) < stride and not data.startswith(SHUFFLE_MAGIC):  # what looks like a header must get one
        return data
    return SHUFFLE_MAGIC + bytes([stride]) + b"".join(data[phase::stride] for phase in range(stride))


def byte_unshuffle(data: bytes) -> bytes:
    if data[:4] != SHUFFLE_MAGIC:
        return data
    stride, body = data[4], data[5:]
    out = bytearray(len(body))
    start = 0
    for phase in range(stride):
        size = len(body) // stride + (phase < len(body) % stride)
        out[phase::stride] = body[start : start + size]
        start += size
    return bytes(out)


def compress(data: bytes, compressor: str) -> bytes:
    """The settings of the submitted systems. Output sizes depend on library versions, so the log names them."""
    if compressor == "zlib":
        return zlib.compress(data, 9)
    if compressor == "lzma":
        return lzma.compress(data, preset=6)
    if compressor == "brotli":
        return bytes(brotli.compress(data, quality=11))
    if compressor == "zstd":
        return bytes(zstandard.ZstdCompressor(level=22).compress(data))
    raise TrainerError(f"unknown COMPRESSOR {compressor!r}: use one of {', '.join(COMPRESSORS)}")


def decompress(data: bytes, compressor: str) -> bytes:
    try:
        if compressor == "zlib":
            return zlib.decompressobj().decompress(data, MAX_UNPACKED)
        if compressor == "lzma":
            return lzma.LZMADecompressor().decompress(data, MAX_UNPACKED)
        if compressor == "brotli":
            return bytes(brotli.decompress(data))
        if compressor == "zstd":
            return zstandard.ZstdDecompressor().decompress(data, max_output_size=MAX_UNPACKED)
    except (zlib.error, lzma.LZMAError, brotli.error, zstandard.ZstdError) as problem:
        raise TrainerError(f"the artifact does not decompress as {compressor} ({problem}); check COMPRESSOR") from problem
    raise TrainerError(f"unknown COMPRESSOR {compressor!r}: use one of {', '.join(COMPRESSORS)}")


def pack_payload(container: bytes, compressor: str, shuffle: bool) -> bytes:
    return compress(byte_shuffle(container) if shuffle else container, compressor)


def unpack_payload(artifact: bytes, compressor: str) -> bytes:
    return byte_unshuffle(decompress(artifact, compressor))


def pack_code(source: str) -> str:
    """A two-line self-extracting script: raw LZMA2, base85. The decoded text is the script, nothing is hidden in it."""
    packed = base64.b85encode(lzma.compress(source.encode(), format=lzma.FORMAT_RAW, filters=RAW_LZMA)).decode()
    loader = 'L.decompress(B.b85decode("{}"),format=L.FORMAT_RAW,filters=[{{"id":L.FILTER_LZMA2}}])'
    return f"import lzma as L,base64 as B\nexec(compile({loader.format(packed)},__file__,'exec'))\n"


def unpack_code(script: str) -> str:
    literal = script.split('b85decode("', 1)[1].split('"', 1)[0]
    return lzma.decompress(base64.b85decode(literal), format=lzma.FORMAT_RAW, filters=RAW_LZMA).decode()


@dataclass(frozen=True)
class Ledger:
    """Sizes of the files as they lie on disk."""

    code: int
    model: int
    cap: int = CAP_BYTES

    @property
    def total(self) -> int:
        return self.code + self.model

    @property
    def margin(self) -> int:
        return self.cap - self.total


def write_artifact(path: Path, artifact: bytes, script: Path, *, cap: int = CAP_BYTES, allow_over_cap: bool = False) -> Ledger:
    """Write the artifact and count it together with the script that is submitted. Exceeding the cap is an error."""
    code = script.stat().st_size
    total = code + len(artifact)
    if total > cap and not allow_over_cap:
        raise TrainerError(
            f"the submission would be {total:,} bytes, {total - cap:,} over the cap of {cap:,} "
            f"(code {code:,} + model {len(artifact):,}); nothing was written: prune with SELECTIVE_PRUNE=1, quantize "
            "harder, shrink the model, or pass --allow-over-cap to look at it anyway"
        )
    write_atomic(path, artifact)
    return read_ledger(path, script, cap=cap)


def read_ledger(artifact: Path, script: Path, *, cap: int = CAP_BYTES) -> Ledger:
    return Ledger(script.stat().st_size, artifact.stat().st_size, cap)
