"""Speed of the byte audit, as ratios against peers in the same run.

    CONTEST_VERIFIER_DATA=... uv run python tests/benchmarks/bench_bytes.py [megabytes]

Peers: the plain numpy rendering of the byte formula, and `sentencepiece` decoding the same ids. Real vocabularies and
documents are repeated to the wanted size (default 151 MB). Times are CPU seconds of this process, the best of three.
An audit reads the token shards, decodes them, counts by class and by the byte table, and compares every document with
the JSONL source: "equal", documents that the tokens decode to (for SentencePiece the normal form of the real ones), with
UTF-8 or with ASCII escapes; "other", the real documents, most of which SentencePiece folds to another form.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import sentencepiece

from audits.bytes.accounting import Account, ByteTable
from audits.bytes.sentencepiece_model import SentencePieceModel
from audits.bytes.strict import CHUNK, TokenSet, audit
from audits.bytes.tokenmonster_vocab import TokenMonsterModel

DATA = Path(os.environ["CONTEST_VERIFIER_DATA"])
MEGABYTE = 1_000_000
ROUNDS = 3


def timed(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def peak() -> float:
    """Peak memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE


def write_tokens(path: Path, ids: np.ndarray, times: int) -> Path:
    header = np.zeros(256, dtype="<i4")
    header[:3] = 20240520, 1, len(ids) * times
    with path.open("wb") as handle:
        handle.write(header.tobytes())
        for _ in range(times):
            handle.write(ids.astype("<u2").tobytes())
    return path


def write_documents(path: Path, texts: list[str], times: int, ascii_only: bool) -> Path:
    lines = "".join(json.dumps({"text": text}, ensure_ascii=ascii_only) + "\n" for text in texts)
    with path.open("w", encoding="utf-8") as handle:
        for _ in range(times):
            handle.write(lines)
    return path


def size_of(texts: list[str]) -> float:
    return sum(len(text.encode()) for text in texts) / MEGABYTE


def strict_runs(
    folder: Path, name: str, model, bos: int, rows, sources: dict[str, tuple[list[str], bool]], size: float
) -> dict[str, float]:
    """Prints decode and audit speed, MB/s of decoded text; returns the latter for each source."""
    ids = np.array([token for row in rows for token in [bos, *row]], dtype=np.uint16)
    block = ids[: int(np.flatnonzero(ids[: CHUNK + 1] == bos)[-1])]
    starts = np.flatnonzero(block == bos)
    text = int(model.decode(ids, np.flatnonzero(ids == bos)).truth.sum()) / MEGABYTE
    share = len(model.decode(block, starts).data) / MEGABYTE
    times = max(1, round(size / text))
    tokens = TokenSet.open(model, [write_tokens(folder / f"{name}.bin", ids, times)], bos)
    rounds = max(1, round(size / 4 / share))
    seconds = timed(lambda: [model.decode(block, starts).data for _ in range(rounds)])
    print(
        f"{name:8} {text * times:4.0f} MB, {len(ids) * times / 1e6:.0f} M tokens: decode alone {rounds * share / seconds:4.0f} MB/s"
    )
    table = ByteTable.from_model(model) or ByteTable.constant(max(model.size, bos + 1), 2)
    speeds = {}
    for source, (texts, ascii_only) in sources.items():
        docs = write_documents(folder / "docs.jsonl", texts, times, ascii_only)
        results = []
        seconds = timed(lambda docs=docs, results=results: results.append(audit(tokens, table=table, docs=docs)))
        speeds[source] = text * times / seconds
        bad = results[0].truth.bad_documents
        print(
            f"         {source:12} audit {speeds[source]:4.0f} MB/s   {bad:,} of {results[0].docs:,} documents differ   peak {peak():.0f} MB"
        )
    return speeds


def main() -> None:
    size = float(sys.argv[1]) if len(sys.argv) > 1 else 151.0
    texts = [json.loads(line)["text"] for line in (DATA / "text/fineweb_val_200docs.jsonl").open(encoding="utf-8")]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in ("1024", "8192"):
            path = DATA / f"tokenizers/fineweb_{name}_bpe.model"
            library = sentencepiece.SentencePieceProcessor(model_file=str(path))
            rows = [library.encode(text) for text in texts]
            normal = [library.decode(row) for row in rows]
            sources = {"equal, UTF-8": (normal, False), "equal, ASCII": (normal, True), "other": (texts, False)}
            ours = strict_runs(folder, f"sp{name}", SentencePieceModel.load(path), 1, rows, sources, size)
            seconds = timed(lambda rows=rows, library=library: [library.decode(row) for row in rows], 2 * ROUNDS)
            peer = size_of(normal) / seconds
            ratios = ", ".join(f"{source} x {speed / peer:.1f}" for source, speed in ours.items())
            print(f"         sentencepiece decodes {peer:.0f} MB/s: {ratios}")
        for name, file, bos in (("998", "scylla_998/candidate.vocab", 998), ("1254", "scylla_1254/scylla.yaml", 1253)):
            with (DATA / f"vectors/vectors_{name}.jsonl").open() as handle:
                records = [record for record in map(json.loads, handle) if record["name"].startswith("doc_")]
            real = [texts[int(record["name"][4:])] for record in records]
            kind = "other" if name == "998" else "equal"
            sources = {f"{kind}, UTF-8": (real, False), f"{kind}, ASCII": (real, True)}
            model = TokenMonsterModel.load(DATA / file)
            strict_runs(folder, f"tm{name}", model, bos, [record["ids"] for record in records], sources, size)
    # Last: the plain rendering takes gigabytes.
    path = DATA / "tokenizers/fineweb_1024_bpe.model"
    library = sentencepiece.SentencePieceProcessor(model_file=str(path))
    account(SentencePieceModel.load(path), [library.encode(text) for text in texts])


def account(model: SentencePieceModel, rows: list[list[int]]) -> None:
    """The formula over 62 million tokens, against its plain rendering."""
    ids = np.array([token for row in rows for token in [1, *row]], dtype=np.uint16)
    stream = np.tile(ids, round(62e6 / len(ids)))
    table = ByteTable.from_sentencepiece(model)
    counted: list[int] = []

    def ours() -> None:
        running = Account(table)
        running.feed(stream)
        counted.append(running.total)

    def plain() -> None:
        base = table.base.astype(np.int16)
        charged = base[stream[1:]] + (table.leading[stream[1:]] & ~table.boundary[stream[:-1]])
        counted.append(int(charged.astype(np.float64).sum()))

    fast, slow = timed(ours), timed(plain)
    print(f"formula  {len(stream) / 1e6:.0f} M tokens: {fast:.2f} s, plain numpy {slow:.2f} s: x {slow / fast:.1f}")
    if len(set(counted)) != 1:
        raise SystemExit(f"the two renderings differ: {sorted(set(counted))}")


if __name__ == "__main__":
    main()
