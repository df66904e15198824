"""A record's system is told by settings, program and logs: the same facts under any name give the same preset."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from audits.reproduction.mapping import Mapped, map_record
from audits.reproduction.reference import Catalog, read_presets, read_settings
from audits.reproduction.system import describe_record
from reference_train.config import SETTINGS, Config
from verifier.challenge.load import load_challenge
from verifier.engine.context import Context
from verifier.submission.discover import discover
from verifier.submission.load import load_submission

LISTED = "".join(f"{name.upper()} (default {getattr(Config(), name)!r})\n" for name in SETTINGS)
"""What `--list-settings` prints."""
CATALOG = Catalog(read_settings(LISTED), read_presets(Path(__file__).parents[3] / "reference_train" / "presets"))
SCRIPT = """
import os
import torch
import torch.nn.functional as F
from torch import nn

class Hyperparameters:
{settings}

{extra}

class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Linear(8, 8)

    def forward(self, x):
        return {activation}

def main():
    model = MLP()
    x = torch.zeros(1, 8)
    loss = F.cross_entropy(model(x), torch.zeros(1, dtype=torch.long))
    loss.backward()
    {call}
    print(loss)

main()
"""
RECURRENT = {
    "NUM_LAYERS": "11", "MODEL_DIM": "512", "RECUR_LAYERS": "3,4,5", "PARALLEL_START_LAYER": "7", "VE_ENABLED": "1", "VE_LAYERS": "9,10",
    "XSA_LAST_N": "11", "SKIP_GATES_ENABLED": "1", "SDCLIP_K": "12.85", "GPTQ_ENABLED": "1", "TTT_ENABLED": "0", "MATRIX_LR": "0.022",
}  # fmt: skip
LOOPED = {
    "NUM_LAYERS": "11", "MODEL_DIM": "512", "NUM_LOOPS": "2", "LOOP_START": "3", "LOOP_END": "5", "PARALLEL_RESIDUAL_START": "7",
    "VE_ENABLED": "0", "XSA_LAST_N": "11", "SKIP_GATES_ENABLED": "1", "MATRIX_CLIP_SIGMAS": "12.85", "PREQUANT_TTT_ENABLED": "0",
}  # fmt: skip
PLAIN = {"NUM_LAYERS": "9", "MODEL_DIM": "512", "NUM_HEADS": "8", "MATRIX_LR": "0.04"}


def record(
    folder: Path, settings: Mapping[str, str], *, tokenizer: str = "fineweb_8192_bpe.model", tag: str = "int6+brotli",
    log: tuple[str, ...] = (), behind: tuple[str, ...] = (), extra: str = "", call: str = "pass", leaky: bool = True, hessians: bool = True,
) -> Context:  # fmt: skip
    folder.mkdir(parents=True)
    lines = [f'    {name.lower()} = os.environ.get("{name}", "{value}")' for name, value in settings.items()]
    lines.append(f'    ttt = int(os.environ.get("SOME_TTT_ENABLED", "1"))\n    tokenizer_path = os.environ.get("TOKENIZER_PATH", "./data/{tokenizer}")')  # fmt: skip
    activation = "F.leaky_relu(self.up(x), 0.5).square()" if leaky else "F.relu(self.up(x)).square()"
    (folder / "train_gpt.py").write_text(
        SCRIPT.format(settings="\n".join(lines), extra=extra, activation=activation, call=call), encoding="utf-8"
    )
    (folder / "submission.json").write_text(
        json.dumps({"name": "x", "author": "y", "val_bpb": 1.08, "seeds": [42]}), encoding="utf-8"
    )
    (folder / "README.md").write_text("# A record\n", encoding="utf-8")
    text = [f"tokenizer_path: ./data/{tokenizer}", "seed:42", "world_size:8"]
    text += [f"step:{step}/20000 train_loss:{6 - step / 2000:.4f} train_time:{step * 100}ms" for step in range(1000, 7000, 1000)]
    text += ["stopping_early: wallclock_cap train_time:600000ms step:6000/20000"]
    text += ["GPTQ:collecting Hessians from calibration data...", "GPTQ:collected 66 Hessians in 10.6s"] if hessians else []
    text += [f"Serialized model {tag}: 15000000 bytes", f"Total submission size {tag}: 15005000 bytes", *log]
    text += ["final_sliding_window val_loss:1.82520000 val_bpb:1.08000000 eval_time:80000ms", *behind]
    (folder / "train_seed42.log").write_text("\n".join(text) + "\n", encoding="utf-8")
    (source,) = discover(folder)
    return Context(load_submission(source), load_challenge())


def mapped(folder: Path, settings: Mapping[str, str], **given: object) -> Mapped:
    return map_record(describe_record(record(folder, settings, **given)), CATALOG)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["2026-04-08_SP8192_Recurrence", "2026-04-08_Whatever_CaseOps_Baseline"])
def test_the_folder_s_name_says_nothing(tmp_path: Path, name: str) -> None:
    found = mapped(tmp_path / name, RECURRENT)
    assert found.preset == "sp8192-sdclip-recurrence"
    assert not found.disagreements
    assert any("RECUR_LAYERS=3,4,5" in reason for reason in found.reasons)


def test_each_system_has_its_preset(tmp_path: Path) -> None:
    assert mapped(tmp_path / "a", LOOPED, tokenizer="caseops_8192.model").preset == "caseops"
    adapting = {**LOOPED, "PREQUANT_TTT_ENABLED": "1"}
    line = ("prequant_ttt:done elapsed=376.8s",)
    assert mapped(tmp_path / "b", adapting, tokenizer="caseops_8192.model", log=line).preset == "caseops-prequant-ttt"
    plain = mapped(tmp_path / "c", PLAIN, tokenizer="fineweb_1024_bpe.model", tag="int8+zlib", leaky=False, hessians=False)
    assert (plain.preset, dict(plain.overrides)) == ("baseline", {})


def test_what_the_record_sets_otherwise_is_passed_on(tmp_path: Path) -> None:
    assert dict(mapped(tmp_path / "a", RECURRENT).overrides) == {}
    assert dict(mapped(tmp_path / "b", {**RECURRENT, "MATRIX_LR": "0.03"}).overrides) == {"MATRIX_LR": "0.03"}
    plain_text = mapped(tmp_path / "c", LOOPED)
    assert (plain_text.preset, plain_text.overrides["BYTE_SIDECAR"]) == ("caseops", "0")
    assert plain_text.disagreements[0].startswith("byte sidecar: 0")


def test_an_option_that_no_preset_has_is_named(tmp_path: Path) -> None:
    found = mapped(tmp_path / "a", {**RECURRENT, "WAVELET_ENABLED": "1"})
    assert found.preset == ""
    assert "WAVELET_ENABLED=1 (train_gpt.py:" in found.refusal
    assert mapped(tmp_path / "b", {**RECURRENT, "WAVELET_ENABLED": "0", "TORCH_COMPILE_ENABLED": "1"}).preset


def test_an_option_for_after_training_counts_where_the_log_shows_it(tmp_path: Path) -> None:
    """On by default and never run; run before the headline metric; run behind it."""
    odd = {**RECURRENT, "SLOT_ENABLED": "1"}
    line = ("slot_eval val_loss:1.81 val_bpb:1.0700 eval_time:9000ms",)
    assert mapped(tmp_path / "a", odd).preset == "sp8192-sdclip-recurrence"
    assert "SLOT_ENABLED" in mapped(tmp_path / "b", odd, log=line).refusal
    behind = mapped(tmp_path / "c", odd, behind=line)
    assert behind.preset == "sp8192-sdclip-recurrence"
    assert "SLOT_ENABLED=1" in behind.notes[0]


def test_a_network_of_other_parts_is_refused(tmp_path: Path) -> None:
    extra = "class Mamba(nn.Module):\n    def forward(self, x):\n        return x\n"
    assert "Mamba" in mapped(tmp_path / "a", PLAIN, extra=extra, call="Mamba()(x)").refusal
    assert mapped(tmp_path / "b", PLAIN, extra=extra).preset, "a class that nothing calls is no part of it"


def test_a_tokenizer_that_no_preset_reads_is_refused(tmp_path: Path) -> None:
    assert "tokenizer" in mapped(tmp_path / "a", RECURRENT, tokenizer="words.vocab").refusal


def test_a_script_without_settings_tells_no_system(tmp_path: Path) -> None:
    assert "layers or its width" in mapped(tmp_path / "a", {"MATRIX_LR": "0.04"}).refusal


def test_a_system_of_choice_is_taken_with_what_it_lacks(tmp_path: Path) -> None:
    system = describe_record(record(tmp_path / "a", {**RECURRENT, "WAVELET_ENABLED": "1"}))
    found = map_record(system, CATALOG, "baseline")
    assert (found.preset, len(found.missing)) == ("baseline", 1)
    assert found.disagreements
