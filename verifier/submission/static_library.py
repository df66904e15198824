"""The standard library calls that packed scripts are made of: paths, files, text encodings, decompressors.

Each model maps known arguments to a known value and does what the call would do, within bounds. Files are those of the record
folder, or texts that the script itself wrote before; nothing outside of the folder is ever opened.
"""

from __future__ import annotations

import lzma
import posixpath
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from verifier.evidence import Location
from verifier.limits import Limits
from verifier.submission import codecs
from verifier.submission.static_values import (
    ITEMS,
    UNKNOWN,
    Budget,
    Origin,
    Static,
    Unknown,
    Value,
)

REPOSITORY = "/<repository>"
FOLDER = f"{REPOSITORY}/records/<track>/<folder>"
"""The record folder as the script sees it; `Path(__file__).parents[3]` is the repository."""

CONSTANTS: dict[str, object] = {
    **{f"lzma.{name}": getattr(lzma, name) for name in dir(lzma) if name.startswith(("FORMAT_", "FILTER_", "PRESET_", "CHECK_"))},
    **{f"lzma.{name}": getattr(lzma, name) for name in dir(lzma) if name.startswith(("MODE_", "MF_"))},
    "zlib.MAX_WBITS": zlib.MAX_WBITS,
    "zlib.DEFLATED": zlib.DEFLATED,
    "os.sep": "/",
    "os.path.sep": "/",
    "os.linesep": "\n",
}


@dataclass(slots=True)
class Decoding:
    """One payload that the script decodes. `value` is `None` when it could not be decoded (`problem` says why)."""

    value: bytes | None
    origin: Origin
    source: Location
    problem: Unknown | None
    used: bool = False
    """Decoded further, executed or written to a file."""


