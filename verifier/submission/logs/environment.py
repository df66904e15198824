"""Lines about the run as a whole: seed, hardware, versions, data, settings."""

from __future__ import annotations

import re

from verifier.submission.logs.patterns import NUMBER

_SEED_LINE = re.compile(r"\s{0,8}(?:base_|random_|global_)?seed\s?[:=]\s{0,4}(?P<seed>\d{1,12})(?![\w.])", re.IGNORECASE)
_SEED_INLINE = re.compile(r"(?:^|[\s,{\"—(\[])(?:seed|SEED|Seed)[\"']?(?:\s?[:=]\s{0,4}|\s)(?P<seed>\d{1,12})(?![\w.])")
_SEED_FILE = re.compile(r"seed[_\-=]{0,2}(?P<seed>\d{1,10})", re.IGNORECASE)
_SEED_FILE_SHORT = re.compile(r"(?:^|[_\-.])s(?P<seed>\d{1,8})(?=[_\-.]|$)")

FIELDS: tuple[tuple[str, str, re.Pattern[str]], ...] = (
    ("world_size", "world", re.compile(r"world[_ ]size\s?[:=]\s{0,16}(?P<value>\d{1,6})", re.IGNORECASE)),
    (
        "torch",
        "torch",
        re.compile(
            r"(?:Running PyTorch|PyTorch|torch)(?:[ _]version)?\s?[:=]?\s?(?P<value>\d{1,3}\.\d{1,3}\.\d{1,3}[\w.+]{0,40})",
            re.IGNORECASE,
        ),
    ),
    (
        "val_tokens",
        "tokens",
        re.compile(
            r"(?:val_loader:\S{0,400}(?: pattern=\S{1,400})?[ :]tokens:|\bval(?:idation)?[_ ]tokens\s?[:=]\s{0,4})(?P<value>\d[\d,]{2,20})",
            re.IGNORECASE,
        ),
    ),
    (
        "val_docs",
        "docs",
        re.compile(
            r"(?:total_docs|val_docs|val docs|validation documents|ttt_lora:docs)\s?[:=]\s{0,4}(?P<value>\d[\d,]{0,12})",
            re.IGNORECASE,
        ),
    ),
    ("train_shards", "train_shards", re.compile(r"train_shards\s?[:=]\s{0,4}(?P<value>\d{1,7}(?:/\d{1,7})?)")),
    ("tokenizer_path", "tokenizer_path", re.compile(r"tokenizer_path\s?[:=]\s{0,4}(?P<value>\S{1,400})")),
    ("data_path", "dataset", re.compile(r"(?:datasets_dir\s?[:=]\s{0,4}|train_loader:dataset:)(?P<value>\S{1,400})")),
    ("data_path", "data_path", re.compile(r"data_path\s?[:=]\s{0,4}(?P<value>\S{1,400})")),
    ("data_path", "val_files", re.compile(r"val_files\s?[:=]\s{0,4}(?P<value>\S{1,400})")),
    ("data_path", "val_loader:", re.compile(r"val_loader:shards pattern=(?P<value>\S{1,400})")),
    (
        "model_params",
        "params",
        re.compile(
            rf"(?:^|\s)(?:model_params|total params|total_params|params)\s?[:=]\s{{0,4}}(?P<value>{NUMBER})", re.IGNORECASE
        ),
    ),
    (
        "peak_memory",
        "peak memory",
        re.compile(rf"peak memory(?: allocated)?\s?[:=]\s{{0,4}}(?P<value>{NUMBER}\s?(?:MiB|MB|GB|GiB))", re.IGNORECASE),
    ),
)
"""(field of `Run`, substring in lower case that must occur, pattern with `value`); the first hit of a field wins."""

_GPU_ROW = re.compile(
    r"\|\s{1,8}\d{1,3}\s{1,4}(?P<name>(?:NVIDIA|AMD|Tesla|GeForce|Quadro|Radeon)[^|]{0,60}?)(?:\s{2,}|\s(?:On|Off)\b|\|)"
)
_GPU_NAME = re.compile(
    r"(?:gpu(?:[_ ]?name)?s?|device(?:[_ ]?name)?|hardware)\s?[:=]\s{0,4}(?:\d{1,3}\s?x\s?)?(?P<name>(?:NVIDIA|AMD|Tesla|GeForce|RTX|H100|H200|A100|B200)[\w .\-]{0,60})",
    re.IGNORECASE,
)
_DUMP = re.compile(r"  (?P<key>[A-Za-z][A-Za-z0-9_]{0,80}):(?: (?P<value>.{0,2000}))?$")
_PAIRS = re.compile(r"(?P<key>[a-z][a-z0-9_]{1,60}):(?P<value>[^\s:]{1,400})(?:\s{1,4}|$)")


def read_seed_line(line: str) -> int | None:
    match = _SEED_LINE.match(line)
    return int(match["seed"]) if match else None


def read_seed_inline(line: str) -> int | None:
    """A seed in the middle of a line: `... wall:590s seed:1337`, `FINAL RESULTS — X seed=42`."""
    match = _SEED_INLINE.search(line)
    return int(match["seed"]) if match else None


def read_file_name_seed(path: str) -> int | None:
    """`logs/train_seed42.log` gives 42; `run_s1337.txt` gives 1337; a bare number names no seed."""
    name = path.rsplit("/", 1)[-1]
    match = _SEED_FILE.search(name) or _SEED_FILE_SHORT.search(name.rsplit(".", 1)[0])
    return int(match["seed"]) if match else None


def read_gpu(line: str) -> str | None:
    """The GPU of an nvidia-smi row or of a line that names it."""
    match = _GPU_ROW.search(line) or _GPU_NAME.search(line)
    return " ".join(match["name"].split()) if match else None


def read_dump_line(raw: str) -> tuple[str, str] | None:
    """`  key: value` of a hyperparameter dump; the two-space indent is what marks it."""
    match = _DUMP.match(raw)
    return (match["key"], (match["value"] or "").strip()) if match else None


def read_setting_pairs(line: str) -> dict[str, str]:
    """The classic dialect's settings: a line made of `key:value` pairs only; empty for anything else."""
    pairs: dict[str, str] = {}
    at = 0
    while at < len(line):
        match = _PAIRS.match(line, at)
        if match is None:
            return {}
        pairs[match["key"]] = match["value"]
        at = match.end()
    return pairs
