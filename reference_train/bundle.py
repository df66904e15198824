"""The trainer as one script: what a record folder carries as train_gpt.py, and what the ledger counts as code."""

from __future__ import annotations

import ast
from dataclasses import asdict
from pathlib import Path

from reference_train.config import Config
from reference_train.pack import pack_code

BUNDLE_ORDER = (
    "errors", "quirks", "attention", "config", "shards", "caseops", "tokbytes", "loaders", "data", "layers", "model", "newton_schulz", "parallel_muon", "optim",
    "schedule", "throughput", "averaging", "quant", "gptq", "container", "pack", "export", "calibration", "evaluate", "ttt", "online", "build", "train",
    "runlog", "forbidden", "run", "plot", "bundle", "record", "cli",
)  # fmt: skip
"""Every module after those it imports."""


def bundle_source(cfg: Config) -> str:
    """All modules in reading order, their imports of each other removed, and the settings of this run as a preset.

    `forbidden` is left out unless the run uses it. `bundle` and `record` are left out: a record does not write records.
    """
    settings = {name: value for name, value in asdict(cfg).items() if value != Config.__dataclass_fields__[name].default}
    skipped = {"bundle", "record"} | (set() if cfg.forbidden else {"forbidden"})
    parts = [f'"""Reference trainer, preset {cfg.preset!r}, as one file."""', "from __future__ import annotations"]
    for name in BUNDLE_ORDER:
        if name not in skipped:
            path = Path(__file__).with_name(f"{name}.py")
            parts.append(f"# --- {name} ---\n{_without_own_imports(path.read_text(encoding='utf-8'))}")
    if not cfg.forbidden:
        parts.append('ONLY_VALUES |= dict.fromkeys(FORBIDDEN, ("0", "this script was written without what the rules forbid"))')
    settings["preset"] = "record"
    parts.append(f'EMBEDDED_PRESETS["record"] = {settings!r}')
    parts.append('if __name__ == "__main__":\n    raise SystemExit(main(default_preset="record"))')
    return "\n\n".join(parts) + "\n"


def _without_own_imports(source: str) -> str:
    """The text with `from reference_train...` and `from __future__` imports replaced by nothing, wherever they are."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("reference_train", "__future__"):
            indent = " " * node.col_offset
            assert node.end_lineno is not None
            lines[node.lineno - 1 : node.end_lineno] = [
                f"{indent}pass" if indent else "", *[""] * (node.end_lineno - node.lineno)
            ]  # fmt: skip
    text = "\n".join(lines).strip()
    while "\n\n\n\n" in text:
        text = text.replace("\n\n\n\n", "\n\n\n")
    return text


def write_script(path: Path, cfg: Config) -> None:
    source = bundle_source(cfg)
    path.write_text(pack_code(source) if cfg.pack_code else source, encoding="utf-8")
