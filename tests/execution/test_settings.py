"""A run is made small by settings that the script reads, and by those alone."""

from __future__ import annotations

from verifier.evidence import Location
from verifier.execution.settings import listed_settings, shrink
from verifier.submission.script import EnvRead


def reads(**defaults: str | None) -> list[EnvRead]:
    return [EnvRead(name, default, "int", name.lower(), Location("train_gpt.py", 1)) for name, default in defaults.items()]


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


def test_heads_are_grouped_only_where_the_run_groups_them() -> None:
    alone = shrink(reads(NUM_HEADS="8", NUM_KV_HEADS="8"), {})
    assert alone.environment["NUM_KV_HEADS"] == alone.environment["NUM_HEADS"]
    grouped = shrink(reads(NUM_HEADS="8", NUM_KV_HEADS="4"), {})
    assert (grouped.environment["NUM_HEADS"], grouped.environment["NUM_KV_HEADS"]) == ("4", "2")
