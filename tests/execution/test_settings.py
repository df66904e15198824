"""A run is made small by settings that the script reads, and by those alone."""

from __future__ import annotations

from verifier.evidence import Location
from verifier.execution.settings import keep_vocabulary, listed_settings, shrink, widen
from verifier.submission.script import EnvRead


def reads(**defaults: str | None) -> list[EnvRead]:
    kinds = {name: "int" if (default or "").isdecimal() else "str" for name, default in defaults.items()}
    return [EnvRead(name, default, kinds[name], name.lower(), Location("train_gpt.py", 1)) for name, default in defaults.items()]


def test_only_settings_that_are_read_are_set() -> None:
    toy = shrink(reads(ITERATIONS="20000", VOCAB_SIZE="1024", QK_GAIN="1"), {})
    assert set(toy.shrunk) == {"ITERATIONS", "VOCAB_SIZE"}
    assert toy.shrunk["ITERATIONS"] == ("20000", "4")
    assert "MODEL_DIM" not in toy.environment
    assert "QK_GAIN" not in toy.environment


def test_features_of_the_run_stay_on() -> None:
    toy = shrink(
        reads(TTT_ENABLED="0", TTT_EPOCHS="3", ITERATIONS="20000"),
        {"TTT_ENABLED": "1", "ITERATIONS": "9000", "OTHER": "1", "PATH": "x", "--flag": "1"},
    )
    assert toy.environment["TTT_ENABLED"] == "1"
    assert toy.environment["TTT_EPOCHS"] == "2"
    assert toy.shrunk["ITERATIONS"] == ("9000", "4")
    assert toy.environment["OTHER"] == "1"


def test_a_setting_of_the_machine_is_not_taken_over() -> None:
    toy = shrink(reads(ITERATIONS="1"), {"PATH": "x", "LD_PRELOAD": "x", "--flag": "1", "DATA_PATH": "elsewhere"})
    assert not {"PATH", "LD_PRELOAD", "--flag", "DATA_PATH"} & set(toy.environment)


def test_a_feature_that_is_off_stays_off() -> None:
    assert "BIGRAM_VOCAB_SIZE" not in shrink(reads(BIGRAM_VOCAB_SIZE="0"), {}).shrunk
    assert shrink(reads(BIGRAM_VOCAB_SIZE="2048"), {}).environment["BIGRAM_VOCAB_SIZE"] == "512"


def test_settings_that_a_readme_lists_without_a_command() -> None:
    readme = 'A=1\n```bash\nTTT_ENABLED=0\nexport MULTS="0.3,0.97" \\\nRUN=$SEED\nprint(x=1)\n# B=2\n```\nCCC=3\n'
    assert listed_settings(readme) == {"TTT_ENABLED": "0", "MULTS": "0.3,0.97"}


def test_one_process_whatever_the_run_had() -> None:
    toy = shrink(reads(WORLD_SIZE="1", RANK="0"), {"WORLD_SIZE": "8", "RANK": "3"})
    assert (toy.environment["WORLD_SIZE"], toy.environment["RANK"]) == ("1", "0")


def test_a_script_without_a_vocabulary_setting_gets_the_contest_s_size() -> None:
    assert shrink(reads(ITERATIONS="1"), {}).vocabulary == 1024
    assert shrink(reads(VOCAB_SIZE="8192"), {}).vocabulary == 512
    assert shrink(reads(ITERATIONS="1"), {}, ["a = 1", "class H:data_dir='';vocab_size=4096;dim=512"]).vocabulary == 4096
    assert shrink(reads(VOCAB_SIZE="8192"), {}, ["vocab_size=4096"]).vocabulary == 512


def test_heads_are_grouped_only_where_the_run_groups_them() -> None:
    alone = shrink(reads(NUM_HEADS="8", NUM_KV_HEADS="8"), {})
    assert alone.environment["NUM_KV_HEADS"] == alone.environment["NUM_HEADS"]
    grouped = shrink(reads(NUM_HEADS="8", NUM_KV_HEADS="4"), {})
    assert (grouped.environment["NUM_HEADS"], grouped.environment["NUM_KV_HEADS"]) == ("4", "2")


def test_lists_and_schedules_of_lengths_shrink_with_the_lengths() -> None:
    toy = shrink(
        reads(TRAIN_SEQ_SCHEDULE="", SEQ_LENS_PER_GPU="", TTT_EVAL_SEQ_LEN="2048", MATRIX_LR="0.02"),
        {"TRAIN_SEQ_SCHEDULE": "1024@0.1,64@0.7,3072@1.0", "SEQ_LENS_PER_GPU": "2048,2048,6144", "MATRIX_LR": "0.02@0.5"},
    )
    assert toy.environment["TRAIN_SEQ_SCHEDULE"] == "128@0.1,64@0.7,128@1.0"
    assert toy.environment["SEQ_LENS_PER_GPU"] == "128"
    assert toy.environment["TTT_EVAL_SEQ_LEN"] == "128"
    assert toy.environment["MATRIX_LR"] == "0.02@0.5"


