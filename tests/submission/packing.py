"""Packed scripts for tests: our own payload in every form that packers use."""

from __future__ import annotations

import base64
import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable

import brotli
import zstandard

PROGRAM = """import os


class Hyperparameters:
    iterations = int(os.environ.get("ITERATIONS", 20000))
    ttt_enabled = bool(int(os.environ.get("TTT_ENABLED", "0")))


def main():
    print("step:1/20000 train_loss:3.2", Hyperparameters.iterations)


if __name__ == "__main__":
    main()
"""
RAW = [{"id": lzma.FILTER_LZMA2}]
DELTA = [{"id": lzma.FILTER_DELTA, "dist": 2}, {"id": lzma.FILTER_LZMA2, "preset": 6 | lzma.PRESET_EXTREME}]


def deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


COMPRESSORS: dict[str, tuple[Callable[[bytes], bytes], str, str]] = {
    # name: how it is packed, the expression that unpacks `{}`, the label of the codec
    "xz": (lzma.compress, "lzma.decompress({})", "xz"),
    "lzma-alone": (lambda d: lzma.compress(d, format=lzma.FORMAT_ALONE), "lzma.decompress({}, lzma.FORMAT_ALONE)", "lzma-alone"),
    "lzma-auto": (lambda d: lzma.compress(d, format=lzma.FORMAT_ALONE), "lzma.decompress({})", "xz"),
    "lzma-raw": (
        lambda d: lzma.compress(d, lzma.FORMAT_RAW, filters=RAW),
        'lzma.decompress({}, format=lzma.FORMAT_RAW, filters=[{{"id": lzma.FILTER_LZMA2}}])',
        "lzma-raw",
    ),
    "lzma-raw-delta": (
        lambda d: lzma.compress(d, lzma.FORMAT_RAW, filters=DELTA),
        'lzma.decompress({}, format=3, filters=[{{"id": lzma.FILTER_DELTA, "dist": 2}}, '
        '{{"id": lzma.FILTER_LZMA2, "preset": 6 | lzma.PRESET_EXTREME}}])',
        "lzma-raw",
    ),
    "lzma-object": (lzma.compress, "lzma.LZMADecompressor().decompress({})", "xz"),
    "zlib": (zlib.compress, "zlib.decompress({})", "zlib"),
    "deflate": (deflate, "zlib.decompress({}, -15)", "deflate"),
    "deflate-object": (deflate, "zlib.decompressobj(wbits=-zlib.MAX_WBITS).decompress({})", "deflate"),
    "gzip": (lambda d: gzip.compress(d, mtime=0), "gzip.decompress({})", "gzip"),
    "gzip-wbits": (lambda d: gzip.compress(d, mtime=0), "zlib.decompress({}, wbits=31)", "gzip"),
    "gzip-file": (lambda d: gzip.compress(d, mtime=0), "gzip.GzipFile(fileobj=io.BytesIO({})).read()", "gzip"),
    "bz2": (bz2.compress, "bz2.decompress({})", "bz2"),
    "brotli": (brotli.compress, "brotli.decompress({})", "brotli"),
    "zstd": (lambda d: zstandard.ZstdCompressor().compress(d), "zstandard.decompress({})", "zstd"),
    "zstd-object": (lambda d: zstandard.ZstdCompressor().compress(d), "zstandard.ZstdDecompressor().decompress({})", "zstd"),
}
ENCODERS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "base85": (base64.b85encode, "base64.b85decode({})"),
    "ascii85": (base64.a85encode, "base64.a85decode({})"),
    "ascii85-adobe": (lambda d: base64.a85encode(d, adobe=True), "base64.a85decode({}, adobe=True)"),
    "base64": (base64.b64encode, "base64.b64decode({})"),
    "base64-url": (base64.urlsafe_b64encode, "base64.urlsafe_b64decode({})"),
    "base32": (base64.b32encode, "base64.b32decode({})"),
    "base16": (base64.b16encode, "base64.b16decode({})"),
    "hex": (lambda d: d.hex().encode(), "bytes.fromhex({})"),
}
IMPORTS = "import base64, bz2, gzip, io, lzma, zlib\nimport brotli, zstandard\n"


def packed_expression(text: str, compressor: str = "xz", encoder: str = "base85") -> str:
    """An expression whose value is the bytes of `text`."""
    pack, unpack, _ = COMPRESSORS[compressor]
    encode, decode = ENCODERS[encoder]
    literal = repr(encode(pack(text.encode())).decode())
    return unpack.format(decode.format(literal))


def packed_script(text: str = PROGRAM, compressor: str = "xz", encoder: str = "base85") -> str:
    return f"{IMPORTS}exec({packed_expression(text, compressor, encoder)})\n"
