"""BYT001: the script's own byte table, token class by token class, against what the tokenizer's pieces decode to."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from audits.bytes.sample_pieces import ACCENT, BYTE, CONTROL, INNER, PIECES, WORD
from audits.bytes.table_reading import Unreadable, builders, read_tables
from audits.bytes.table_values import Table
from audits.denominator.headlines import describe_pair, evidence, headline_bytes
from verifier.engine.context import Context
from verifier.evidence import Location, excerpt
from verifier.ledger.denominator import FAR, Denominator, Stream
from verifier.ledger.statistics import LN2
from verifier.program.analysis import Analysis, ProgramText, analysis_of
from verifier.program.queries import scores_of, slice_of
from verifier.program.values import Site
from verifier.rule import Confidence, Decision, Finding, Level, Measured, Outcome, Rule

_PULL = "https://github.com/openai/parameter-golf/pull/"
REPORTS, SLICE, NEAR = 6, 2_000, 40
"""Reports that are followed back, and nodes looked at behind each of them and behind each side of a sum."""
_CONSTANTS = (1.2, 6.5)
"""Bytes per token that a script could put in place of a count."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """What a table gets wrong. `direction` is +1 when it counts too many bytes (a score that is too good), -1 for too few.
    `wide`: it concerns ordinary words, so the total must change; otherwise rare tokens."""

    words: str
    direction: int
    wide: bool
    source: Location
    holder: str
    added: Location | None = None
    """Where a printed score adds the leading space to the table again, when the program shows it."""


def check(context: Context) -> Decision:
    analysis = analysis_of(context)
    if not analysis.trees:
        return Decision.not_available(analysis.why_not or "the script can't be read")
    unread: list[str] = []
    deviations: list[Deviation] = []
    tables = 0
    for text in analysis.trees:
        deviations += _constants(analysis, text)
        for holders in builders(text.parsed):
            holder, base, failure = _first_table(text, holders)
            if not base:
                unread += [f"{getattr(holders[0], 'name', 'the module')}: {failure}"] if failure else []
                continue
            tables += 1
            name = getattr(holder, "name", "the module")
            found = [one for table, spaces in base for one in _deviations(analysis, text, name, holder, table, spaces)]
            deviations += found if found and _is_live(analysis, text, holder) else []
    if deviations:
        return Decision.of([_judge(context, deviation) for deviation in deviations])
    if unread:
        return Decision.not_available(f"the byte table could not be followed ({unread[0]}); a strict byte audit would settle it")
    if not tables:
        return Decision.not_available(
            "no byte table is built from pieces in the script: it is read from a file, which BYT002 and BYT004 look at"
        )
    if not analysis.available or analysis.doubts:
        return Decision.not_available(analysis.why_not or f"the program is not read as a whole: {analysis.doubts[0].message}")
    return Decision.passed("the table gives word starts, inner pieces, byte tokens and control tokens their UTF-8 bytes")


def _is_live(analysis: Analysis, text: ProgramText, holder: ast.AST) -> bool:
    """Whether the builder runs under the configuration of the run. Where that is not known it counts as live."""
    if not analysis.available or isinstance(holder, ast.Module) or analysis.run.incomplete:
        return True
    return any(
        Site(text.path, text.layer, inner.lineno) in analysis.run.reached
        for inner in text.parsed.inside(holder)
        if isinstance(inner, ast.stmt) and inner is not holder
    )


def _first_table(text: ProgramText, holders: Sequence[ast.AST]) -> tuple[ast.AST, list[tuple[Table, Table | None]], str]:
    """The first of a builder and its callers that leaves a byte table, with it; else why there is none."""
    failure = ""
    for holder in holders:
        try:
            base = _byte_tables(text, holder)
        except Unreadable as problem:
            failure = failure or str(problem)
            continue
        if base:
            return holder, base, ""
    return holders[0], [], failure


def _byte_tables(text: ProgramText, holder: ast.AST) -> list[tuple[Table, Table | None]]:
    """Each table of byte counts with the table of word starts that is added to it, if the builder makes one."""
    tables = [table for _, table in read_tables(holder, text.parsed)]
    numbers = [table for table in tables if all(_is_number(value) for value in table.row()) and _counts(table)]
    spaces = next((table for table in tables if _marks(table, WORD, INNER)), None)
    return [(table, spaces) for table in numbers]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _counts(table: Table) -> bool:
    """Bytes or characters of a piece, not ids or flags: longer pieces have more."""
    row = table.row()
    return row[INNER] in (3, 4) or (row[INNER] == row[WORD] == row[ACCENT] and isinstance(row[INNER], float))


def _marks(table: Table, yes: int, no: int) -> bool:
    """A table of flags (booleans, or 0 and 1) that is set for one piece and not for the other."""
    row = table.row()
    return all(value in (0, 1) for value in row) and bool(row[yes]) and not row[no]


def _deviations(
    analysis: Analysis, text: ProgramText, name: str, holder: ast.AST, table: Table, spaces: Table | None
) -> Iterator[Deviation]:
    row = [float(value) for value in table.row() if isinstance(value, int | float)]
    added = [int(bool(value)) for value in spaces.row()] if spaces is not None else [0] * len(PIECES)
    total = [base + extra for base, extra in zip(row, added, strict=True)]
    at = _place(text, table.written or holder)

    def deviation(words: str, direction: int, wide: bool) -> Deviation:
        return Deviation(words, direction, wide, at, name)

    over = total[WORD] - PIECES[WORD].bytes
    if row[INNER] == row[WORD] == row[ACCENT]:
        yield deviation(f"gives every token the same {row[INNER]:g} bytes", 0, True)
        return
    if over == 1 and added[WORD]:
        twice = deviation("counts a word start's space in the table and once more as a leading space", 1, True)
        yield replace(twice, added=_added_again(analysis, text, table, spaces))
    elif over >= 2:
        marker = "the marker U+2581 as its three bytes"
        again = " and the space once more" if over == 3 else ""
        yield deviation(f"counts {marker}{again}", 1, True)
    elif over < 0:
        yield deviation("never counts the space before a word", -1, True)
    elif over:
        yield deviation(f"gives a word start of {PIECES[WORD].bytes} bytes {total[WORD]:g}", 1 if over > 0 else -1, True)
    if total[ACCENT] == 1:
        yield deviation("counts characters instead of UTF-8 bytes", -1, False)
    if total[BYTE] != 1:
        more = total[BYTE] > 1
        yield deviation(f"gives a byte token {total[BYTE]:g} bytes instead of 1", 1 if more else -1, False)
    nonzero = [sample.kind for sample, value in zip(PIECES, total, strict=True) if sample.bytes == 0 and value > 0]
    if nonzero and total[CONTROL] > 0:
        yield deviation(f"gives {', '.join(dict.fromkeys(nonzero))} tokens bytes", 1, False)


def _added_again(analysis: Analysis, text: ProgramText, table: Table, spaces: Table | None) -> Location | None:
    """The sum in which a printed score has the table on one side and the leading spaces on the other."""
    if spaces is None or table.made is None or spaces.made is None or not analysis.available:
        return None
    places = [Site(text.path, text.layer, getattr(made, "lineno", 0)) for made in (table.made, spaces.made)]
    trace = analysis.run
    for report in [event for event in trace.of("report") if event.certain and scores_of(event, trace)][-REPORTS:]:
        for node in (node for value in report.values for node in slice_of(value, SLICE)):
            if node.op != "+" or len(node.args) != 2 or node.site is None:
                continue
            sides = [{inner.site for inner in slice_of(side, NEAR)} for side in node.args]
            if places[0] in sides[0] and places[1] in sides[1] and places[0] not in sides[1]:
                return analysis.location(node.site)
    return None


def _constants(analysis: Analysis, text: ProgramText) -> Iterator[Deviation]:
    """`loss / ln 2 / 2.44`: a score per byte without any byte being counted."""
    stored = Counter(node.id for node in text.parsed.of(ast.Name) if isinstance(node.ctx, ast.Store))
    literals = {
        node.targets[0].id: value
        for node in text.parsed.module.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and stored[node.targets[0].id] == 1
        and (value := _number(node.value)) is not None
    }
    for node in text.parsed.of(ast.BinOp):
        if not isinstance(node.op, ast.Div | ast.Mult) or isinstance(text.parsed.parents.get(id(node)), ast.BinOp):
            continue
        over, under = _factors(node)
        logs = [factor for factor in (*over, *under) if _is_ln2(factor)]
        given = [(value, False) for factor in under if (value := _literal(factor, literals)) is not None]
        given += [(1 / value, True) for factor in over if (value := _literal(factor, literals)) is not None and value > 0]
        wanted = [value for value, _ in given if _CONSTANTS[0] <= value <= _CONSTANTS[1] and value != 2.0]
        others = [factor for factor in (*over, *under) if not _is_ln2(factor) and _literal(factor, literals) is None]
        if logs and len(wanted) == 1 and len(given) == 1 and 1 <= len(others) <= 2 and _is_reached(analysis, text, node):
            words = f"divides by a constant {wanted[0]:.6g} bytes per token instead of the bytes of the scored text"
            yield Deviation(words, 0, True, _place(text, node), "the script")


def _factors(node: ast.expr) -> tuple[list[ast.expr], list[ast.expr]]:
    """The factors above and below the line of a product."""
    over, under = list[ast.expr](), list[ast.expr]()
    pending: list[tuple[ast.expr, bool]] = [(node, True)]
    while pending:
        current, above = pending.pop()
        match current:
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                pending += [(right, above), (left, above)]
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                pending += [(right, not above), (left, above)]
            case _:
                (over if above else under).append(current)
    return over, under


def _number(node: ast.expr) -> float | None:
    """The value of a numeric literal."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return float(node.value)
    return None


