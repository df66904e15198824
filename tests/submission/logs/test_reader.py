"""Both dialects, line by line: what a log says ends in the run with its line and its digits."""

from __future__ import annotations

import pytest

from tests.submission.logs.samples import SEPARATOR, classic, modern
from verifier.submission.logs.model import LogFile, PhaseKind, Run, SizeKind
from verifier.submission.logs.reader import is_log_name, read_log, read_logs


def read(text: str, path: str = "train.log") -> LogFile:
    return read_log(path, text.encode())


def only_run(text: str, path: str = "train.log") -> Run:
    (run,) = read(text, path).runs
    return run


def line_of(text: str, start: str) -> int:
    return next(number for number, line in enumerate(text.split("\n"), 1) if line.startswith(start))


def test_classic_dialect() -> None:
    text = classic(seed=1337)
    run = only_run(text)
    assert (run.seed, run.seed_from) == (1337, "line")
    assert run.seed_source is not None
    assert run.seed_source.line == line_of(text, "seed:")
    assert run.stop is not None
    assert (run.stop.reason, run.stop.step, run.train_ms) == ("wallclock_cap", 6000, 600_032.0)
    assert run.steps_reached == 6000
    assert run.full
    headline = run.headline
    assert headline is not None
    assert headline.label == "final_int8_zlib_roundtrip_exact"
    assert headline.bpb is not None
    assert headline.bpb.text == "1.15563344"
    assert headline.seconds == pytest.approx(2.15)
    assert headline.source.line == line_of(text, "final_int8_zlib_roundtrip_exact")
    for name, value in (
        ("world_size", "8"),
        ("val_tokens", "62021632"),
        ("train_shards", "80"),
        ("model_params", "17059912"),
        ("peak_memory", "10120 MiB"),
        ("tokenizer_path", "./data/tokenizers/fineweb_1024_bpe.model"),
        ("data_path", "fineweb10B_sp1024"),
    ):
        assert getattr(run, name).text == value
    assert run.config["train_seq_len"].text == "1024"
    assert run.metrics[0].step == 6000


def test_modern_dialect() -> None:
    text = modern()
    run = only_run(text)
    assert (run.seed, run.seed_from) == (42, "dump")
    assert run.config["gptq_reserve_seconds"].text == "12.0"
    assert run.steps[0].train_ms == pytest.approx(60_000.0)
    assert run.train_ms == 588_044.0
    assert run.headline is not None
    assert run.headline.label == "quantized_sliding_window"
    by_kind = {timing.kind: timing for timing in run.timings}
    assert by_kind[PhaseKind.RESERVE].seconds == 12.0
    assert by_kind[PhaseKind.CALIBRATION].seconds == 11.3
    assert by_kind[PhaseKind.CALIBRATION].source.line == line_of(text, "GPTQ:collected")
    assert {line.reads for line in run.calibrations} == {"train"}


def test_sizes_keep_their_tags_and_raw_files_are_told_apart() -> None:
    sizes = only_run(classic()).sizes
    assert [(size.kind, size.tag, size.bytes) for size in sizes] == [
        (SizeKind.RAW_MODEL, "", 67_224_983),
        (SizeKind.CODE, "", 47_642),
        (SizeKind.RAW_TOTAL, "", 67_272_625),
        (SizeKind.MODEL, "int8+zlib", 15_815_847),
        (SizeKind.TOTAL, "int8+zlib", 15_863_489),
    ]
    tags = [size.tag for size in only_run(modern()).sizes if size.kind is SizeKind.CODE]
    assert tags == ["(uncompressed)", "(compressed)"]


@pytest.mark.parametrize(
    ("line", "kind", "number", "exact"),
    [
        ("Artifact:  15,305,698 bytes (14.60 MB)", SizeKind.TOTAL, 15_305_698, True),
        ("Total submission size: 15.9 MB", SizeKind.TOTAL, 15_900_000, False),
        ("model:15690309 code:97894 total:15788203 (15.79 MB)", SizeKind.TOTAL, 15_788_203, True),
        ("total_artifact_bytes=15788203 code_bytes=97894", SizeKind.TOTAL, 15_788_203, True),
        ("Serialized model int6+zstd: 15322709 bytes", SizeKind.MODEL, 15_322_709, True),
    ],
)
def test_size_lines(line: str, kind: SizeKind, number: int, exact: bool) -> None:
    found = only_run(line + "\n").sizes[0]
    assert (found.kind, found.bytes, found.exact) == (kind, number, exact)


