"""BYT007: the strict audit inside `verifier audit`, where the user gives shards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from audits.bytes.datasets import dataset_names, find_dataset, find_source
from audits.bytes.rule_strict import STRICT_DRIFT
from fixtures.byte_cases import byte_table, sentencepiece, vocabulary
from fixtures.record import Record, files_of
from tests.audits.bytes.byte_builders import shard
from verifier.challenge.load import load_challenge
from verifier.cli.main import main
from verifier.engine.audit import Plan, audit_source
from verifier.engine.context import Context, Options
from verifier.engine.registry import load_rules
from verifier.rule import Decision, Outcome
from verifier.submission.disk_source import DiskSource
from verifier.submission.load import load_submission

LABEL = "records/track_10min_16mb/2026-04-30_Own"
PIECES = ["\u2581the", "cat", "\u2581sat", "é"]
MODEL = sentencepiece(PIECES)
FIRST = 4 + 256
"""Id of the space marker; the words follow."""
DOCUMENTS = ["cat the", "é sat the", "cat cat"]
WORDS = {"\u2581": FIRST, **{piece: FIRST + 1 + index for index, piece in enumerate(PIECES)}}
IDS = [
    1, WORDS["cat"], WORDS["\u2581the"],
    1, WORDS["é"], WORDS["\u2581sat"], WORDS["\u2581the"],
    1, WORDS["cat"], WORDS["\u2581"], WORDS["cat"],
]  # fmt: skip
MONSTER = [bytes([value]) for value in range(256)] + [b" the", b"cat"]
MONSTER_IDS = [258, 257, 256, 258, *"é".encode(), 256]
"""Two documents; 258 is a boundary token that the vocabulary does not hold."""


def record(**changes: object) -> Record:
    base = Record(name="2026-04-30_Own", dataset="fineweb10B_own", tokenizer_path="./own.model", val_tokens=len(IDS) - 1)
    return base.but(extra={"own.model": MODEL}).but(**changes)


def monster(base: list[int]) -> Record:
    files = {
        "tokenmonster_own.vocab": vocabulary(MONSTER, capcode=0, normalization=0),
        "own.meta.npz": byte_table(base),
    }
    return record(tokenizer_path="./tokenmonster_own.vocab", val_tokens=len(MONSTER_IDS) - 1, extra=files)


def folder(below: Path, built: Record) -> DiskSource:
    for name, data in files_of(built).items():
        target = below / "record" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return DiskSource(below / "record", LABEL)


def data_of(below: Path, ids: list[int], *, docs: list[str] | None = None, name: str = "datasets/fineweb10B_own") -> Path:
    (below / "data" / name).mkdir(parents=True, exist_ok=True)
    shard(below / "data" / name / "fineweb_val_000000.bin", ids)
    if docs is not None:
        lines = "".join(json.dumps({"text": text}) + "\n" for text in docs)
        (below / "data" / "docs_val.jsonl").write_text(lines, encoding="utf-8")
    return below / "data"


def decide(below: Path, built: Record, data: Path | None, tokenizers: Path | None = None) -> Decision:
    submission = load_submission(folder(below, built))
    return STRICT_DRIFT.decide(Context(submission, load_challenge(), Options(tokenizer_dir=tokenizers, data_dir=data)))


def test_without_data_nothing_is_said(tmp_path: Path) -> None:
    decision = decide(tmp_path, record(), None)
    assert decision.outcome is Outcome.NOT_AVAILABLE
    assert "--data" in decision.reason


def test_documents_that_decode_to_their_source_pass(tmp_path: Path) -> None:
    decision = decide(tmp_path, record(), data_of(tmp_path, IDS, docs=DOCUMENTS))
    assert decision.outcome is Outcome.PASS
    assert decision.reason.startswith("exact")


def test_without_a_source_the_count_is_held_against_the_decoded_bytes(tmp_path: Path) -> None:
    decision = decide(tmp_path, record(), data_of(tmp_path, IDS))
    assert decision.outcome is Outcome.PASS
    assert "no source" in decision.reason


def test_a_published_tokenizer_comes_from_the_user(tmp_path: Path) -> None:
    data = data_of(tmp_path, IDS, docs=DOCUMENTS)
    assert decide(tmp_path, record(extra={}), data).outcome is Outcome.NOT_AVAILABLE
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "own.model").write_bytes(MODEL)
    assert decide(tmp_path, record(extra={}), data, tmp_path / "models").outcome is Outcome.PASS


@pytest.mark.parametrize("docs", [["cat the", "é the"], None])
def test_a_table_that_miscounts_fails_with_its_class(tmp_path: Path, docs: list[str] | None) -> None:
    lengths = [len(text) for text in MONSTER]
    source = ["cat the", "é the"] if docs else None
    data = data_of(tmp_path, MONSTER_IDS, docs=source)
    assert decide(tmp_path, monster([*lengths, 0]), data).outcome is Outcome.PASS
    drifting = [3 if 0x80 <= value < 0x100 else count for value, count in enumerate(lengths)]
    decision = decide(tmp_path, monster([*drifting, 0]), data)
    assert decision.outcome is Outcome.FAIL
    assert "byte_fallback +4" in decision.reason
    assert decision.findings[0].locations[0].path == "own.meta.npz"
    assert decision.findings[0].measured is not None
    assert decision.findings[0].measured.value == 17


def test_documents_that_are_not_the_source_are_no_accusation(tmp_path: Path) -> None:
    data = data_of(tmp_path, IDS, docs=DOCUMENTS[:2])
    decision = decide(tmp_path, record(), data)
    assert decision.outcome is Outcome.NOT_AVAILABLE
    assert "not the source of these shards" in decision.reason


def test_shards_of_another_run_are_not_used(tmp_path: Path) -> None:
    many = IDS * 10_000
    data = data_of(tmp_path, many)
    assert decide(tmp_path, record(val_tokens=len(many) - 1), data).outcome is Outcome.PASS
    decision = decide(tmp_path, record(val_tokens=len(many) + 5), data)
    assert decision.outcome is Outcome.NOT_AVAILABLE
    assert "not the run's shards" in decision.reason
    empty = tmp_path / "empty"
    empty.mkdir()
    assert decide(tmp_path, record(), empty).outcome is Outcome.NOT_AVAILABLE


def test_a_damaged_shard_is_no_accusation(tmp_path: Path) -> None:
    data = data_of(tmp_path, IDS)
    path = data / "datasets" / "fineweb10B_own" / "fineweb_val_000000.bin"
    path.write_bytes(path.read_bytes()[:-2])
    decision = decide(tmp_path, record(), data)
    assert decision.outcome is Outcome.NOT_AVAILABLE
    assert "truncated" in decision.reason


def test_a_sidecar_that_differs_fails(tmp_path: Path) -> None:
    data = data_of(tmp_path, IDS, docs=DOCUMENTS)
    true = [0, 3, 4, 0, 2, 4, 4, 0, 3, 1, 3]
    sidecar = data / "datasets" / "fineweb10B_own" / "fineweb_val_bytes_000000.bin"
    shard(sidecar, true)
    assert decide(tmp_path, record(), data).outcome is Outcome.PASS
    shard(sidecar, [3, *true[1:]])
    assert decide(tmp_path, record(), data).outcome is Outcome.FAIL
    shard(sidecar, true[:-1])
    decision = decide(tmp_path, record(), data)
    assert decision.outcome is Outcome.NOT_AVAILABLE
    assert "not of one set" in decision.reason


def test_the_audit_command_runs_the_rule_only_with_data(tmp_path: Path) -> None:
    source = folder(tmp_path, record())
    data = data_of(tmp_path, IDS, docs=DOCUMENTS)
    without = audit_source(source, Plan(load_rules(), load_challenge()))
    assert "BYT007" in without.not_examined
    elsewhere = audit_source(source, Plan(load_rules(), load_challenge(), Options(data_dir=tmp_path / "nowhere")))
    assert elsewhere.verdict is without.verdict, "data that does not fit changes no verdict"
    given = audit_source(source, Plan(load_rules(), load_challenge(), Options(data_dir=data)))
    assert "BYT007" not in given.not_examined
    assert next(one.outcome for one in given.rules if one.code == "BYT007") is Outcome.PASS


def test_where_data_is_looked_for(tmp_path: Path) -> None:
    assert dataset_names("./data/datasets/fineweb10B_x/fineweb_val_*.bin") == ("fineweb10B_x",)
    assert dataset_names("fineweb10B_x") == ("fineweb10B_x",)
    assert dataset_names("*.bin") == ()
    flat = tmp_path / "flat"
    flat.mkdir()
    assert find_dataset(flat, ["fineweb10B_x"]) is None
    shard(flat / "fineweb_val_000000.bin", [1, 2])
    shard(flat / "fineweb_val_bytes_000000.bin", [0, 1])
    found = find_dataset(flat, ["fineweb10B_x"])
    assert found is not None
    assert [path.name for path in (*found.tokens, *found.sidecars)] == ["fineweb_val_000000.bin", "fineweb_val_bytes_000000.bin"]
    assert find_source(flat, 50_000) is None
    (flat / "docs_selected.jsonl").write_text("{}\n")
    assert find_source(flat, 50_000) == (flat / "docs_selected.jsonl", 50_000)


def test_the_bytes_command_states_the_rule_and_the_tables_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = data_of(tmp_path, MONSTER_IDS, docs=["cat the", "é the"])
    drifting = [3 if 0x80 <= value < 0x100 else len(text) for value, text in enumerate(MONSTER)]
    for name, content in files_of(monster([*drifting, 0])).items():
        if name.startswith(("own", "tokenmonster")):
            (tmp_path / name).write_bytes(content)
    options = ["bytes", "--tokenizer", str(tmp_path / "tokenmonster_own.vocab"), "--meta", str(tmp_path / "own.meta.npz")]
    options += ["--tokens", str(data / "datasets" / "fineweb10B_own" / "*.bin"), "--docs", str(data / "docs_val.jsonl")]
    assert main([*options, "--strict", "--format", "json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["rules"]["BYT007"]["outcome"] == "fail"
    assert [(one["class"], one["tokens"], one["low"]) for one in report["table_drift"]] == [("byte tokens", 128, 2)]
    assert report["tokenizer"]["normalization"]["invertible"]
    assert main(options) == 0
    text = capsys.readouterr().out
    assert "BYT007 strict-audit-drift: fail" in text
    assert "128 of 128 byte tokens +2 bytes per use" in text