def _is_ln2(node: ast.expr) -> bool:
    number = _number(node)
    if number is not None:
        return abs(number - LN2) < 1e-4 or abs(number - 1 / LN2) < 1e-4
    if isinstance(node, ast.Call) and node.args:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        return name == "log" and _number(node.args[0]) == 2
    return False


def _literal(node: ast.expr, literals: dict[str, float]) -> float | None:
    """A number that stands in the product as such, or under the name of a constant."""
    if _is_ln2(node):
        return None
    return literals.get(node.id) if isinstance(node, ast.Name) else _number(node)


def _is_reached(analysis: Analysis, text: ProgramText, node: ast.AST) -> bool:
    current: ast.AST | None = node
    while current is not None and not isinstance(current, ast.stmt):
        current = text.parsed.parents.get(id(current))
    if current is None or not analysis.available:
        return True
    return bool(analysis.run.incomplete) or Site(text.path, text.layer, current.lineno) in analysis.run.reached


def _judge(context: Context, deviation: Deviation) -> Finding:
    """The logs decide: a deviation that concerns every word must show in the bytes that they imply."""
    lines = headline_bytes(context)
    sound = [line for line in lines if line.stream in (Stream.FULL, Stream.SHORT) and not line.stands_in]
    off = [line for line in lines if _is_off(line, deviation)]
    message = f"{deviation.holder} {deviation.words}"
    if sound and not off:
        return Finding(
            Outcome.INFO,
            f"{message}; it does not change the total: {describe_pair(sound[0])}, the whole text",
            (deviation.source, *evidence(sound[:1])),
            Confidence.MEDIUM,
        )
    if off and deviation.wide and len(off) == len(lines):
        share = f"{off[0].deviation:+.1%}" if off[0].deviation is not None else "off"
        return Finding(
            Outcome.FAIL,
            f"{message}; the logs show the effect: {describe_pair(off[0])}, {share} from the text",
            (deviation.source, *evidence(off)),
            measured=Measured(round(off[0].ratio, 5), "bytes/token"),
            limit=Measured(round(off[0].true_ratio, 5), "bytes/token") if off[0].true_ratio is not None else None,
            remediation="Count UTF-8 bytes of the piece without its marker, one byte for a leading space, byte tokens 1, control tokens 0.",
        )
    if not deviation.wide:
        return Finding(
            Outcome.INFO, f"{message}: rare tokens, no effect on the total is shown", (deviation.source,), Confidence.MEDIUM
        )
    if deviation.added is not None and not lines:
        return Finding(
            Outcome.FAIL,
            f"{message}: the score adds the leading spaces to it, so every word that follows a space counts one byte too many",
            (deviation.source, deviation.added),
            Confidence.MEDIUM,
            remediation="Leave the space out of the table, or do not add it again.",
        )
    return Finding(
        Outcome.REVIEW,
        f"{message}; no log shows loss, BPB and token count of one evaluation that would tell whether the score uses it",
        (deviation.source, *evidence(lines[:1])),
        Confidence.MEDIUM,
        remediation="Print val_loss, val_bpb and the number of scored tokens of the final evaluation.",
    )