def test_what_starts_late_in_a_run_starts_in_a_short_one() -> None:
    toy = shrink(reads(RECUR_START_STEP="3000", EMA_START_STEP="0", SLOT_LBFGS_MAX_ITER="25", TTT_BATCH_SIZE="64"), {})
    assert toy.environment["RECUR_START_STEP"] == "1"
    assert "EMA_START_STEP" not in toy.environment
    assert (toy.environment["SLOT_LBFGS_MAX_ITER"], toy.environment["TTT_BATCH_SIZE"]) == ("2", "8")


def test_a_path_of_another_machine_is_set_even_where_it_is_the_default() -> None:
    toy = shrink(reads(BASE_DIR="/workspace/golf", CACHE="./cache"), {})
    assert toy.environment["BASE_DIR"] == "/workspace/golf"
    toy = shrink(reads(ARTIFACT_DIR="", ROOT="./"), {"ARTIFACT_DIR": "/runs/7", "ROOT": "/x/data/datasets/mine"})
    assert "ARTIFACT_DIR" not in toy.environment
    assert toy.environment["ROOT"] == "/x/data/datasets/mine"
    assert "CACHE" not in toy.environment


def test_words_of_a_log_become_what_the_script_reads() -> None:
    where = Location("train_gpt.py", 1)
    script = [
        EnvRead("SMEAR", "0", "bool", "smear", where), EnvRead("GATE", "true", "bool", "gate", where), EnvRead("SEQS", "0", "int", "seqs", where),
        EnvRead("LOOPS", "3,4,5", "other", "loops", where), EnvRead("NONE", "", "list", "none", where), EnvRead("KEPT", "[1]", "str", "kept", where),
        EnvRead("LR", "0.1", "float", "lr", where), EnvRead("DECAY", "0.1", "float", "decay", where), EnvRead("NAME", "a", "str", "name", where),
    ]  # fmt: skip
    stated = {"SMEAR": "enabled", "GATE": "false", "SEQS": "36,36,10", "LR": "2e-3", "DECAY": "auto", "NAME": "enabled"}
    stated |= {"LOOPS": "[4, 5]", "NONE": "[]", "KEPT": "[2, 3]"}
    assert {name: shrink(script, stated).environment.get(name) for name in stated} == {
        "SMEAR": "1", "GATE": "false", "SEQS": None, "LR": "2e-3", "DECAY": None, "NAME": "enabled",
        "LOOPS": "4,5", "NONE": "", "KEPT": "[2, 3]",
    }  # fmt: skip


def test_no_compiler_and_no_vocabulary_that_has_no_room_for_bytes() -> None:
    toy = shrink(reads(ENABLE_COMPILE="1", USE_COMPILE="0", VOCAB_SIZE="287"), {})
    assert toy.environment["ENABLE_COMPILE"] == "0"
    assert "USE_COMPILE" not in toy.environment
    assert toy.vocabulary == 512


def test_a_wider_model_keeps_the_odd_divisors_of_the_run_s() -> None:
    for own, width in (("512", "256"), ("768", "384"), ("576", "288"), ("448", "448"), ("144", "144")):
        toy = shrink(reads(MODEL_DIM=own, ITERATIONS="20000"), {})
        wider = widen(toy)
        assert wider is not None
        assert (toy.environment["MODEL_DIM"], wider.environment["MODEL_DIM"]) == ("128", width)
        assert wider.shrunk["MODEL_DIM"] == (own, width)
        assert wider.environment["ITERATIONS"] == "4"
    assert widen(shrink(reads(ITERATIONS="20000"), {})) is None
    assert widen(shrink(reads(MODEL_DIM="64"), {})) is None


def test_the_run_s_own_vocabulary_stays_with_its_tables() -> None:
    whole = keep_vocabulary(shrink(reads(VOCAB_SIZE="1024", MODEL_DIM="512"), {"VOCAB_SIZE": "998"}))
    assert whole is not None
    assert (whole.environment["VOCAB_SIZE"], whole.vocabulary) == ("998", 998)
    assert set(whole.shrunk) == {"MODEL_DIM"}
    assert keep_vocabulary(shrink(reads(VOCAB_SIZE="512"), {})) is None
    assert keep_vocabulary(shrink(reads(VOCAB_SIZE="287"), {})) is None
    assert keep_vocabulary(shrink(reads(ITERATIONS="5"), {})) is None
