"""README.md: commands, tables, statements and numbers with their lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.submission.metadata import read_metadata
from verifier.submission.readme import Column, Polarity, Readme, RunCommand, read_readme, statements_of_metadata


def read(text: str) -> Readme:
    return read_readme("README.md", text.encode())


def bash(*lines: str) -> Readme:
    return read("# Title\n\n```bash\n" + "\n".join(lines) + "\n```\n")


def settings(command: RunCommand) -> dict[str, str]:
    return {setting.name: setting.value for setting in command.settings}


def said(text: str) -> set[tuple[str, str]]:
    return {(found.topic, found.polarity.value) for found in read(text).statements if found.topic != "technique"}


def test_continued_command() -> None:
    (command,) = bash(
        "SEED=42 VOCAB_SIZE=8192 \\", "DATA_PATH='./my data' \\", "torchrun --standalone --nproc_per_node=8 train_gpt.py"
    ).commands
    assert settings(command) == {"SEED": "42", "VOCAB_SIZE": "8192", "DATA_PATH": "./my data"}
    assert (command.script, command.processes, command.seeds, command.form) == ("train_gpt.py", 8, (42,), "fenced")
    assert (command.source.line, command.source.end_line) == (4, 6)
    assert [setting.source.line for setting in command.settings] == [4, 4, 5]


@pytest.mark.parametrize(
    "lines",
    [
        ("export SEED=42 TTT_ENABLED=0", "torchrun --nproc_per_node 8 train_gpt.py"),
        ("env SEED=42 TTT_ENABLED=0 torchrun --nproc-per-node=8 train_gpt.py"),
        ("SEED=42", "TTT_ENABLED=0", "torchrun --nproc_per_node=8 train_gpt.py"),
        ("$ SEED=42 TTT_ENABLED=0 torchrun --nproc_per_node=8 train_gpt.py 2>&1 | tee train.log"),
        ("SEED=42 \\", "# the next one matters", "TTT_ENABLED=0 torchrun --nproc_per_node=8 train_gpt.py"),
        ("SEED=42 \\  # seed", "TTT_ENABLED=0 nohup torchrun --nproc_per_node=8 train_gpt.py > log.txt &"),
    ],
)
def test_ways_to_set_variables(lines: str | tuple[str, ...]) -> None:
    (command,) = bash(*([lines] if isinstance(lines, str) else lines)).commands
    assert settings(command) == {"SEED": "42", "TTT_ENABLED": "0"}
    assert command.processes == 8
    assert command.arguments == ()


def test_settings_that_the_text_names() -> None:
    page = read(
        "# Title\n\nRun it with `EVAL_ONLY=1`\nand `RATE=0.5`.\n\n| Variable | Purpose |\n|---|---|\n| `TRACE=1` | prints |\n\n"
        "- `WIDTH=$SIZE` and `LAMBDA=<float>`, x=3, --steps=4\n\n```bash\nSEED=42 python train_gpt.py\n```\n"
    )
    named = [(found.name, found.value, found.literal, found.source.line) for found in page.settings]
    assert named == [
        ("EVAL_ONLY", "1", True, 3),
        ("RATE", "0.5", True, 4),
        ("TRACE", "1", True, 8),
        ("WIDTH", "$SIZE", False, 10),
    ]


def test_loop_over_seeds() -> None:
    (command,) = bash("for seed in 42 1337 2024; do", "  SEED=$seed torchrun --nproc_per_node=8 train_gpt.py", "done").commands
    assert command.seeds == (42, 1337, 2024)
    assert [(setting.name, setting.literal) for setting in command.settings] == [("SEED", False)]


def test_exports_last_for_later_blocks_bare_ones_do_not() -> None:
    page = read("```bash\nexport A=1\nB=2\n```\n\n```bash\npython train_gpt.py --seed 7\n```\n")
    (command,) = page.commands
    assert settings(command) == {"A": "1"}
    assert command.seeds == (7,)


def test_inline_and_indented_commands() -> None:
    page = read("Run `SEED=1 torchrun train_gpt.py`.\n\nor\n\n    SEED=2 python3 train_gpt.py\n")
    assert [(command.form, command.seeds) for command in page.commands] == [("inline", (1,)), ("indented", (2,))]


def test_code_that_is_no_command() -> None:
    assert read("```python\nos.system('python train_gpt.py')\n```\n").commands == ()
    assert bash("pip install torch", "python -c 'import x'", "cat <<EOF", "python train_gpt.py", "EOF").commands == ()


TABLE = """
| Seed | Pre-quant BPB | Sliding BPB | Steps | Artifact | Train time |
|------|--------------:|------------:|------:|----------|-----------|
| 42 | 1.0874 | **1.0873** | 4,968 | 15,981,300 B | 590.1s |
| 2024 | — | 1.0859 | | 15.98 MB | |
| **Mean** | | **1.0866** | | | |
| Std | | 0.0007 | | | |
"""


def test_table_columns_rows_and_cells() -> None:
    (table,) = read(TABLE).tables
    assert table.columns == (Column.SEED, Column.BPB, Column.BPB, Column.STEPS, Column.ARTIFACT_BYTES, Column.TRAIN_SECONDS)
    assert [(row.seed, row.aggregate) for row in table.rows] == [(42, ""), (2024, ""), (None, "mean"), (None, "std")]
    first, second = table.rows[0].cells, table.rows[1].cells
    assert [cell.number.value for cell in first if cell.number] == [42, 1.0874, 1.0873, 4968, 15981300, 590.1]
    assert [first[4].unit, second[4].unit, first[5].unit] == ["bytes", "MB", "s"]
    assert [cell.empty for cell in second] == [False, True, False, True, False, True]
    assert second[1].source.line == 5


def test_seeds_as_columns_are_turned() -> None:
    (table,) = read(
        "| Metric | Seed 42 | Seed 7 | Mean |\n|--|--|--|--|\n| val_bpb | 1.1 | 1.2 | 1.15 |\n| Steps | 10 | 11 | |\n"
    ).tables
    assert table.columns == (Column.SEED, Column.BPB, Column.STEPS)
    assert [(row.seed, row.aggregate, row.cells[1].text) for row in table.rows] == [
        (42, "", "1.1"),
        (7, "", "1.2"),
        (None, "mean", "1.15"),
    ]


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ("val_bpb", Column.BPB),
        ("legal_ttt BPB", Column.BPB),
        ("Δ BPB vs SOTA", Column.OTHER),
        ("val_loss", Column.LOSS),
        ("ms/step", Column.STEP_MS),
        ("Code size", Column.CODE_BYTES),
        ("Eval time (s)", Column.EVAL_SECONDS),
        ("Notes", Column.OTHER),
    ],
)
def test_column_kinds(header: str, kind: Column) -> None:
    (table,) = read(f"| Seed | {header} |\n|--|--|\n| 1 | 2 |\n").tables
    assert table.columns[1] is kind


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- No TTT", {("ttt", "denied")}),
        ("- No SLOT, no n-gram cache, no ETLB", {("slot", "denied"), ("ngram", "denied"), ("etlb", "denied")}),
        ("No TTT, SLOT, or n-gram cache.", {("ttt", "denied"), ("slot", "denied"), ("ngram", "denied")}),
        ("- TTT: none", {("ttt", "denied")}),
        ("- No pre-quant TTT", {("prequant-ttt", "denied")}),
        ("- No TTT before scoring", set()),
        ("- No TTT-adapted weights are shipped", set()),
        ("- No illegal TTT", set()),
        ("- Legal TTT (score-first)", {("ttt", "asserted")}),
        ("This is a non-record submission.", {("record", "denied")}),
        ("# Non-record: a negative result", {("record", "denied")}),
        ("This improves on the previous non-record submission by far.", set()),
        ("This PR has been withdrawn.", {("withdrawn", "asserted")}),
        ("If it merges first, this PR should be withdrawn.", set()),
    ],
)
def test_statements(text: str, expected: set[tuple[str, str]]) -> None:
    assert said(text + "\n") == expected


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("- int6 + zstd-22", ["zstd:22"]),
        ("- LZMA-9, FA3", ["lzma:9"]),
        ("- zstd level 22", ["zstd:22"]),
        ("- brotli 7-gram", ["brotli"]),
        ("- Total quantized+brotli: 15,879,906 bytes", ["brotli"]),
        ("- LZMA-wrapped code", []),
        ("- zlib instead of zstd-22", ["zlib"]),
        ("## What did not work\n\n- lzma compression", []),
    ],
)
def test_compressors(text: str, values: list[str]) -> None:
    assert [found.value for found in read(text + "\n").statements if found.topic == "compressor"] == values


def test_bases_and_sota() -> None:
    found = read("Built on: PR #1735 @a, PR #1729 @b\n\nMerged SOTA (PR #1493): **1.0810 BPB**.\n").statements
    assert [one.value for one in found if one.topic == "base-pr"] == ["1735", "1729"]
    assert [one.value for one in found if one.topic == "sota"] == ["1.0810"]


def test_forms_and_lines() -> None:
    found = [one for one in read("# No TTT\n\ntext\nNo SLOT here.\n\n- no ETLB\n").statements if one.polarity is Polarity.DENIED]
    assert [(one.topic, one.form, one.source.line) for one in found] == [
        ("ttt", "heading", 1),
        ("slot", "prose", 4),
        ("etlb", "bullet", 6),
    ]


def test_numbers() -> None:
    facts = read(
        "# Record — val_bpb: 1.0810 (3-seed mean, std 0.0002)\n\nbeats the SOTA val_bpb 1.1147\n\n- artifact 15.98 MB\n"
    ).facts
    assert [(fact.name, fact.value, fact.printed) for fact in facts] == [
        ("val_bpb", 1.081, "1.0810"),
        ("val_bpb_std", 0.0002, "0.0002"),
        ("bytes_total", 15_980_000, "15.98"),
    ]


def test_statements_of_metadata() -> None:
    metadata = read_metadata(
        "submission.json",
        b'{"blurb": "int6. No SLOT, no TTT.", "compliance": {"no_ngram_cache": true, "score_first_ttt": true,'
        b' "no_hashed_ngram_cache": true, "slot_enabled": false}}',
    )
    found = statements_of_metadata(metadata)
    assert [(one.topic, one.polarity.value, one.form) for one in found] == [
        ("ttt", "denied", "json"),
        ("slot", "denied", "json"),
        ("ngram", "denied", "json"),
        ("ttt", "asserted", "json"),
        ("slot", "denied", "json"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        ">" * 50_000,
        "- " * 50_000,
        "[" * 50_000,
        "`" * 50_000,
        "| a " * 5_000 + "\n" + "|--" * 5_000 + "\n" + "| 1 |\n" * 2_000,
        "```\n" + "A=1 \\\n" * 5_000,
        "no " + "/a" * 20_000,
        "val_bpb" + " " * 50_000,
        "- a\n" * 3_000,
        "$(" * 20_000,
    ],
)
def test_hostile_pages_are_read(text: str) -> None:
    assert read(text).path == "README.md"


def test_cut_pages_say_so() -> None:
    assert [problem.kind for problem in read("x" * 9_000).problems] == ["truncated"]
    assert [problem.kind for problem in read("```\nopen").problems] == ["unbalanced-fence"]
    assert [problem.kind for problem in read_readme("README.md", b"caf\xe9 au lait").problems] == ["undecodable"]


@given(st.text(max_size=300) | st.text(alphabet="`|#-*>\\\n $&;'\"=A1(){} forindo", max_size=300))
def test_any_text_is_read_the_same_twice(text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    assert read_readme("README.md", data) == read_readme("README.md", data)
