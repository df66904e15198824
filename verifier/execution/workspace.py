"""The working folder of one run: copies of the submission's files, toy data where the script looks for it, the plan."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from verifier.execution.launch import OWN, PLAN, RECORD
from verifier.execution.seal import new_key
from verifier.execution.toy_data import VAL_SHARD, ToyData, write_data
from verifier.limits import DEFAULT_LIMITS, MIB

_PLACEHOLDER = re.compile(r"\{[A-Za-z_.]{0,40}vocab[A-Za-z_.]{0,40}\}", re.IGNORECASE)
_DATASET = re.compile(r"fineweb10B_[A-Za-z0-9_.{}-]{1,80}")
_TOKENIZER = re.compile(r"fineweb_[A-Za-z0-9_.{}-]{1,80}\.model\b")
_SHARDS = re.compile(r"(fineweb_[A-Za-z0-9_{}-]{0,60})_\*\.bin")
_SPLIT = re.compile(r"\{[A-Za-z_.]{0,40}split[A-Za-z_.]{0,40}\}", re.IGNORECASE)
INNER = "records/track_10min_16mb/submission"
"""Where a script lies that goes up to the top of its repository."""
_UPWARDS = re.compile(r"parents\[[2-9]\]|\.parent\.parent\.parent|\.\./\.\./\.\.")
COPIED = 64 * MIB
"""All files of the submission that are copied, together."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """`inputs` are (name in the working folder, path here); `environment` is what the script gets for its data; `key` signs
    the record."""

    inputs: tuple[tuple[str, Path], ...]
    environment: dict[str, str]
    key: str = ""


class CannotPrepare(Exception):
    """The submission's files can't be laid out for a run."""


def prepare(
    folder: Path,
    script: str,
    arguments: Sequence[str],
    data: ToyData,
    texts: Sequence[str],
    scratch: Path,
    settings: Mapping[str, str],
    *,
    replaced: Mapping[str, str] | None = None,
    branches: Mapping[str, object] | None = None,
) -> Workspace:
    """Lay out a run of `script` (relative to `folder`) below the empty folder `scratch`. `texts` are those of the program:
    they tell which forms of the data it expects. `replaced` are texts that files of the folder have in this run; `branches` is the
    child's plan to copy itself (see `child/branches.py`), without the shards. Raises `CannotPrepare`."""
    root = scratch / "data"
    settings = {name: local_path(value) for name, value in settings.items()}
    places = [*texts, *settings.values()]
    names = dataset_names(data.tokenizer.size, places)
    # Shards that are named without their folder.
    settings = {
        name: f"./data/datasets/{names[0]}/{value}" if value.startswith("fineweb_") and value.endswith(".bin") else value
        for name, value in settings.items()
    }
    write_data(data, root, names, sidecar=any("val_bytes" in text for text in texts))
    copied = copy_shards(root, names, shard_prefixes(data.tokenizer.size, places))
    for tokenizer in tokenizer_files(data.tokenizer.size, places):
        if not (root / "tokenizers" / tokenizer).exists():
            (root / "tokenizers" / tokenizer).write_bytes(data.tokenizer.serialize())
    plan = scratch / PLAN
    key = new_key()
    orders = make_orders(script, arguments, texts, key)
    if branches is not None:
        shards = [f"data/datasets/{name}/{VAL_SHARD}" for name in names]
        orders["branches"] = {**branches, "shards": [*shards, *(f"data/{path}" for path in copied if "_val_" in path)]}
    plan.write_text(json.dumps(orders), encoding="utf-8")
    record = scratch / RECORD
    record.mkdir()
    (record / ".keep").touch()
    texts_here = replaced or {}
    inputs = [("data", root), (PLAN, plan), (RECORD, record)]
    inputs += [(path, file) for path, file in submitted_files(folder) if path not in texts_here]
    for number, (path, text) in enumerate(sorted(texts_here.items())):
        copy = scratch / f"replaced-{number}"
        copy.write_text(text, encoding="utf-8", newline="")
        inputs.append((path, copy))
    name = names[0]
    environment = {
        "DATA_PATH": f"./data/datasets/{name}",
        "DATA_DIR": "./data",
        "TOKENIZER_PATH": f"./data/tokenizers/fineweb_{data.tokenizer.size}_bpe.model",
        "RUN_ID": "probe",
        "SEED": "1337",
        "HF_HUB_OFFLINE": "1",
    }
    return Workspace(tuple(inputs), {**settings, **environment}, key)


def make_orders(script: str, arguments: Sequence[str], texts: Sequence[str], key: str) -> dict[str, object]:
    """The child's plan, as every run has it."""
    return {
        "script": script, "arguments": list(arguments), "record": RECORD, "compiler": needs_compiler(texts),
        "seal": key, "own": sorted(OWN), "deep": INNER if any(_UPWARDS.search(text) for text in texts) else "",
    }  # fmt: skip


