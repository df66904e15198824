"""Speed of the byte audit, as ratios against peers in the same run.

    CONTEST_VERIFIER_DATA=... uv run python tests/benchmarks/bench_bytes.py [megabytes]

Peers: the plain numpy rendering of the byte formula, and `sentencepiece` decoding the same ids. Real vocabularies and
documents are repeated to the wanted size (default 151 MB). Times are CPU seconds of this process.
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


def timed(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def peak() -> float:
    """Peak memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE


def write(folder: Path, name: str, ids: np.ndarray, times: int) -> Path:
    path = folder / f"{name}.bin"
    header = np.zeros(256, dtype="<i4")
    header[:3] = 20240520, 1, len(ids) * times
    with path.open("wb") as handle:
        handle.write(header.tobytes())
        for _ in range(times):
            handle.write(ids.astype("<u2").tobytes())
    return path


def strict_run(folder: Path, name: str, model, bos: int, rows: list[list[int]], texts: list[str], size: float) -> float:
    """Prints decode and audit speed; returns the decode speed, MB/s of source text."""
    ids = np.array([token for row in rows for token in [bos, *row]], dtype=np.uint16)
    text = sum(len(one.encode()) for one in texts)
    times = max(1, round(size * MEGABYTE / text))
    docs = folder / f"{name}.jsonl"
    lines = "".join(json.dumps({"text": one}) + "\n" for one in texts)
    with docs.open("w") as handle:
        for _ in range(times):
            handle.write(lines)
    tokens = TokenSet.open(model, [write(folder, name, ids, times)], bos)
    block = ids[: ids.tolist().index(bos, CHUNK)]
    starts = np.flatnonzero(block == bos)
    share = sum(len(texts[at].encode()) for at in range(len(starts))) / text
    rounds = max(1, round(size * MEGABYTE / (text * share)))
    model.decode(block, starts)
    seconds = sum(timed(lambda: model.decode(block, starts)) for _ in range(rounds))
    decode = rounds * text * share / MEGABYTE / seconds
    whole = timed(lambda: audit(tokens, docs=docs))
    total = text * times / MEGABYTE
    print(f"{name:10} {total:6.0f} MB  decode {decode:6.0f} MB/s  audit with JSONL {total / whole:6.0f} MB/s", end="  ")
    print(f"peak {peak():.0f} MB")
    return decode


def main() -> None:
    size = float(sys.argv[1]) if len(sys.argv) > 1 else 151.0
    texts = [json.loads(line)["text"] for line in (DATA / "text/fineweb_val_200docs.jsonl").open(encoding="utf-8")]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in ("1024", "8192"):
            path = DATA / f"tokenizers/fineweb_{name}_bpe.model"
            library = sentencepiece.SentencePieceProcessor(model_file=str(path))
            model = SentencePieceModel.load(path)
            rows = [library.encode(text) for text in texts]
            ours = strict_run(folder, f"sp{name}", model, 1, rows, texts, size)
            total = sum(len(text.encode()) for text in texts)
            seconds = min(timed(lambda rows=rows, library=library: [library.decode(row) for row in rows]) for _ in range(3))
            peer = total / MEGABYTE / seconds
            print(f"           sentencepiece decodes {peer:.0f} MB/s: ratio {ours / peer:.1f}")
            if name == "1024":
                account(model, rows)
        for name, file, bos in (("998", "scylla_998/candidate.vocab", 998), ("1254", "scylla_1254/scylla.yaml", 1253)):
            with (DATA / f"vectors/vectors_{name}.jsonl").open() as handle:
                records = [record for record in map(json.loads, handle) if record["name"].startswith("doc_")]
            model = TokenMonsterModel.load(DATA / file)
            sources = [texts[int(record["name"][4:])] for record in records]
            strict_run(folder, f"tm{name}", model, bos, [record["ids"] for record in records], sources, size)


def account(model: SentencePieceModel, rows: list[list[int]]) -> None:
    """The formula over 62 million tokens, against its plain rendering."""
    ids = np.array([token for row in rows for token in [1, *row]], dtype=np.uint16)
    times = round(62e6 / len(ids))
    stream = np.tile(ids, times)
    table = ByteTable.from_sentencepiece(model)
    running = Account(table)
    fast = timed(lambda: running.feed(stream))
    base, counted = table.base.astype(np.int16), []
    plain = timed(
        lambda: counted.append(
            int((base[stream[1:]] + (table.leading[stream[1:]] & ~table.boundary[stream[:-1]])).astype(np.float64).sum())
        )
    )
    print(f"formula    {len(stream) / 1e6:.0f} M tokens  {fast:.2f} s, plain numpy {plain:.2f} s: x {plain / fast:.1f}")
    if counted[0] != running.total:
        raise SystemExit(f"the two renderings differ: {counted[0]} and {running.total}")


if __name__ == "__main__":
    main()
