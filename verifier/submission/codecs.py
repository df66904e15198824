"""Decoders for packed scripts, each with a bound on what it may produce.

Decompression is streamed with a maximum length: 256 MiB of zeros pack into 400 bytes of brotli. A decoder either returns the
whole payload, or raises `PayloadLimit` (the bound was hit) or `PayloadError` (the bytes are not what the script says).
"""

from __future__ import annotations

import base64
import binascii
import bz2
import lzma
import zlib
from collections.abc import Callable, Mapping, Sequence

import brotli
import zstandard

from verifier.limits import MIB, Limits

_LZMA_DICTIONARY = 64 * MIB
_ZSTD_WINDOW = 128 * MIB
_STREAMS = 64
"""Concatenated streams read from one payload."""
_CHUNK = MIB
_SMALL = 64 * 1024
"""Payloads may always unpack to this much: the ratio of a tiny payload means nothing."""


class PayloadError(Exception):
    """The bytes can't be decoded in the way the script says."""


class PayloadLimit(PayloadError):
    """Decoding stopped at the bound."""


def output_bound(packed: int, limits: Limits) -> int:
    """Largest output accepted from `packed` bytes."""
    return min(limits.layer_bytes, max(_SMALL, packed * limits.layer_ratio))


def decompress_zlib(data: bytes, bound: int, wbits: int = zlib.MAX_WBITS) -> bytes:
    """zlib, raw deflate or gzip, as `wbits` says; concatenated gzip members are joined."""
    if not (8 <= abs(wbits) <= 15 or 24 <= wbits <= 31 or 40 <= wbits <= 47 or wbits == 0):
        raise PayloadError(f"invalid wbits {wbits}")
    several = wbits >= 24

    def one(rest: bytes, left: int) -> tuple[bytes, bytes, bool]:
        stream = zlib.decompressobj(wbits)
        return stream.decompress(rest, left), stream.unused_data, stream.eof

    return _join_streams(data, bound, one, several, "zlib")


def decompress_gzip(data: bytes, bound: int) -> bytes:
    return decompress_zlib(data, bound, 31)


def decompress_bz2(data: bytes, bound: int) -> bytes:
    def one(rest: bytes, left: int) -> tuple[bytes, bytes, bool]:
        stream = bz2.BZ2Decompressor()
        return stream.decompress(rest, left), stream.unused_data, stream.eof

    return _join_streams(data, bound, one, True, "bz2")


def decompress_lzma(
    data: bytes, bound: int, form: int = lzma.FORMAT_AUTO, filters: Sequence[Mapping[str, object]] | None = None
) -> bytes:
    """xz, the legacy `.lzma` container, or raw LZMA with the filter chain of the script."""
    chain = _checked_filters(filters) if filters is not None else None
    if form == lzma.FORMAT_RAW and chain is None:
        raise PayloadError("raw LZMA without filters")

    def one(rest: bytes, left: int) -> tuple[bytes, bytes, bool]:
        if form == lzma.FORMAT_RAW:
            stream = lzma.LZMADecompressor(form, filters=chain)
        else:
            stream = lzma.LZMADecompressor(form, memlimit=2 * _LZMA_DICTIONARY)
        out = stream.decompress(rest, left)
        return out, stream.unused_data if stream.eof else b"", stream.eof

    return _join_streams(data, bound, one, True, "lzma")


def _checked_filters(filters: Sequence[Mapping[str, object]]) -> list[dict[str, int]]:
    """Filters as integers, with a bound on the dictionary that the decoder allocates up front."""
    if not 1 <= len(filters) <= 4:
        raise PayloadError("between one and four filters are possible")
    chain: list[dict[str, int]] = []
    for entry in filters:
        checked: dict[str, int] = {}
        for key, value in entry.items():
            if not isinstance(key, str) or not isinstance(value, int) or not 0 <= value < 1 << 63:
                raise PayloadError("a filter holds something other than integers")
            checked[key] = value
        if checked.get("dict_size", 0) > _LZMA_DICTIONARY:
            raise PayloadLimit(f"an LZMA dictionary of {checked['dict_size']:,} bytes")
        chain.append(checked)
    return chain


def decompress_brotli(data: bytes, bound: int) -> bytes:
    """Brotli. The library's own limit is approximate, so the output is counted here."""
    stream = brotli.Decompressor()
    parts: list[bytes] = []
    total = 0
    rest = data
    try:
        while not stream.is_finished():
            part = stream.process(rest, output_buffer_limit=_CHUNK)
            rest = b""
            total += len(part)
            parts.append(part)
            if total > bound:
                raise PayloadLimit(f"more than {bound:,} bytes")
            if not part and stream.can_accept_more_data():
                break
    except brotli.error as failure:
        raise PayloadError(f"not brotli: {failure}") from failure
    if not stream.is_finished():
        raise PayloadError("truncated brotli")
    return b"".join(parts)


def decompress_zstd(data: bytes, bound: int) -> bytes:
    """Zstandard, all frames. Read as a stream: a frame's declared size is not trusted."""
    try:
        decoder = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        with decoder.stream_reader(data, read_across_frames=True) as reader:
            parts: list[bytes] = []
            total = 0
            while part := reader.read(_CHUNK):
                total += len(part)
                if total > bound:
                    raise PayloadLimit(f"more than {bound:,} bytes")
                parts.append(part)
    except zstandard.ZstdError as failure:
        raise PayloadError(f"not zstd: {failure}") from failure
    return b"".join(parts)


def _join_streams(
    data: bytes, bound: int, one: Callable[[bytes, int], tuple[bytes, bytes, bool]], several: bool, name: str
) -> bytes:
    parts: list[bytes] = []
    total = 0
    rest = data
    for _ in range(_STREAMS):
        try:
            # One byte beyond the bound tells a full output from a cut one.
            part, rest, ended = one(rest, bound - total + 1)
        except (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError, MemoryError, TypeError) as failure:
            if parts and several:
                break  # trailing bytes after a complete stream are ignored, as the standard library does
            raise PayloadError(f"not {name}: {failure}") from failure
        total += len(part)
        if total > bound:
            raise PayloadLimit(f"more than {bound:,} bytes")
        if not ended:
            raise PayloadError(f"truncated {name}")
        parts.append(part)
        if not rest or not several:
            return b"".join(parts)
    return b"".join(parts)


def decode_text(name: str, data: bytes | str) -> bytes:
    """Undo a text encoding: `base85`, `ascii85`, `ascii85-adobe`, `base64`, `base64-url`, `base32`, `base16` or `hex`."""
    raw = data.encode("latin-1", "replace") if isinstance(data, str) else data
    try:
        return _TEXT_DECODERS[name](raw)
    except (ValueError, binascii.Error) as failure:
        raise PayloadError(f"not {name}: {str(failure)[:120]}") from failure


_TEXT_DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "base85": base64.b85decode,
    "ascii85": base64.a85decode,
    "ascii85-adobe": lambda raw: base64.a85decode(raw, adobe=True),
    "base64": base64.b64decode,
    "base64-url": base64.urlsafe_b64decode,
    "base32": base64.b32decode,
    "base16": base64.b16decode,
    "hex": lambda raw: bytes.fromhex(raw.decode("ascii")),
}
