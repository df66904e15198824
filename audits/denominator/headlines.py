"""The bytes behind each claimed run's headline metric, and how findings speak about them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from verifier.engine.context import Context
from verifier.evidence import Location
from verifier.ledger.claims import headline_runs
from verifier.ledger.denominator import Denominator, measure_run
from verifier.submission.logs.model import Metric, Run


def headline_bytes(context: Context) -> tuple[Denominator, ...]:
    """One entry per claimed run that prints a pair of loss and BPB: the headline's, else the run's last."""
    measured = (
        _measure(context, headline.run, headline.metric)
        for headline in headline_runs(context.submission)
        if headline.metric is not None
    )
    return tuple(line for line in measured if line is not None)


def _measure(context: Context, run: Run, headline: Metric) -> Denominator | None:
    """A headline without a loss says nothing about bytes, but the run's other lines use the same byte table."""
    if headline.loss is not None:
        return measure_run(context.submission, run, headline, context.challenge)
    pairs = [metric for metric in run.metrics if metric.loss is not None and metric.bpb is not None]
    same = [metric for metric in pairs if headline.bpb is not None and metric.bpb is not None and metric.bpb.agrees(headline.bpb)]
    if same:
        return measure_run(context.submission, run, same[-1], context.challenge)
    final = [metric for metric in pairs if metric.step is None] or pairs
    line = measure_run(context.submission, run, final[-1], context.challenge) if final else None
    return None if line is None else replace(line, stands_in=True)


def alike(lines: Iterable[Denominator]) -> list[tuple[Denominator, ...]]:
    """The lines of all seeds that are the same case: one statement each, with every seed's evidence."""
    groups: dict[tuple[object, ...], list[Denominator]] = {}
    for line in lines:
        key = (line.stream, line.cause, line.family, line.tokens.count if line.tokens else None, round(line.ratio, 2))
        groups.setdefault(key, []).append(line)
    return [tuple(group) for group in groups.values()]


def describe_pair(line: Denominator) -> str:
    """One clause: the pair as printed, the ratio and, where the token count is known, the total."""
    metric = line.metric
    assert metric.loss is not None
    assert metric.bpb is not None
    text = f"{metric.label or 'the final line'} {metric.loss.text} / {metric.bpb.text} = {line.ratio:.5f} bytes per token"
    if line.tokens is not None and line.total is not None:
        text += f", x {line.tokens.count:,} tokens = {line.total / 1e6:.2f} MB"
    return text


def evidence(lines: Iterable[Denominator]) -> tuple[Location, ...]:
    """The metric lines, then the token counts."""
    every = tuple(lines)
    return tuple(line.metric.source for line in every) + tuple(line.tokens.source for line in every if line.tokens is not None)