def submitted_files(folder: Path) -> list[tuple[str, Path]]:
    """(name in the working folder, path here) of the submission's own files. Raises `CannotPrepare`."""
    found: list[tuple[str, Path]] = []
    total = 0
    files = 0
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        relative = path.relative_to(folder).as_posix()
        total += path.stat().st_size
        files += 1
        if total > COPIED or files > DEFAULT_LIMITS.folder_files:
            raise CannotPrepare(f"the folder holds more than {COPIED} bytes or {DEFAULT_LIMITS.folder_files} files")
        if relative.split("/")[0] not in {"data", *OWN}:
            found.append((relative, path))
    return found


def needs_compiler(texts: Sequence[str]) -> bool:
    """Whether a text names parts of torch that load its compiler for more than its configuration."""
    words = (
        "flex_attention",
        "_inductor",
        "checkpoint(",
        "torch.func",
        "vmap",
        "torch.export",
        "functional_call",
        "_dynamo.utils",
    )
    return any(word in text for text in texts for word in words)


def dataset_names(size: int, texts: Sequence[str]) -> tuple[str, ...]:
    """Folder names under which a script may look for its shards when it builds the path itself."""
    names = [f"fineweb10B_sp{size}", "fineweb10B_sp1024", "fineweb10B_sp8192", *named_after("datasets/", size, texts)]
    names += _written(_DATASET, size, texts)
    return tuple(dict.fromkeys(names))[:12]


def tokenizer_files(size: int, texts: Sequence[str]) -> tuple[str, ...]:
    """Names of model files that the texts look for."""
    names = [name for name in named_after("tokenizers/", size, texts) if name.endswith(".model")]
    return tuple(dict.fromkeys([*names, *_written(_TOKENIZER, size, texts)]))[:12]


def shard_prefixes(size: int, texts: Sequence[str]) -> tuple[str, ...]:
    """What shards are called up to their number in patterns (`fineweb_bpe4096_train_*.bin`) that the texts look for, besides the
    contest's own names."""
    found: dict[str, None] = {}
    for text in texts:
        for match in _SHARDS.finditer(text):
            for split in ("train", "val"):
                name = _PLACEHOLDER.sub(str(size), _SPLIT.sub(split, match[1]))
                if "{" not in name and name.endswith(("_train", "_val")):
                    found[name] = None
    return tuple(name for name in found if name not in ("fineweb_train", "fineweb_val"))[:6]


def copy_shards(root: Path, names: Sequence[str], prefixes: Sequence[str]) -> list[str]:
    """Lay the shards also under other names, in each of these data sets and above them. Returns their paths below `root`."""
    made: list[str] = []
    for folder in ("", *(f"datasets/{name}/" for name in names)) if prefixes else ():
        for prefix in prefixes:
            split = prefix.rpartition("_")[2]
            copy = f"{folder}{prefix}_000000.bin"
            shutil.copyfile(root / "datasets" / names[0] / f"fineweb_{split}_000000.bin", root / copy)
            made.append(copy)
    return made


def _written(pattern: re.Pattern[str], size: int, texts: Sequence[str]) -> list[str]:
    """What matches in the texts, with the vocabulary's size where a placeholder for it is."""
    names = (_PLACEHOLDER.sub(str(size), match[0]).strip(".") for text in texts for match in pattern.finditer(text))
    return [name for name in dict.fromkeys(names) if "{" not in name]


def named_after(start: str, size: int, texts: Sequence[str]) -> tuple[str, ...]:
    """Names that follow `start` in the texts, with the vocabulary's size where a name holds a placeholder for it."""
    names: dict[str, None] = {}
    for text in texts:
        at = 0
        while (at := text.find(start, at)) >= 0 and len(names) < 12:
            at += len(start)
            tail = _PLACEHOLDER.sub(str(size), text[at : at + 120])
            end = next((index for index, char in enumerate(tail) if not (char.isalnum() or char in "_-.{}")), len(tail))
            name = tail[:end].strip(".")
            if name and "{" not in name:
                names[name] = None
    return tuple(names)


def local_path(value: str) -> str:
    """A path of the machine that the run was made on, as one in the working folder. Other values stay what they are."""
    if not value.startswith(("/", "../", "~/")) or len(value) > 400 or value.startswith("/tmp/"):
        return value
    for part in ("datasets/", "tokenizers/"):
        if f"/{part}" in value:
            return f"./data/{part}{value.split(f'/{part}', 1)[1]}"
    kept = [part for part in value.split("/") if part not in ("", ".", "..", "~")]
    return "./data" if kept and kept[-1] == "data" else "./" + "/".join(kept)


def leftover_bytes(results: Path) -> dict[str, int]:
    """Regular files that a run left, without the data it was given."""
    if not results.is_dir():
        return {}
    found = {}
    for path in sorted(results.rglob("*")):
        relative = path.relative_to(results).as_posix().removeprefix(f"{INNER}/")
        if path.is_file() and not path.is_symlink() and relative.split("/")[0] not in {"data", *OWN}:
            found[relative] = path.stat().st_size
    return found
