"""Numbers in headings, bullets and prose whose meaning the sentence gives: score, loss, deviation, bytes, seconds."""

from __future__ import annotations

import re
from collections.abc import Iterable

from verifier.evidence import Fact, Number
from verifier.submission.readme.blocks import Page
from verifier.submission.readme.sentences import Sentence, read_sentences

MOST_FACTS = 2_000

_VALUE = r"(\d{1,3}(?:,\d{3}){1,4}|\d{1,9}(?:\.\d{1,12})?)"
_SCORE = re.compile(
    r"\b(?:val[_ ]?)?bpb\b\s{0,3}(?:\([^()]{0,40}\)\s{0,3})?(?:score|mean|=|:|—|–|-|of|is|≈|~|\s){0,6}\s{0,3}\b(\d\.\d{2,10})\b",
    re.IGNORECASE,
)
_SCORE_BEFORE = re.compile(r"(?<![\d.−+-])\b(\d\.\d{3,10})\s{0,2}(?:val[_ ]?)?bpb\b", re.IGNORECASE)
_LOSS = re.compile(r"\bval[_ ]loss\b\s{0,3}(?:=|:|of|is|≈|~|\s){0,4}\s{0,2}(\d\.\d{2,10})\b", re.IGNORECASE)
_STD = re.compile(r"(?:\bstd(?:ev)?\b\.?|σ|±)\s{0,2}(?:=|:|of|is|≈|~|\s){0,4}\s{0,2}(0\.\d{2,10})\b", re.IGNORECASE)
_BYTES = re.compile(_VALUE + r"\s{0,2}(bytes|B|MB|MiB)\b")
_SECONDS = re.compile(r"(\d{1,4}(?:\.\d{1,6})?)\s{0,2}(s|sec|seconds)\b")
_ELSEWHERE = re.compile(
    r"sota|baseline|\bvs\.?\b|versus|previous|prior|compared|record\b.{0,20}threshold|threshold|delta|Δ|improve|better|worse|lower than|beats?\b"
    r"|\bPR\s?#|ablation|without\b|expected|target|estimat|project(?:ed|ion)|predict|pending|pre-?quant|pre-?ttt|roundtrip|old\b|was\b|would\b|from\b|leaderboard|merged",
    re.IGNORECASE,
)
_SIZED = re.compile(r"artifact|artefact|submission|total|size|bytes_total", re.IGNORECASE)
_UNSIZED = re.compile(r"cap\b|limit|budget|under|below|headroom|margin|code|script|<|≤|raw|baseline|saved?|param", re.IGNORECASE)
_SCALES = {"bytes": 1.0, "B": 1.0, "MB": 1e6, "MiB": 1024.0**2}


def read_numbers(page: Page) -> tuple[Fact, ...]:
    """Numbers in document order; the first `val_bpb` is the headline by custom (title, then the bold line below it)."""
    found: list[Fact] = []
    for sentence in read_sentences(page):
        if sentence.form != "table":
            found += _of_sentence(sentence)
        if len(found) > MOST_FACTS:
            break
    return tuple(found[:MOST_FACTS])


def _of_sentence(sentence: Sentence) -> Iterable[Fact]:
    text = sentence.text
    scores = sorted({(found.start(1), found[1]) for pattern in (_SCORE, _SCORE_BEFORE) for found in pattern.finditer(text)})
    for start, written in scores:
        if not _ELSEWHERE.search(text[max(0, start - 60) : start]):
            yield from _fact(sentence, start, "val_bpb", written, "bpb", 1.0)
    for found in _LOSS.finditer(text):
        if not _ELSEWHERE.search(text[max(0, found.start() - 40) : found.start()]):
            yield from _fact(sentence, found.start(1), "val_loss", found[1], "nats/token", 1.0)
    if scores:
        for found in _STD.finditer(text):
            yield from _fact(sentence, found.start(1), "val_bpb_std", found[1], "bpb", 1.0)
    for found in _BYTES.finditer(text):
        around = text[max(0, found.start() - 40) : found.start()]
        if _SIZED.search(around) and not _UNSIZED.search(around):
            yield from _fact(sentence, found.start(1), "bytes_total", found[1], "bytes", _SCALES[found[2]])
    for found in _SECONDS.finditer(text):
        around = text[max(0, found.start() - 30) : found.start()].lower()
        name = "train_seconds" if "train" in around else "eval_seconds" if "eval" in around else ""
        if name and not _UNSIZED.search(around):
            yield from _fact(sentence, found.start(1), name, found[1], "s", 1.0)


def _fact(sentence: Sentence, start: int, name: str, written: str, unit: str, scale: float) -> Iterable[Fact]:
    number = Number.parse(written)
    if number is not None and number.value > 0:
        scaled = number.value * scale
        yield Fact(name, round(scaled) if unit == "bytes" else scaled, unit, sentence.at(start), None, written)
