"""The evidence as text, as data and as a page with the curves."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from audits.reproduction.compare import Conditions, Judgement, Line, Pair, train_points, val_points
from audits.reproduction.mapping import Mapped
from audits.reproduction.phases import charged
from verifier.ledger.timeline import Budget
from verifier.report.html_style import STYLE
from verifier.report.model import Curve
from verifier.report.svg_curves import draw_curves
from verifier.report.text import encodable, printable
from verifier.submission.logs.model import Run

_TAGS = {Judgement.AGREES: "pass", Judgement.DIFFERS: "review", Judgement.NOT_COMPARABLE: ""}
_GENUINE = "Logs are the submitter's text: agreement supports them, it does not prove that they are genuine."
_CLOCK = "The script's output is timed from outside of it, but inside its sandbox: a script written to fool the clock could."
_REFERENCE = "The reference is another implementation of the same system: a difference may be its own."


@dataclass(frozen=True, slots=True)
class Reproduction:
    """Everything that one call found out. `kept` are the seeds whose runs an earlier call made."""

    name: str
    runner: str
    conditions: Conditions
    mapped: Mapped | None
    pairs: tuple[Pair, ...]
    lines: tuple[Line, ...]
    kept: tuple[int | None, ...]
    budgets: tuple[tuple[Budget, float], ...] = ()
    """Seconds that the contest allows."""

    @property
    def completed(self) -> bool:
        return bool(self.pairs) and all(pair.rerun.completed for pair in self.pairs)

    @property
    def limits(self) -> tuple[str, ...]:
        """What none of this can show."""
        return (_GENUINE, _CLOCK if self.conditions.own_script else _REFERENCE)

    def spent(self, pair: Pair) -> list[tuple[Budget, float, float]]:
        """(budget, seconds measured, seconds allowed) of one run, as far as its lines mark them."""
        return [
            (budget, seconds, limit) for budget, limit in self.budgets if (seconds := charged(pair.phases, budget)) is not None
        ]


def to_json(found: Reproduction) -> dict[str, object]:
    conditions, mapped = found.conditions, found.mapped
    return {
        "runner": found.runner,
        "toy": conditions.toy,
        "machine": {"logged": conditions.logged_machine, "measured": conditions.machine, "same": conditions.same_machine},
        "mapping": None
        if mapped is None
        else {
            "preset": mapped.preset, "reasons": list(mapped.reasons), "disagreements": list(mapped.disagreements),
            "overrides": dict(mapped.overrides), "missing": list(mapped.missing), "ignored": list(mapped.ignored), "notes": list(mapped.notes),
        },
        "runs": [
            {
                "seed": pair.seed, "completed": pair.rerun.completed, "failure": pair.rerun.failure, "stage": pair.rerun.stage,
                "seconds": round(pair.rerun.seconds, 2), "files": pair.rerun.left,
                "budgets": {budget.value: {"measured": round(seconds, 3), "limit": limit} for budget, seconds, limit in found.spent(pair)},
                "phases": [
                    {"name": one.name, "start": round(one.start, 3), "seconds": round(one.seconds, 3), "budget": one.budget.value, "until": one.until}
                    for one in pair.phases
                ],
            }
            for pair in found.pairs
        ],
        "lines": [
            {
                "subject": line.subject, "seed": line.seed, "logged": line.logged, "measured": line.measured, "difference": line.difference,
                "unit": line.unit, "judgement": line.judgement.value, "reason": line.reason,
            }
            for line in found.lines
        ],
        "limits": list(found.limits),
    }  # fmt: skip


def to_text(found: Reproduction, evidence: str) -> str:
    """For the terminal. Words of the submission lose their control characters."""
    conditions = found.conditions
    lines = ["", f"reproduction ({found.runner}, {'toy size' if conditions.toy else 'full size'}, {conditions.machine})"]
    if found.mapped is not None:
        lines += _mapping(found.mapped, conditions.toy)
    lines += _runs(found)
    for line in found.lines:
        if line.judgement is not Judgement.NOT_COMPARABLE:
            values = f"logged {_value(line.logged)}, measured {_value(line.measured)}"
            values += f", difference {line.difference:+.6g}" if line.difference is not None else ""
            lines.append(f"  {line.judgement.value:<14} {line.subject}{_of(line)}: {values} {line.unit}".rstrip())
            lines.append(f"  {'':<14} {line.reason}")
    reasons: dict[str, list[str]] = {}
    for line in found.lines:
        if line.judgement is Judgement.NOT_COMPARABLE:
            values = f" (logged {_value(line.logged)}, measured {_value(line.measured)}{' ' * bool(line.unit)}{line.unit})"
            told = line.logged is not None or line.measured is not None
            reasons.setdefault(line.reason, []).append(f"{line.subject}{_of(line)}{values if told else ''}")
    for reason, subjects in reasons.items():
        lines.append(f"  {Judgement.NOT_COMPARABLE.value:<14} {reason}")
        lines += [f"  {'':<14}   {subject}" for subject in subjects]
    lines += [f"  {text}" for text in found.limits]
    lines.append(f"  evidence: {evidence}")
    return "".join(_clean(line) + "\n" for line in lines)


def _runs(found: Reproduction) -> list[str]:
    """How each run ended, and what of its time counts."""
    lines: list[str] = []
    for pair in found.pairs:
        state = "complete" if pair.rerun.completed else f"not completed: {pair.rerun.failure} [stage reached: {pair.rerun.stage}]"
        again = ", kept from an earlier call" if pair.seed in found.kept else ""
        lines.append(f"  seed {_seed(pair.seed)}: {state}, {pair.rerun.seconds:.1f} s{again}")
        spans = ", ".join(
            f"{one.name} {one.seconds:.1f} s{f' ({one.budget.value} budget)' if one.budget.value != 'none' else ''}"
            for one in pair.phases
        )
        if spans:
            lines.append(f"    measured from outside: {spans}")
            sums = ", ".join(f"{budget.value} {seconds:.1f} s of {limit:g}" for budget, seconds, limit in found.spent(pair))
            small = " (at toy size no measure of either)" if found.conditions.toy else ""
            lines.append(f"    against the budgets: {sums}{small}")
    return lines


def _head(*titles: str) -> str:
    """Header cells; `#` marks a column of numbers."""
    return "".join(f'<th class="num">{title[1:]}</th>' if title.startswith("#") else f"<th>{title}</th>" for title in titles)


def _mapping(mapped: Mapped, toy: bool) -> list[str]:
    lines = [f"  preset {mapped.preset}: agrees in {len(mapped.reasons)} traits of the record"]
    lines += [f"    {reason}" for reason in mapped.reasons]
    for title, texts in (
        ("differs", mapped.disagreements),
        (
            "set otherwise" + (" (not at toy size)" if toy else ""),
            [f"{name}={value}" for name, value in mapped.overrides.items()],
        ),
        ("not in the reference", (*mapped.missing, *mapped.notes)),
        ("settings without a counterpart", mapped.ignored),
    ):
        if texts:
            lines.append(f"    {title}: {'; '.join(texts)}")
    return lines


def to_page(found: Reproduction) -> str:
    """A self-contained page: the table of lines, the curves of logs and re-runs over each other."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode("utf-8")).digest()).decode("ascii")
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    rows = "".join(
        f'<tr><td>{_text(line.subject)}</td><td class="num">{_text(_seed(line.seed) if line.seed is not None else "")}</td>'
        f'<td class="num">{_text(_value(line.logged))}</td><td class="num">{_text(_value(line.measured))}</td>'
        f'<td class="num">{"" if line.difference is None else f"{line.difference:+.6g}"}</td><td>{_text(line.unit)}</td>'
        f'<td><span class="tag {_TAGS[line.judgement]}">{line.judgement.value}</span></td><td>{_text(line.reason)}</td></tr>'
        for line in found.lines
    )
    phases = "".join(
        f'<tr><td class="num">{_text(_seed(pair.seed))}</td><td>{_text(one.name)}</td><td class="num">{one.start:.1f}</td>'
        f'<td class="num">{one.seconds:.1f}</td><td>{one.budget.value}</td></tr>'
        for pair in found.pairs
        for one in pair.phases
    )
    plots = "".join(f"<figure>{svg}</figure>" for svg in draw(found.pairs, overlay=not found.conditions.why_no_score))
    title = f"Reproduction of {found.name}"
    head = _head("what", "#seed", "#logged", "#measured", "#difference", "unit", "judgement", "by what")
    states = "".join(f"<p>{_text(line.strip())}</p>" for line in _runs(found))
    mapping = (
        "".join(f"<p>{_text(line.strip())}</p>" for line in _mapping(found.mapped, found.conditions.toy)) if found.mapped else ""
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{_text(title)}</h1>\n"
        f"<p>{_text(found.runner)}, {'toy size' if found.conditions.toy else 'full size'}, {_text(found.conditions.machine)}</p>\n{states}"
        f"{f'<h2>The system in the reference trainer</h2>{mapping}' if mapping else ''}"
        f'<h2>Logs and re-runs</h2><div class="scroll"><table><tr>{head}</tr>{rows}</table></div>\n'
        f'<h2>Phases by a clock outside</h2><div class="scroll"><table><tr>'
        f"{_head('#seed', 'phase', '#start, s', '#seconds', 'budget')}</tr>{phases}</table></div>\n"
        f'<h2>Curves</h2><div class="plots">{plots}</div>\n{"".join(f"<p>{_text(text)}</p>" for text in found.limits)}\n'
        "</main>\n</body>\n</html>\n"
    )


