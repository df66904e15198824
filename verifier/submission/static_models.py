"""Models of library functions, by dotted name: what each returns for known arguments."""

from __future__ import annotations

import ast
import json
import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from verifier.submission.static_library import FOLDER, Library
from verifier.submission.static_values import (
    ITEMS,
    UNKNOWN,
    DecoderObject,
    FileHandle,
    ModuleSpec,
    Reference,
    Static,
    Unknown,
    Value,
    elements,
    merge_origins,
)


def call_model(library: Library, name: str, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
    """A call of a library function by its dotted name; `UNKNOWN` for everything that is not modelled."""
    model = _MODELS.get(name)
    return model(library, arguments, keywords) if model is not None else UNKNOWN


type _Model = Callable[[Library, Sequence[Value], Mapping[str, Value]], Value]


def _first(arguments: Sequence[Value], keywords: Mapping[str, Value], *names: str) -> Value:
    if arguments:
        return arguments[0]
    return next((keywords[name] for name in names if name in keywords), UNKNOWN)


def _text_model(name: str) -> _Model:
    return lambda library, arguments, keywords: library.decode_text(
        name, _first(arguments, keywords, "b", "s", "string", "hexstr")
    )


def _decompress_model(name: str) -> _Model:
    def model(library: Library, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
        payload = _first(arguments, keywords, "data", "string", "buf")
        rest = {
            key: value for key, value in keywords.items() if key not in ("data", "string", "buf", "bufsize", "max_output_size")
        }
        return library.decompress(name, payload, arguments[1:], rest)

    return model


def _object_model(name: str) -> _Model:
    return lambda library, arguments, keywords: DecoderObject(name, tuple(arguments), dict(keywords))


def _ascii85(library: Library, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
    adobe = keywords.get("adobe")
    framed = isinstance(adobe, Static) and bool(adobe.value)
    return library.decode_text("ascii85-adobe" if framed else "ascii85", _first(arguments, keywords, "b"))


def _codecs_decode(library: Library, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
    """`codecs.decode(data, "base64")` and its relatives."""
    encoding = arguments[1] if len(arguments) > 1 else keywords.get("encoding")
    if not isinstance(encoding, Static) or not isinstance(encoding.value, str) or not arguments:
        return UNKNOWN
    name = encoding.value.lower().replace("-", "_").removesuffix("_codec")
    if name in ("base64", "hex"):
        return library.decode_text(name, arguments[0])
    if name in ("zlib", "zip", "bz2"):
        return library.decompress("bz2" if name == "bz2" else "zlib", arguments[0], [], {})
    return Unknown(f"text is decoded with the codec {name[:40]}")


def _join(library: Library, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
    parts = [argument.value for argument in arguments if isinstance(argument, Static)]
    texts = [str(part) for part in parts if isinstance(part, str | PurePosixPath)]
    if len(texts) != len(arguments) or not texts or sum(map(len, texts)) > 4096:
        return UNKNOWN
    return Static(posixpath.join(*texts))


def _path(library: Library, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
    parts = [argument.value for argument in arguments if isinstance(argument, Static)]
    if len(parts) != len(arguments) or not all(isinstance(part, str | PurePosixPath) for part in parts):
        return UNKNOWN
    if sum(len(str(part)) for part in parts) > 4096:
        return UNKNOWN
    return Static(PurePosixPath(*[part for part in parts if isinstance(part, str | PurePosixPath)]))


def _on_path(transform: Callable[[str], str]) -> _Model:
    def model(library: Library, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
        if len(arguments) != 1 or not isinstance(arguments[0], Static):
            return UNKNOWN
        value = arguments[0].value
        return Static(transform(str(value)), arguments[0].origin) if isinstance(value, str | PurePosixPath) else UNKNOWN

    return model


def _splitext(library: Library, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
    if len(arguments) != 1 or not isinstance(arguments[0], Static) or not isinstance(arguments[0].value, str):
        return UNKNOWN
    return Static(posixpath.splitext(arguments[0].value))


def _temporary(is_file: bool) -> _Model:
    def model(library: Library, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
        library.temporary += 1
        path = Static(f"/<temporary {library.temporary}>")
        return FileHandle(path) if is_file else path

    return model


def _make_temporary_file(library: Library, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
    library.temporary += 1
    return Static((library.temporary, f"/<temporary {library.temporary}>"))


def _open(codec: str) -> _Model:
    def model(library: Library, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
        path = _first(arguments, keywords, "file", "filename", "fileobj")
        if not path or isinstance(path, FileHandle):  # gzip.GzipFile(fileobj=io.BytesIO(payload))
            return replace(path, codec=codec) if isinstance(path, FileHandle) else UNKNOWN
        if isinstance(path, Static) and path.value is None and "fileobj" in keywords:
            inner = keywords["fileobj"]
            return replace(inner, codec=codec) if isinstance(inner, FileHandle) else UNKNOWN
        if isinstance(path, Static) and isinstance(path.value, int) and not isinstance(path.value, bool):
            return FileHandle(Static(f"/<temporary {path.value}>"))  # os.fdopen(tempfile.mkstemp()[0])
        return FileHandle(path if isinstance(path, Static | Unknown) else UNKNOWN, codec)

    return model


def _memory_file(library: Library, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
    content = _first(arguments, keywords, "initial_bytes", "initial_value")
    return FileHandle(UNKNOWN, content=content) if isinstance(content, Static) else UNKNOWN


def _json_loads(library: Library, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
    value = arguments[0] if len(arguments) == 1 else UNKNOWN
    if not isinstance(value, Static) or not isinstance(value.value, str | bytes) or len(value.value) > library.limits.json_file:
        return UNKNOWN
    opening = value.value.count("[") + value.value.count("{") if isinstance(value.value, str) else value.value.count(b"{")
    if opening > ITEMS:
        return Unknown("a JSON document with too many items", "layer-limit")
    try:
        return Static(json.loads(value.value), value.origin)
    except (ValueError, RecursionError):
        return UNKNOWN


def _literal_eval(library: Library, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
    value = arguments[0] if len(arguments) == 1 else UNKNOWN
    if not isinstance(value, Static) or not isinstance(value.value, str) or len(value.value) > 1 << 20:
        return UNKNOWN
    try:
        return Static(ast.literal_eval(value.value), value.origin)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return UNKNOWN


def _make_bytes(library: Library, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
    if not arguments:
        return Static(b"")
    value = arguments[0]
    if not isinstance(value, Static):
        return value if isinstance(value, Unknown) else UNKNOWN
    raw = value.value
    if isinstance(raw, bytes):
        return value
    if isinstance(raw, str):
        return Static(raw.encode("utf-8", "replace"), value.origin)
    items = elements(value)
    numbers = [item.value for item in items or [] if isinstance(item.value, int) and 0 <= item.value < 256]
    if items is None or len(numbers) != len(items):
        return UNKNOWN
    return Static(bytes(numbers), value.origin)


def _make_text(library: Library, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
    if not arguments or not isinstance(arguments[0], Static):
        return arguments[0] if arguments and isinstance(arguments[0], Unknown) else UNKNOWN
    raw = arguments[0].value
    if isinstance(raw, str | PurePosixPath | bool) or (isinstance(raw, int) and abs(raw) < 1 << 60):
        return Static(str(raw), arguments[0].origin)
    if isinstance(raw, bytes) and (len(arguments) > 1 or "encoding" in keywords):
        return Static(raw.decode("utf-8", "replace"), arguments[0].origin)
    return UNKNOWN


def _sequence(build: Callable[[list[list[Static]]], list[object]]) -> _Model:
    def model(library: Library, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
        known = [argument for argument in arguments if isinstance(argument, Static)]
        items = [elements(argument) for argument in known]
        if keywords or len(known) != len(arguments) or any(item is None for item in items):
            return UNKNOWN
        built = build([item for item in items if item is not None])
        return Static(built, merge_origins(known)) if library.budget.allocate(64 * len(built)) else UNKNOWN

    return model


def _range(library: Library, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
    numbers = [argument.value for argument in arguments if isinstance(argument, Static) and isinstance(argument.value, int)]
    if len(numbers) != len(arguments) or not 1 <= len(numbers) <= 3 or max(map(abs, numbers)) > 1 << 40:
        return UNKNOWN
    try:
        made = range(*numbers)
    except ValueError:
        return UNKNOWN
    return Static(made) if len(made) <= ITEMS else UNKNOWN


def _of_one(transform: Callable[[object], object]) -> _Model:
    def model(library: Library, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
        if len(arguments) != 1 or keywords or not isinstance(arguments[0], Static):
            return UNKNOWN
        try:
            return Static(transform(arguments[0].value), arguments[0].origin)
        except (TypeError, ValueError, OverflowError):
            return UNKNOWN

    return model


def _integer(value: object) -> int:
    if isinstance(value, str | bytes) and len(value) > 40:
        raise ValueError
    return int(value)  # type: ignore[call-overload,no-any-return]


def _spec(library: Library, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
    name = _first(arguments, keywords, "name", "fullname")
    path = arguments[1] if len(arguments) > 1 else keywords.get("location", keywords.get("path", UNKNOWN))
    return ModuleSpec(
        "spec", name if isinstance(name, Static | Unknown) else UNKNOWN, path if isinstance(path, Static | Unknown) else UNKNOWN
    )


def _module_from_spec(library: Library, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
    spec = _first(arguments, keywords, "spec")
    return replace(spec, role="module") if isinstance(spec, ModuleSpec) else UNKNOWN


def _import(top_only: bool) -> _Model:
    def model(library: Library, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
        name = arguments[0] if arguments else UNKNOWN
        if isinstance(name, Static) and isinstance(name.value, str):
            whole = not top_only or "fromlist" in keywords or len(arguments) > 3
            return Reference(name.value if whole else name.value.split(".")[0])
        return UNKNOWN

    return model


_MODELS: dict[str, _Model] = {
    "base64.b85decode": _text_model("base85"),
    "base64.a85decode": _ascii85,
    "base64.b64decode": _text_model("base64"),
    "base64.standard_b64decode": _text_model("base64"),
    "base64.decodebytes": _text_model("base64"),
    "base64.urlsafe_b64decode": _text_model("base64-url"),
    "base64.b32decode": _text_model("base32"),
    "base64.b16decode": _text_model("base16"),
    "binascii.a2b_base64": _text_model("base64"),
    "binascii.unhexlify": _text_model("hex"),
    "binascii.a2b_hex": _text_model("hex"),
    "builtins.bytes.fromhex": _text_model("hex"),
    "builtins.bytearray.fromhex": _text_model("hex"),
    "codecs.decode": _codecs_decode,
    "lzma.decompress": _decompress_model("lzma"),
    "zlib.decompress": _decompress_model("zlib"),
    "gzip.decompress": _decompress_model("gzip"),
    "bz2.decompress": _decompress_model("bz2"),
    "brotli.decompress": _decompress_model("brotli"),
    "brotlicffi.decompress": _decompress_model("brotli"),
    "zstandard.decompress": _decompress_model("zstd"),
    "zstd.decompress": _decompress_model("zstd"),
    "pyzstd.decompress": _decompress_model("zstd"),
    "compression.zstd.decompress": _decompress_model("zstd"),
    "backports.zstd.decompress": _decompress_model("zstd"),
    "compression.lzma.decompress": _decompress_model("lzma"),
    "compression.zlib.decompress": _decompress_model("zlib"),
    "compression.gzip.decompress": _decompress_model("gzip"),
    "compression.bz2.decompress": _decompress_model("bz2"),
    "lzma.LZMADecompressor": _object_model("lzma"),
    "zlib.decompressobj": _object_model("zlib"),
    "bz2.BZ2Decompressor": _object_model("bz2"),
    "brotli.Decompressor": _object_model("brotli"),
    "zstandard.ZstdDecompressor": _object_model("zstd"),
    "pyzstd.ZstdDecompressor": _object_model("zstd"),
    "os.path.join": _join,
    "os.path.dirname": _on_path(posixpath.dirname),
    "os.path.basename": _on_path(posixpath.basename),
    "os.path.abspath": _on_path(lambda path: posixpath.normpath(posixpath.join(FOLDER, path))),
    "os.path.realpath": _on_path(lambda path: posixpath.normpath(posixpath.join(FOLDER, path))),
    "os.path.normpath": _on_path(posixpath.normpath),
    "os.path.splitext": _splitext,
    "os.path.exists": lambda library, arguments, keywords: library.exists(_first(arguments, keywords, "path")),
    "os.path.isfile": lambda library, arguments, keywords: library.exists(_first(arguments, keywords, "path")),
    "os.fspath": _on_path(str),
    "os.getcwd": lambda library, arguments, keywords: Static(FOLDER),
    "pathlib.Path": _path,
    "pathlib.PurePath": _path,
    "pathlib.PosixPath": _path,
    "pathlib.Path.cwd": lambda library, arguments, keywords: Static(PurePosixPath(FOLDER)),
    "tempfile.mkdtemp": _temporary(False),
    "tempfile.gettempdir": lambda library, arguments, keywords: Static("/<temporary>"),
    "tempfile.mktemp": _temporary(False),
    "tempfile.mkstemp": _make_temporary_file,
    "tempfile.TemporaryDirectory": _temporary(False),
    "tempfile.NamedTemporaryFile": _temporary(True),
    "builtins.open": _open(""),
    "io.open": _open(""),
    "codecs.open": _open(""),
    "os.fdopen": _open(""),
    "gzip.open": _open("gzip"),
    "gzip.GzipFile": _open("gzip"),
    "lzma.open": _open("lzma"),
    "lzma.LZMAFile": _open("lzma"),
    "bz2.open": _open("bz2"),
    "bz2.BZ2File": _open("bz2"),
    "io.BytesIO": _memory_file,
    "io.StringIO": _memory_file,
    "json.loads": _json_loads,
    "ast.literal_eval": _literal_eval,
    "textwrap.dedent": _of_one(lambda text: text),
    "builtins.bytes": _make_bytes,
    "builtins.bytearray": _make_bytes,
    "builtins.memoryview": _make_bytes,
    "builtins.str": _make_text,
    "builtins.int": _of_one(_integer),
    "builtins.len": _of_one(lambda value: len(value)),  # type: ignore[arg-type]
    "builtins.ord": _of_one(lambda value: ord(value)),  # type: ignore[arg-type]
    "builtins.chr": _of_one(lambda value: chr(value)),  # type: ignore[arg-type]
    "builtins.list": _sequence(lambda items: [item.value for item in items[0]] if items else []),
    "builtins.tuple": _sequence(lambda items: [item.value for item in items[0]] if items else []),
    "builtins.reversed": _sequence(lambda items: [item.value for item in reversed(items[0])] if items else []),
    "builtins.iter": _sequence(lambda items: [item.value for item in items[0]] if items else []),
    "builtins.zip": _sequence(lambda items: [tuple(one.value for one in row) for row in zip(*items, strict=False)]),
    "builtins.enumerate": _sequence(
        lambda items: [(number, item.value) for number, item in enumerate(items[0])] if items else []
    ),
    "builtins.range": _range,
    "importlib.util.spec_from_file_location": _spec,
    "importlib.util.module_from_spec": _module_from_spec,
    "importlib.machinery.SourceFileLoader": _spec,
    "importlib.import_module": _import(top_only=False),
    "builtins.__import__": _import(top_only=True),
}