@pytest.mark.parametrize(
    "line",
    [
        "total_tokens: 62,021,845",
        "Total params: 17,059,912",
        "WARNING: submission 16057509 bytes exceeds 16MB limit",
        "passthrough_tensor:bigram.scale shape:[] dtype:torch.float16 bytes:1048576",
    ],
)
def test_counts_of_other_things_are_no_sizes(line: str) -> None:
    assert only_run(line + "\n").sizes == ()


def test_embedded_source_is_cut_out_and_kept() -> None:
    source = (
        '"""A script.\n\nfinal_int8_zlib_roundtrip_exact val_loss:0.1 val_bpb:0.05\n"""\nfrom __future__ import annotations\n\nimport torch\n\n'
        "# final_int6_sliding_window val_loss:0.3 val_bpb:0.2\nclass Model:\n    pass\n\n\ndef main() -> None:\n"
        '    log0(f"final_ttt val_loss:{1.5} val_bpb:0.9")\n\n\nif __name__ == "__main__":\n    main()\n'
    )
    text = source + SEPARATOR + "\nRunning Python 3.12.3\nRunning PyTorch 2.9.1+cu128\n" + classic()
    log = read(text)
    assert log.embedded is not None
    assert log.embedded.first_line == 1
    assert log.embedded.text.endswith("    main()")
    (run,) = log.runs
    assert {metric.bpb.value for metric in run.metrics if metric.bpb} == {1.19, 1.1556, 1.15563344}
    assert run.torch is not None
    assert run.torch.text == "2.9.1+cu128"
    assert run.headline is not None
    assert run.headline.source.line == line_of(text, "final_int8_zlib_roundtrip_exact val_loss:1.9512")


def test_source_without_a_closing_rule_ends_where_the_run_begins() -> None:
    source = "import torch\nimport os\ndef f():\n    return 1\nclass A:\n    pass\nif __name__ == '__main__':\n    f()\n"
    log = read(source + classic())
    assert log.embedded is not None
    assert (log.embedded.first_line, log.embedded.last_line) == (1, 8)
    assert log.runs[0].seed == 42


def test_source_after_a_heading_and_a_dump() -> None:
    source = "import torch\ndef f():\n    return 1\nclass A:\n    pass\n"
    text = (
        "Hyperparameters:\n  seed: 7\n"
        + SEPARATOR
        + "\nSource code:\n"
        + SEPARATOR
        + "\n"
        + source
        + SEPARATOR
        + "\n"
        + classic(seed=None)
    )
    log = read(text)
    assert log.embedded is not None
    assert log.embedded.text == source.rstrip("\n")
    assert [(run.seed, run.seed_from) for run in log.runs] == [(7, "dump")]


def test_a_log_without_source_is_left_whole() -> None:
    log = read("import error, retrying\n" + classic())
    assert log.embedded is None


@pytest.mark.parametrize("prefix", ["[rank0]: 2026-04-01 10:00:00,123 - ", "[default0]:"])
def test_prefixes_are_stripped(prefix: str) -> None:
    run = only_run("\n".join(f"{prefix}{line}" for line in classic().splitlines()))
    assert run.headline is not None
    assert (run.seed, run.steps_reached, run.headline.label) == (42, 6000, "final_int8_zlib_roundtrip_exact")


def test_stamps_of_a_logger_are_stripped() -> None:
    logged = "\n".join(f"[2026-03-25 11:12:40] INFO: {line}" for line in classic().splitlines())
    assert only_run(logged).train_ms == 600_032.0


def test_several_runs_in_one_file() -> None:
    text = classic(seed=42) + classic(seed=1337, bpb="1.2000") + classic(seed=7, bpb="1.3000")
    runs = read(text).runs
    assert [run.seed for run in runs] == [42, 1337, 7]
    assert [run.index for run in runs] == [0, 1, 2]
    assert runs[1].first_line == runs[0].last_line + 1
    assert [run.headline.bpb.value for run in runs if run.headline and run.headline.bpb] == [1.15563344, 1.20003344, 1.30003344]


def test_a_run_printed_twice_is_one_run() -> None:
    assert len(read(classic() + classic()).runs) == 1


def test_an_evaluation_appended_to_a_training_log_continues_its_run() -> None:
    tail = "logs/eval.txt\nseed:42\nmodel_params:17059912\nlegal_ttt val_loss:1.9000 val_bpb:1.1200 eval_time:400000ms\n"
    run = only_run(classic() + tail)
    assert run.headline is not None
    assert run.headline.label == "legal_ttt"
    other = read(classic() + tail.replace("seed:42", "seed:7")).runs
    assert [found.seed for found in other] == [42, 7]


