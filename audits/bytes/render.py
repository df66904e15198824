"""The human report of a strict audit: plain text, every piece of audited text escaped."""

from __future__ import annotations

from audits.bytes.losses import Normalization
from audits.bytes.result import ClassTotals, StrictResult, Truth


def render(result: StrictResult) -> str:
    """The report as lines of text, ready for a terminal or a file."""
    lines = [result.statement(), ""]
    described = ", ".join(f"{name} {value}" for name, value in result.tokenizer.items() if value is not None)
    lines.append(f"tokenizer        {printable(described)}")
    if result.normalization is not None:
        lines += _normalization(result.normalization)
    lines.append(f"tokens           {result.tokens:,}")
    lines.append(f"documents        {result.docs:,}" if result.docs is not None else "documents        no boundary token known")
    lines.append(f"decoded bytes    {result.decoded_bytes:,}")
    if result.metadata_bytes is not None:
        lines.append(f"counted bytes    {result.metadata_bytes:,} ({printable(result.metadata_source or '')})")
    if result.sidecar_bytes is not None:
        lines.append(
            f"sidecar bytes    {result.sidecar_bytes:,} ({result.sidecar_mismatches:,} entries differ from the decoded bytes)"
        )
    for truth in result.truths:
        lines += _truth(truth)
    factor = result.factor
    if factor is not None and factor != 1.0:
        lines.append(f"overcount        {factor - 1.0:+.4%}; a logged BPB times {factor:.6f} is the BPB over the right bytes")
    lines += _classes(result.classes, result.drift)
    if result.worst_tokens:
        lines += ["", "tokens with the largest drift (counted and true bytes are sums over all uses)"]
        for token in result.worst_tokens[:10]:
            lines.append(
                f"  {token.id:>6}  {printable(token.piece)!r:<22} {token.count:>12,} uses"
                f"  counted {token.counted_bytes:>12,}  true {token.true_bytes:>12,}"
            )
    if result.table_drift is not None and result.table_drift.classes:
        lines += ["", "where the table differs from the vocabulary, whatever the text"]
        lines += [f"  {printable(one.describe())}" for one in result.table_drift.classes]
    lines += [f"problem: {printable(problem)}" for problem in result.problems]
    return "\n".join(lines) + "\n"


def _normalization(found: Normalization) -> list[str]:
    """What the tokenizer changes in text; changes that the contest's own tokenizers make, too, are only counted."""
    known = len(found.changes) - len(found.beyond_baseline)
    kind = "gives back every example" if found.invertible else "not invertible"
    shared = f"; {known} of the changes are the contest's own tokenizers'" if known else ""
    lines = [f"normalization    {printable(found.name)}: {kind}{shared}"]
    if found.no_capitals:
        lines.append(
            "                 no piece holds a capital: the text was lower-cased, 'The NASA Launch' -> 'the nasa launch'"
        )
    shown = found.beyond_baseline or found.changes[:3]
    return lines + [f"                 {printable(str(change))}" for change in shown]


def _truth(truth: Truth) -> list[str]:
    verdict = "met to the byte" if truth.exact else f"{truth.bad_documents:,} of {truth.documents:,} documents differ"
    lines = [f"{truth.name:<16} {truth.bytes:,} bytes: {verdict}"]
    if truth.problem:
        lines.append(f"                 {truth.problem}")
    for one in truth.differences:
        reason = f" ({one.reason})" if one.reason else ""
        lines.append(f"  document {one.document}, byte {one.offset}{reason}")
        lines.append(f"    source  {one.source_hex}  {printable(one.source_text)}")
        lines.append(f"    decoded {one.decoded_hex}  {printable(one.decoded_text)}")
    return lines


def _classes(classes: dict[str, ClassTotals], drift: int) -> list[str]:
    lines = ["", f"{'class':<14}{'tokens':>14}{'true bytes':>14}{'counted':>14}{'of drift':>10}"]
    for name, totals in classes.items():
        counted = "-" if totals.counted_bytes is None else f"{totals.counted_bytes:,}"
        share = f"{totals.drift / drift:.1%}" if drift else "-"
        lines.append(f"{name:<14}{totals.tokens:>14,}{totals.true_bytes:>14,}{counted:>14}{share:>10}")
    return lines


def printable(text: str) -> str:
    """Text that cannot steer a terminal: everything but printable characters is written as an escape."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