def draw(pairs: Sequence[Pair], *, overlay: bool) -> list[str]:
    """Loss curves of logs and re-runs, in one plot where they can be compared, else in two."""
    plots: list[str] = []
    for key, title, points in (("train", "Training loss", train_points), ("val", "Validation loss in training", val_points)):
        logged = [_curve(pair.seed, "logged", points, pair.logged) for pair in pairs if pair.logged is not None]
        again = [_curve(pair.seed, "re-run", points, pair.run) for pair in pairs if pair.run is not None]
        groups = [("", [*logged, *again])] if overlay else [("logged", logged), ("re-run", again)]
        for word, curves in groups:
            named = f"{title}, {word}" if word else title
            svg = draw_curves(f"{key}{word}", named, "nats per token", curves)
            if svg is not None:
                plots.append(f"<figcaption>{_text(named)}, nats per token</figcaption>{svg}")
    return plots


def _curve(seed: int | None, kind: str, points: object, run: Run | None) -> Curve:
    assert callable(points)
    return Curve("train_loss", None, f"seed {_seed(seed)}, {kind}", tuple(sorted(points(run).items())))


def _of(line: Line) -> str:
    return f" (seed {line.seed})" if line.seed is not None else ""


def _seed(seed: int | None) -> str:
    return "of the script" if seed is None else str(seed)


def _value(value: float | str | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"


def _text(text: str) -> str:
    return escape(printable(text, 600), quote=True)


def _clean(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in encodable(text))