def _is_off(line: Denominator, deviation: Deviation) -> bool:
    """Whether a line's bytes are off in the direction of the deviation."""
    if line.stream not in (Stream.MISCOUNT, Stream.OFF) or line.contradicted or line.stands_in or line.deviation is None:
        return False
    if abs(line.deviation) <= FAR + line.tolerance:
        return False
    return deviation.direction == 0 or (line.deviation > 0) is (deviation.direction > 0)


def _place(text: ProgramText, node: ast.AST) -> Location:
    line: int = getattr(node, "lineno", 1)
    return Location(text.path, line, layer=text.layer, excerpt=excerpt(text.lines[line - 1] if line <= len(text.lines) else ""))


TABLE_WRONG = Rule(
    code="BYT001",
    name="byte-table-wrong",
    level=Level.ERROR,
    summary="the script's per-token byte table deviates from the tokenizer's truth and the deviation changes the total",
    why="BPB divides by bytes. A table that counts a leading space twice reports a score 15 % too low without any better model. The "
    "table's code is followed over one piece of each class; what it makes of them is compared with the bytes they decode to, and the "
    "bytes that the logs imply say whether the score was computed with it.",
    example="violation: base = len(piece[1:].encode()) + 1 for a word start, and the evaluation adds the leading space again\n"
    "legal: base = len(piece[1:].encode()), plus one byte where the evaluation adds the space, byte tokens 1, control tokens 0",
    settles="the table's total over the scored stream against the stream's UTF-8 bytes",
    sources=("https://github.com/openai/parameter-golf/issues/897", _PULL + "1698", _PULL + "1734", _PULL + "1804"),
    check=check,
)
