"""Modules that a script imports and that are not installed here: a few have a stand-in, all others are named in the record."""

from __future__ import annotations

import importlib.util
import sys
import zlib
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from verifier.execution.child.callers import site
from verifier.execution.child.recorder import Recorder


def make_module(name: str, **members: Any) -> ModuleType:
    """A module with these members that `import` and `importlib.util.find_spec` both find."""
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None, is_package=True)
    module.__path__ = []
    for member, value in members.items():
        setattr(module, member, value)
    sys.modules[name] = module
    return module


def install(recorder: Recorder) -> None:
    """Stand-ins for what is missing. A module that is installed, or lies in the submission's folder, stays what it is."""
    for name, (make, equivalent) in STAND_INS.items():
        parent = name.rpartition(".")[0]
        if name not in sys.modules and (not parent or parent in sys.modules) and importlib.util.find_spec(name) is None:
            _lazily(name, make, equivalent, recorder)


def _lazily(name: str, make: Callable[[Recorder], dict[str, Any]], equivalent: str, recorder: Recorder) -> None:
    made = make_module(name)

    def ask(member: str) -> Any:
        if member.startswith("__"):
            raise AttributeError(member)
        recorder.mapped(name, equivalent)
        members = make(recorder)
        if member not in members:
            raise AttributeError(f"{name}.{member} has no stand-in here")
        made.__dict__.update(members)
        return members[member]

    made.__getattr__ = ask  # type: ignore[method-assign]


def missing_for(failure: BaseException) -> str:
    """What a failed import lacked, as an operator; empty when something else ended the run."""
    if isinstance(failure, ModuleNotFoundError):
        return f"module {(failure.name or '').split('.')[0]}"
    if isinstance(failure, ImportError) and failure.name:
        return f"{failure.name}.{failure.name_from}"
    return ""


def _brotli(recorder: Recorder) -> dict[str, Any]:
    def compress(data: bytes, mode: int = 0, quality: int = 11, lgwin: int = 22, lgblock: int = 0) -> bytes:
        return zlib.compress(data, min(9, quality))

    return {
        "compress": compress,
        "decompress": zlib.decompress,
        "MODE_GENERIC": 0,
        "MODE_TEXT": 1,
        "MODE_FONT": 2,
        "error": zlib.error,
    }


def _zstandard(recorder: Recorder) -> dict[str, Any]:
    class ZstdCompressor:
        def __init__(self, level: int = 3, **options: Any) -> None:
            self._level = min(9, max(1, level))

        def compress(self, data: bytes) -> bytes:
            return zlib.compress(data, self._level)

    class ZstdDecompressor:
        def __init__(self, **options: Any) -> None: ...

        def decompress(self, data: bytes, max_output_size: int = 0) -> bytes:
            return zlib.decompress(data)

    return {
        "ZstdCompressor": ZstdCompressor, "ZstdDecompressor": ZstdDecompressor, "ZstdError": zlib.error, "MAX_COMPRESSION_LEVEL": 22,
        "compress": lambda data, level=3: zlib.compress(data, min(9, level)), "decompress": zlib.decompress,
    }  # fmt: skip


def _numba(recorder: Recorder) -> dict[str, Any]:
    def compiled(function: Any = None, *args: Any, **options: Any) -> Any:
        return function if callable(function) else lambda inner: inner

    types = {
        name: (lambda *args: None) for name in ("int32", "int64", "uint16", "uint32", "uint64", "float32", "float64", "boolean")
    }
    return {
        "njit": compiled,
        "jit": compiled,
        "vectorize": compiled,
        "prange": range,
        "set_num_threads": lambda count: None,
        **types,
    }


def _minifier(recorder: Recorder) -> dict[str, Any]:
    return {"minify": lambda text, *args, **options: text}


def _tqdm(recorder: Recorder) -> dict[str, Any]:
    class Bar:
        def __init__(self, items: Any = (), *args: Any, **options: Any) -> None:
            self._items = items

        def __iter__(self) -> Any:
            return iter(self._items)

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *exc: object) -> None: ...

        def __getattr__(self, name: str) -> Any:
            return lambda *args, **options: None

        @staticmethod
        def write(text: str, *args: Any, **options: Any) -> None:
            sys.stdout.write(text + "\n")

    return {"tqdm": Bar, "trange": lambda *bounds, **options: Bar(range(*bounds))}


def _hub(recorder: Recorder) -> dict[str, Any]:
    def download(*args: Any, **options: Any) -> Any:
        recorder.event("network", what="huggingface_hub", target=str(args or options)[:300], site=site())
        raise ConnectionError("there is no network here")

    return dict.fromkeys(("hf_hub_download", "snapshot_download", "login", "HfApi", "list_repo_files", "upload_file"), download)


def _wandb(recorder: Recorder) -> dict[str, Any]:
    def nothing(*args: Any, **options: Any) -> None: ...

    return {
        **dict.fromkeys(("init", "log", "finish", "watch", "save", "define_metric", "login"), nothing),
        "run": None,
        "config": {},
    }


STAND_INS: dict[str, tuple[Callable[[Recorder], dict[str, Any]], str]] = {
    "brotli": (_brotli, "zlib: sizes differ"),
    "zstandard": (_zstandard, "zlib: sizes differ"),
    "numba": (_numba, "functions run uncompiled"),
    "python_minifier": (_minifier, "the text as it is"),
    "huggingface_hub": (_hub, "no network: every download fails"),
    "wandb": (_wandb, "nothing is logged"),
    "tqdm": (_tqdm, "no progress bar"),
    "tqdm.auto": (_tqdm, "no progress bar"),
}
