"""Settings by the challenge's names: every one is a setting or an error that says why not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from reference_train.build import model_config  # noqa: E402
from reference_train.cli import main  # noqa: E402
from reference_train.config import Config, make_config, parse_setting, read_preset, settings_from_environment  # noqa: E402
from reference_train.errors import TrainerError  # noqa: E402
from reference_train.run import quant_config  # noqa: E402
from tests.trainer.test_trainer_run import quick  # noqa: E402


def test_names_and_values_are_checked() -> None:
    assert parse_setting("NUM_LAYERS", "7") == ("num_layers", 7)
    assert parse_setting("sdclip_k", "9.5") == ("matrix_clip_sigmas", 9.5)
    assert parse_setting("VE_LAYERS", "9,10") == ("ve_layers", (9, 10))
    for name, value, message in (
        ("NUM_LAYER", "7", "did you mean NUM_LAYERS"),
        ("NUM_LAYERS", "x", "expected an integer"),
        ("MUON_BETA2", ".95", "never read it"),
        ("TTT_ENABLED", "yes", "expected 0 or 1"),
    ):
        with pytest.raises(TrainerError, match=message):
            parse_setting(name, value)
    assert settings_from_environment({"PATH": "/bin", "MATRIX_LR": "0.1", "LANGUAGE": "de"}) == {"matrix_lr": 0.1}
    with pytest.raises(TrainerError, match="did you mean TRAIN_SEQ_LEN"):
        settings_from_environment({"TRAIN_SEQLEN": "4"})
    with pytest.raises(TrainerError, match="did you mean scylla-gptq"):
        read_preset("scyla-gptq")
    with pytest.raises(TrainerError, match="NUM_HEADS must divide"):
        model_config(make_config(read_preset("tiny"), {"num_heads": 5}))
    with pytest.raises(TrainerError, match="no switch for quirk 99"):
        make_config(read_preset("tiny"), {}, quirks=(99,))


def test_every_name_of_the_challenge_is_answered() -> None:
    """Names of the submitted systems are settings, or an error that says why not; their off value is always fine."""
    assert parse_setting("MATRIX_BITS", "6") == ("matrix_levels", 31)
    assert parse_setting("EMBED_BITS", "8") == ("embed_levels", 127)
    assert parse_setting("GPTQ_CALIB_SAMPLES", "9") == ("gptq_calibration_batches", 9)
    assert parse_setting("MTP_NUM_HEADS", "0") == ("", None)
    assert settings_from_environment({"LAWA_ENABLED": "0", "VE_ENABLED": "0"}) == {"ve_enabled": False}
    for name, value, message in (
        ("MTP_NUM_HEADS", "2", "only 0 is: off in every submitted run"),
        ("LBFGS_SLOT_ENABLED", "1", "not implemented"),
        ("LBFGS_SLOT_ITERS", "16", "has no effect here"),
        ("GPTQ_HESSIAN", "1", "MATRIX_QUANTIZER=gptq_one_percentile"),
        ("GPTQ_BLOCKSIZE", "64", "never read it"),
        ("MATRIX_BITS", "12", "did you mean MATRIX_"),
    ):
        with pytest.raises(TrainerError, match=message):
            parse_setting(name, value)


def test_command_line_says_what_is_wrong_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["--preset", "tiny", "--record-dir", str(tmp_path / "file" / "record")]) == 2
    assert "check the path" in capsys.readouterr().err
    assert main(["ITERATIONS=5", "--preset", "tiny", "MATRIX_LRR=1", "--quiet"]) == 2
    assert "did you mean MATRIX_LR" in capsys.readouterr().err


def test_what_the_rules_forbid_marks_the_run() -> None:
    assert not make_config(read_preset("scylla-ttt"), {}).forbidden
    key, value = parse_setting("NGRAM_ENABLED", "1")
    assert "future included" in make_config(read_preset("scylla-ttt"), {key: value}).forbidden
    assert "scored on afterwards" in make_config(read_preset("caseops-prequant-ttt"), {}).forbidden
    with pytest.raises(TrainerError, match="power of 2"):
        make_config(read_preset("tiny-scylla-ttt"), {"ngram_enabled": True, "ngram_num_buckets": 1000})


def test_switches_of_the_challenge_reach_the_model_and_the_quantizer(few_docs: str, tmp_path: Path) -> None:
    cfg = quick("tiny-sp8192-sdclip-recurrence", few_docs, ve_enabled=False, gptq_enabled=False)
    assert model_config(cfg).ve_layers == ()
    assert (quant_config(cfg).matrix_quantizer, quant_config(cfg).needs_hessians) == ("sdclip", False)
    one = replace(cfg, matrix_quantizer="gptq_one_percentile")
    assert quant_config(one).matrix_quantizer == "percentile"
    assert quant_config(replace(one, gptq_enabled=True)).matrix_quantizer == "gptq_one_percentile"
    sp = Config(data_dir="data", vocab_size=8192)
    assert sp.shard_folder == str(Path("data/datasets/fineweb10B_sp8192"))
    assert sp.sentencepiece_path == Path("data/tokenizers/fineweb_8192_bpe.model")
    assert replace(sp, data_path="x").shard_folder == "x"