@pytest.mark.parametrize(
    ("label", "diagnostic"),
    [
        ("DIAGNOSTIC post_ema", True),
        ("diagnostic quantized", True),
        ("pre-quantization post-ema", True),
        ("ttt_chunk [3/40]", True),
        ("ttt_phase 1", False),
        ("quantized_ttt_phased", False),
        ("post-prequant-ttt", False),
        ("final_int6_sliding_window_exact", False),
        ("legal_ttt", False),
    ],
)
def test_diagnostic_labels(label: str, diagnostic: bool) -> None:
    run = only_run(f"{label} val_loss:1.9 val_bpb:1.1\n")
    assert [metric.diagnostic for metric in run.metrics] == [diagnostic]


@pytest.mark.parametrize(
    ("line", "bpb", "loss"),
    [
        ("ttt_sliding:done val_loss=1.950891 val_bpb=1.090641 elapsed=429.5s", "1.090641", "1.950891"),
        ("final_int8_zlib_roundtrip_exact val_bpb:1.10788263", "1.10788263", None),
        ("q_sw vl:1.8940 bpb:1.1217 s:128 t:64409ms", "1.1217", "1.8940"),
        ("Quantized BPB (no XSA): 1.027811", "1.027811", None),
        ("final_int8_zlib_roundtrip_exact val_bpb 1.0500312", "1.0500312", None),
        ("final | val_bpb: 1.1 | val_loss: 1.9", "1.1", "1.9"),
    ],
)
def test_metric_shapes(line: str, bpb: str, loss: str | None) -> None:
    headline = only_run(line + "\n").headline
    assert headline is not None
    assert headline.bpb is not None
    assert headline.bpb.text == bpb
    assert (headline.loss.text if headline.loss else None) == loss


def test_halves_of_a_metric_on_two_lines_find_each_other() -> None:
    run = only_run("final_int6_sliding_window_val_loss: 2.82858227\nfinal_int6_sliding_window_val_bpb: 1.09503234\n")
    assert run.headline is not None
    assert run.headline.loss is not None
    assert run.headline.loss.text == "2.82858227"


def test_a_summary_of_gains_is_no_score() -> None:
    run = only_run(classic(tail="gain_bpb=0.00309\nquant_gap: 0.0135 BPB (pre:1.16 post:1.17)\ndelta_bpb=-0.0587"))
    assert run.headline is not None
    assert run.headline.label == "final_int8_zlib_roundtrip_exact"


def test_the_eval_time_below_a_metric_belongs_to_it() -> None:
    run = only_run("legal_ttt_exact val_loss:1.95 val_bpb:1.09\neval_time: 401.5s\n")
    assert run.headline is not None
    assert run.headline.seconds == 401.5


def test_a_file_name_seed_is_kept_beside_the_logged_one() -> None:
    run = only_run(classic(seed=1337), "logs/train_seed42.log")
    assert (run.seed, run.file_name_seed, run.seed_from) == (1337, 42, "line")
    run = only_run(classic(seed=None), "logs/train_seed42.log")
    assert (run.seed, run.seed_from) == (42, "file-name")
    assert run.seed_source is not None
    assert run.seed_source.line is None


def test_gpu_rows_warnings_and_tracebacks() -> None:
    row = "|   0  NVIDIA H100 80GB HBM3          On  |   00000000:8D:00.0 Off |                    0 |"
    text = row + "\n" + classic(tail="WARNING: submission 16057509 bytes exceeds 16MB limit\nTraceback (most recent call last):")
    run = only_run(text)
    assert [gpu.text for gpu in run.gpus] == ["NVIDIA H100 80GB HBM3"]
    assert len(run.warnings) == 1
    assert len(run.tracebacks) == 1


def test_duplicates_are_marked_once_each() -> None:
    data = classic().encode()
    logs = read_logs([("train_seed42.log", data), ("train.log", data), ("other.log", b"nothing\n")])
    assert [(log.path, log.duplicate_of) for log in logs] == [
        ("other.log", None),
        ("train.log", None),
        ("train_seed42.log", "train.log"),
    ]


@pytest.mark.parametrize(
    ("path", "is_log"),
    [
        ("train_seed42.log", True),
        ("logs/run3.out", True),
        ("train_log.txt", True),
        ("8L_w5_s42.txt", True),
        ("requirements.txt", False),
        ("README.txt", False),
        ("requirements_train.txt", False),
        ("LICENSE.txt", False),
        ("train_gpt.py", False),
        (".log", False),
    ],
)
def test_log_names(path: str, is_log: bool) -> None:
    assert is_log_name(path) is is_log


def test_a_stamped_dump_keeps_its_indentation() -> None:
    stamped = "\n".join(f"1776144156.999 {line}" for line in modern(seed=7).splitlines())
    run = only_run(stamped)
    assert (run.seed, run.seed_from) == (7, "dump")
    assert run.config["ttt_enabled"].text == "False"
    assert run.train_ms == 588_044.0
