"""What a strict audit found, typed and frozen; `to_json` gives the published form (schema version 1)."""

from __future__ import annotations

from dataclasses import dataclass

from audits.bytes.drift import Drift
from audits.bytes.losses import Normalization

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class ClassTotals:
    """One class of tokens. Bytes are sums over all occurrences; `counted_bytes` is `None` without a byte count.

    A byte that an open delete mark takes away is charged to the mark, not to the text that lost it: `true_bytes` of a
    bare mark is negative, and the drift of a table that ignores marks shows where it arises. The sum over all classes
    is the decoded bytes.
    """

    tokens: int
    true_bytes: int
    counted_bytes: int | None

    @property
    def drift(self) -> int:
        """Counted minus true bytes; 0 without a count."""
        return 0 if self.counted_bytes is None else self.counted_bytes - self.true_bytes


@dataclass(frozen=True, slots=True)
class TokenDrift:
    """One id whose counted bytes differ from the bytes it decodes to. Sums over all occurrences."""

    id: int
    piece: str
    count: int
    counted_bytes: int
    true_bytes: int


@dataclass(frozen=True, slots=True)
class Difference:
    """A document that does not decode to its source: where the two part, and what stands there (hex and text)."""

    document: int
    offset: int
    source_bytes: int
    decoded_bytes: int
    source_hex: str
    decoded_hex: str
    source_text: str
    decoded_text: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Truth:
    """One source held against the decoded stream. `exact`: same documents, same bytes, nothing left over on either
    side.
    """

    name: str
    bytes: int
    documents: int
    bad_documents: int
    exact: bool
    differences: tuple[Difference, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class StrictResult:
    """The audit of one tokenizer over one token set. Counts are of the whole set; `None` means there was nothing to
    count.
    """

    tokenizer: dict[str, object]
    tokens: int
    docs: int | None
    decoded_bytes: int
    metadata_bytes: int | None
    metadata_source: str | None
    sidecar_bytes: int | None
    sidecar_mismatches: int | None
    truths: tuple[Truth, ...]
    judged: str | None
    classes: dict[str, ClassTotals]
    worst_tokens: tuple[TokenDrift, ...]
    problems: tuple[str, ...]
    undecodable_docs: int
    normalization: Normalization | None = None
    """What the tokenizer changes in text, on examples; `None` where that was not looked at."""
    table_drift: Drift | None = None
    """The byte table against the vocabulary, without the data; `None` where no table was given."""

    @property
    def truth(self) -> Truth | None:
        """The source that decides."""
        return next((truth for truth in self.truths if truth.name == self.judged), None)

    @property
    def counted_bytes(self) -> int | None:
        """The denominator in use: the sidecar where there is one, else the metadata."""
        return self.sidecar_bytes if self.sidecar_bytes is not None else self.metadata_bytes

    @property
    def exact(self) -> bool:
        """Source, counted and decoded bytes are equal, every document decodes to its source, and nothing was left
        unread.
        """
        truth = self.truth
        return (
            truth is not None
            and truth.exact
            and truth.bytes == self.decoded_bytes == self.counted_bytes
            and not self.problems
            and not self.undecodable_docs
            and self.sidecar_mismatches in (None, 0)
        )

    @property
    def reference_bytes(self) -> int:
        """The right denominator: bytes of the source where there is one, else the decoded bytes."""
        return self.truth.bytes if self.truth is not None else self.decoded_bytes

    @property
    def factor(self) -> float | None:
        """A logged BPB times this is the BPB over the right denominator."""
        if self.counted_bytes is None or self.reference_bytes == 0:
            return None
        return self.counted_bytes / self.reference_bytes

    @property
    def drift(self) -> int:
        """Counted bytes minus the right ones: what the shares are shares of (losses of the decoding included)."""
        return 0 if self.counted_bytes is None else self.counted_bytes - self.reference_bytes

    def statement(self) -> str:
        """What has been proven, in one sentence."""
        truth, counted = self.truth, self.counted_bytes
        if self.exact:
            return "exact: source, counted and decoded bytes are equal and every document decodes to its source"
        if truth is None:
            known = "no source to compare with: not shown to be exact"
            if counted is None:
                return f"{known}; the tokens decode to {self.decoded_bytes} bytes, and no byte count was given"
            if counted == self.decoded_bytes:
                return f"{known}; what can be said: the counted bytes equal the decoded bytes ({counted})"
            return f"not exact: {counted} bytes are counted, the tokens decode to {self.decoded_bytes}"
        if self.problems:
            return f"not shown to be exact: {self.problems[0]}"
        if counted is None:
            return "not shown to be exact: no byte count (metadata, sidecar or formula) to compare with"
        reasons = []
        if counted != truth.bytes:
            reasons.append(f"{counted} bytes are counted of {truth.bytes} in the source")
        if truth.bad_documents:
            reasons.append(f"{truth.bad_documents} of {truth.documents} documents do not decode to their source")
        if truth.problem:
            reasons.append(truth.problem)
        if self.sidecar_mismatches:
            reasons.append(f"the sidecar differs from the decoded bytes at {self.sidecar_mismatches} tokens")
        if not reasons:
            reasons.append(f"the tokens decode to {self.decoded_bytes} bytes of {truth.bytes} in the source")
        return "not exact: " + "; ".join(reasons)

    def to_json(self) -> dict[str, object]:
        """The JSON object of `verifier bytes --format json`."""
        truth, factor = self.truth, self.factor
        drift = self.drift
        return {
            "schema_version": SCHEMA_VERSION,
            "tokenizer": {
                **self.tokenizer,
                **({"normalization": self.normalization.to_json()} if self.normalization is not None else {}),
            },
            "tokens": self.tokens,
            "docs": self.docs,
            "source_bytes": truth.bytes if truth else None,
            "metadata_bytes": self.metadata_bytes,
            "metadata_source": self.metadata_source,
            "decoded_bytes": self.decoded_bytes,
            "sidecar_bytes": self.sidecar_bytes,
            "sidecar_mismatches": self.sidecar_mismatches,
            "bad_docs": truth.bad_documents if truth else self.undecodable_docs,
            "undecodable_docs": self.undecodable_docs,
            "overcount_fraction": factor - 1.0 if factor is not None else None,
            "exact": self.exact,
            "statement": self.statement(),
            "problems": list(self.problems),
            "judged_by": self.judged,
            "truths": {one.name: _truth_json(one, self.decoded_bytes) for one in self.truths},
            "classes": {
                name: {
                    "tokens": totals.tokens,
                    "true_bytes": totals.true_bytes,
                    "counted_bytes": totals.counted_bytes,
                    "drift_share": totals.drift / drift if drift else 0.0,
                }
                for name, totals in self.classes.items()
            },
            "worst_tokens": [
                {
                    "id": token.id,
                    "piece": token.piece,
                    "count": token.count,
                    "counted": _per_use(token.counted_bytes, token.count),
                    "true": _per_use(token.true_bytes, token.count),
                    "drift_bytes": token.counted_bytes - token.true_bytes,
                }
                for token in self.worst_tokens
            ],
            "table_drift": self.table_drift.to_json() if self.table_drift is not None else None,
            "lossy_share": (self.decoded_bytes - self.reference_bytes) / drift if drift else 0.0,
            "correction": {"factor": factor},
        }


def _per_use(total: int, count: int) -> float | int:
    """Bytes per occurrence; whole numbers stay whole."""
    return total // count if total % count == 0 else total / count


def _truth_json(truth: Truth, decoded: int) -> dict[str, object]:
    return {
        "bytes": truth.bytes,
        "docs": truth.documents,
        "bad_docs": truth.bad_documents,
        "exact": truth.exact,
        "decoded_drift_fraction": (decoded - truth.bytes) / truth.bytes if truth.bytes else None,
        "problem": truth.problem or None,
        "first_differences": [
            {
                "document": one.document,
                "offset": one.offset,
                "source_bytes": one.source_bytes,
                "decoded_bytes": one.decoded_bytes,
                "source_hex": one.source_hex,
                "decoded_hex": one.decoded_hex,
                "source_text": one.source_text,
                "decoded_text": one.decoded_text,
                "reason": one.reason or None,
            }
            for one in truth.differences
        ],
    }
