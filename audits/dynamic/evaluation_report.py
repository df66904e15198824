"""A fresh evaluation as text, as JSON, and its table of documents."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from audits.dynamic.evaluation import Documents, Evaluation

SHOWN = 1_000
"""Documents listed in the JSON report; the table of all is a file of its own."""
WORST = 5


def describe_evaluation(evaluation: Evaluation) -> dict[str, object]:
    """The `evaluation` object of a submission in the JSON report."""
    score, documents = evaluation.score, evaluation.documents
    settings = evaluation.settings
    return {
        "score": None if score is None else {
            "bpb": score.bpb, "loss": score.loss, "nats": score.nats, "targets": score.targets, "bytes": score.bytes,
            "missing": score.missing, "counted_twice": score.twice,
        },
        "logs": [{"log": one.name, "line": one.metric.source.line, "bpb": one.bpb.text} for one in evaluation.logs],
        "tolerance": evaluation.tolerance,
        "true_bytes_from": evaluation.validation.source if evaluation.validation is not None else None,
        "trusted": list(evaluation.trusted),
        "shortened": {name: list(values) for name, values in settings.shrunk.items()} if settings is not None else {},
        "documents": None if documents is None else _describe_documents(documents),
    }  # fmt: skip


def render_evaluation(evaluation: Evaluation) -> str:
    """A few lines of text."""
    score, documents = evaluation.score, evaluation.documents
    if score is None or documents is None:
        return ""
    lines = [
        "",
        "fresh evaluation",
        f"  {score.bpb:.8f} bits per byte  ({score.loss:.8f} nats per token, {score.targets:,} targets, {score.bytes:,} bytes)",
        f"  {len(documents.index):,} documents, mean of their BPB {documents.mean_bpb:.6f}; costliest:",
    ]
    lines += [
        f"    document {documents.index[at]:>6}  {documents.targets[at]:>8,} targets  {documents.bytes[at]:>9,} bytes  {documents.bpb[at]:.4f} BPB"
        for at in _worst(documents)
    ]
    lines += [f"  trusted: {'; '.join(evaluation.trusted)}"]
    return "\n".join(lines) + "\n"


def write_documents(path: Path, evaluation: Evaluation) -> None:
    """All documents, tab-separated: document, first token, targets, bytes, nats, bits per byte."""
    rows = ["document\tfirst_token\ttargets\tbytes\tnats\tbpb"]
    documents = evaluation.documents
    if documents is not None:
        rows += ["\t".join(str(value) for value in row) for row in _rows(documents)]
    path.write_text("\n".join(rows) + "\n", encoding="ascii")


def _describe_documents(documents: Documents) -> dict[str, object]:
    known = documents.bpb[np.isfinite(documents.bpb)]
    return {
        "count": len(documents.index),
        "mean_bpb": None if math.isnan(documents.mean_bpb) else documents.mean_bpb,
        "median_bpb": float(np.median(known)) if len(known) else None,
        "columns": ["document", "first_token", "targets", "bytes", "nats", "bpb"],
        "table": [list(row) for row in _rows(documents)[:SHOWN]],
        "not_listed": max(0, len(documents.index) - SHOWN),
    }


def _rows(documents: Documents) -> list[tuple[int, int, int, int, float, float | None]]:
    columns = (documents.index, documents.start, documents.targets, documents.bytes, documents.nats, documents.bpb)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [(i, s, t, b, round(n, 6), None if math.isnan(v) else round(v, 6)) for i, s, t, b, n, v in rows]


def _worst(documents: Documents) -> list[int]:
    cost = np.where(np.isfinite(documents.bpb), documents.bpb, -np.inf)
    return [int(at) for at in np.argsort(-cost, kind="stable")[:WORST] if np.isfinite(cost[at])]