@dataclass(slots=True)
class Library:
    """State that the modelled calls share within one file."""

    path: str
    files: Mapping[str, bytes]
    limits: Limits
    budget: Budget
    location: Location
    """Of the statement being evaluated."""
    written: dict[str, Static | Unknown] = field(default_factory=dict)
    decodings: list[Decoding] = field(default_factory=list)
    temporary: int = 0

    # -- files -----------------------------------------------------------------------------------------------------------

    def absolute(self, path: object) -> str | None:
        """A path as the script would resolve it; relative paths count from the record folder."""
        text = str(path) if isinstance(path, PurePosixPath) else path
        if not isinstance(text, str) or not text or "\0" in text or len(text) > 4096:
            return None
        return posixpath.normpath(posixpath.join(FOLDER, text))

    def in_folder(self, path: object) -> str | None:
        """The name of a file of the folder, relative to it, or `None` when the path leads elsewhere or to nothing."""
        full = self.absolute(path)
        if full is None:
            return None
        if full.startswith(f"{FOLDER}/"):
            name = full.removeprefix(f"{FOLDER}/")
            if name in self.files:
                return name
            # Started from the repository's root, scripts spell the folder's own path; the last component tells.
            tail = name.split("/")
            if len(tail) == 4 and tail[0] == "records" and tail[3] in self.files:
                return tail[3]
        return None

    def read_file(self, path: Value, codec: str = "") -> Value:
        """The bytes of a file that the script wrote or that the folder holds."""
        if not isinstance(path, Static):
            return (
                path
                if isinstance(path, Unknown) and path.reason
                else Unknown("a file whose name is not known statically is read")
            )
        full = self.absolute(path.value)
        content: Value
        if full is not None and full in self.written:
            content = self.written[full]
        else:
            name = self.in_folder(path.value)
            if name is None:
                spelled = _spelled(path.value)
                return Unknown(f"{spelled} is read, which is not in the folder", missing=spelled)
            data = self.files[name]
            content = Static(data, Origin(("file",), len(data), -1, name))
        if not codec or not isinstance(content, Static):
            return content
        return self.decompress(codec, content, [], {})

    def exists(self, path: Value) -> Value:
        """True for a file of the folder or one that was written; anything else may or may not be there."""
        if isinstance(path, Static) and (self.absolute(path.value) in self.written or self.in_folder(path.value) is not None):
            return Static(True)
        return UNKNOWN

    def write_file(self, path: Value, content: Value) -> None:
        if isinstance(path, Static) and isinstance(content, Static):
            full = self.absolute(path.value)
            if full is not None and len(self.written) < 1_000:
                before = self.written.get(full)
                if before is not None and before != content:
                    # Written in two branches or in pieces: which text is in the file when it runs is not known.
                    self.written[full] = Unknown("a file that is written more than once, with different text")
                else:
                    self.written[full] = content
                    self.mark_used(content.origin)

    def mark_used(self, origin: Origin) -> None:
        if origin.decoding >= 0:
            self.decodings[origin.decoding].used = True

    # -- decoders --------------------------------------------------------------------------------------------------------

    def decode(self, label: str, argument: Value, action: Callable[[bytes | str], bytes]) -> Value:
        """Apply a decoder to a known payload and keep the step, so that what is never executed is reported as data."""
        if not isinstance(argument, Static):
            return argument if isinstance(argument, Unknown) else UNKNOWN
        payload = argument.value
        if not isinstance(payload, bytes | str):
            return UNKNOWN
        self.mark_used(argument.origin)
        packed = argument.origin.packed or len(payload)
        origin = Origin((*argument.origin.codec, label), packed, len(self.decodings), argument.origin.path)
        problem: Unknown | None = None
        result: bytes | None = None
        try:
            result = action(payload)
        except codecs.PayloadLimit as failure:
            problem = Unknown(f"{label}: {failure}", "layer-limit")
        except codecs.PayloadError as failure:
            problem = Unknown(f"{label}: {failure}")
        if result is not None and not self.budget.allocate(len(result)):
            result, problem = None, Unknown(f"{label}: more than is unpacked", "layer-limit")
        if len(self.decodings) >= ITEMS:
            return Unknown("too many payloads", "layer-limit")
        self.decodings.append(Decoding(result, origin, self.location, problem))
        if result is None:
            return problem or UNKNOWN
        return Static(result, origin)

    def decode_text(self, name: str, argument: Value) -> Value:
        return self.decode(name, argument, lambda payload: codecs.decode_text(name, payload))

    def decompress(self, name: str, argument: Value, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
        """`lzma`, `zlib`, `gzip`, `bz2`, `brotli` or `zstd` with the options of the call."""
        options = {key: value.value for key, value in keywords.items() if isinstance(value, Static)}
        extra = [value.value for value in arguments if isinstance(value, Static)]
        if len(options) != len(keywords) or len(extra) != len(arguments):
            return Unknown(f"the options of {name} are not known statically")
        label, action = _decompressor(name, extra, options, self.limits)

        def run(payload: bytes | str) -> bytes:
            if isinstance(payload, str):
                raise codecs.PayloadError("text instead of bytes")
            return action(payload)

        return self.decode(label, argument, run)


def _spelled(path: object) -> str:
    return str(path).replace(FOLDER + "/", "").replace(REPOSITORY + "/", "")[:160]


def _decompressor(
    name: str, extra: Sequence[object], options: Mapping[str, object], limits: Limits
) -> tuple[str, Callable[[bytes], bytes]]:
    """The label of the codec and the bounded decoder."""

    def bound(data: bytes) -> int:
        return codecs.output_bound(len(data), limits)

    if name == "lzma":
        form = extra[0] if extra else options.get("format", lzma.FORMAT_AUTO)
        filters = extra[2] if len(extra) > 2 else options.get("filters")
        label = {lzma.FORMAT_RAW: "lzma-raw", lzma.FORMAT_ALONE: "lzma-alone"}.get(form if isinstance(form, int) else -1, "xz")
        chain = filters if isinstance(filters, list | tuple) else None
        number = form if isinstance(form, int) else lzma.FORMAT_AUTO
        return label, lambda data: codecs.decompress_lzma(data, bound(data), number, chain)
    if name == "zlib":
        wbits = extra[0] if extra else options.get("wbits", zlib.MAX_WBITS)
        number = wbits if isinstance(wbits, int) else zlib.MAX_WBITS
        label = "deflate" if number < 0 else "gzip" if 24 <= number <= 31 else "zlib"
        return label, lambda data: codecs.decompress_zlib(data, bound(data), number)
    plain = {
        "gzip": codecs.decompress_gzip,
        "bz2": codecs.decompress_bz2,
        "brotli": codecs.decompress_brotli,
        "zstd": codecs.decompress_zstd,
    }[name]
    return name, lambda data: plain(data, bound(data))
