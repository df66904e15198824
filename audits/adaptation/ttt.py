"""TTT001, TTT002, TTT005: weights that learn from validation tokens, and what was scored before and after (condition C3)."""

from __future__ import annotations

from collections.abc import Iterator

from audits.adaptation.findings import chain, findings_of
from audits.adaptation.headline import cleared, unanswered
from audits.adaptation.order import EARLIER, SAME, Adaptation, Use, adaptations_of, relation_of
from audits.adaptation.rescoring import is_second_pass
from audits.adaptation.tables import table_uses
from verifier.engine.context import Context
from verifier.ledger.claims import headline_runs
from verifier.program.analysis import analysis_of
from verifier.program.changes import changed_by, changes_adapters_only
from verifier.program.events import Event
from verifier.program.queries import UNTRAINED, has_source, trains
from verifier.rule import Confidence, Decision, Finding, Level, Outcome, Rule

_PULL = "https://github.com/openai/parameter-golf/pull/"
_ISSUE = "https://github.com/openai/parameter-golf/issues/"
_WEIGHTS_FIRST = "weights learn from validation tokens before these are scored"
_TABLE_FIRST = "a table is filled with validation tokens before these are scored with it"
_SCORE_FIRST = "Score each chunk before the update that learns from it, once, and report that score."


def check_order(context: Context) -> Decision:
    missing = unanswered(context)
    if missing is not None:
        return missing
    for adaptation in adaptations_of(context):
        shipped = {use.update.index for use in _shipped(adaptation)}
        uses = [
            use
            for use in (*adaptation.forbidden, *adaptation.descents)
            if not use.offset and use.update.index not in shipped and not is_second_pass(adaptation, use)
        ]
        tables = [use for use in table_uses(adaptation, context) if use.relation == SAME]
        findings = (
            *findings_of(uses, adaptation, context, _WEIGHTS_FIRST, _SCORE_FIRST),
            *findings_of(tables, adaptation, context, _TABLE_FIRST, _SCORE_FIRST),
        )
        if findings:
            return Decision.of(findings)
        if shipped:
            return Decision.not_applicable(
                "the adaptation on validation tokens happens before the model is serialized: see TTT002"
            )
    elsewhere = tuple(_learned_unseen(context))
    if elsewhere:
        return Decision.of(elsewhere)
    return cleared(context, "no loss behind the headline is formed with weights or tables that learned from its tokens")


def _learned_unseen(context: Context) -> Iterator[Finding]:
    """Functions that learned between the end of training and the claimed score, as the log shows, and that the script never calls."""
    analysis = analysis_of(context)
    for unread in analysis.unentered:
        if unread.mentioned:
            continue
        line = unread.line
        for chosen in headline_runs(context.submission):
            stop, metric = chosen.run.stop, chosen.metric
            if stop is None or metric is None or chosen.run.path != line.path:
                continue
            if (stop.source.line or 0) < line.number < (metric.source.line or 0):
                yield Finding(
                    Outcome.REVIEW,
                    f"between the end of training and the claimed score the log has a line of {unread.name}, which learns, and nothing in "
                    "the script as shipped calls it: what it learned from before the score was formed can't be followed",
                    (line.location, analysis.location(unread.site), metric.source),
                    Confidence.MEDIUM,
                    remediation="Ship the script that made the log.",
                )
                break


def check_prequant(context: Context) -> Decision:
    missing = unanswered(context)
    if missing is not None:
        return missing
    for adaptation in adaptations_of(context):
        uses = _shipped(adaptation)
        if uses:
            statement = "the weights that are serialized learned from validation tokens"
            remedy = "Train the shipped weights on training shards only."
            return Decision.of(findings_of(uses, adaptation, context, statement, remedy))
    if not any(trains(adaptation.trace) for adaptation in adaptations_of(context)):
        return Decision.not_available(UNTRAINED)
    return cleared(context, "no serialized weights behind the headline learned from validation tokens")


def _shipped(adaptation: Adaptation) -> list[Use]:
    """Forbidden uses whose weights were written between the update and the score."""
    saves = [save for save in adaptation.trace.of("save") if any(label[0] == "model" for label in save.labels)]
    trace = adaptation.trace
    trained = changed_by(
        [step for step in trace.of("update") if not has_source(step.tokens, "val") and has_source(step.tokens, "train")]
    )
    return [
        use
        for use in adaptation.forbidden
        if any(("upd", use.update.index) in save.labels and use.update.index < save.index < use.score.index for save in saves)
        # Adapters beside the weights that training made may be dropped before these are written.
        and not changes_adapters_only(use.update, trained)
    ]


def check_score_first(context: Context) -> Decision:
    missing = unanswered(context)
    if missing is not None:
        return missing
    adaptation = adaptations_of(context)[0]
    if adaptation.forbidden:
        return Decision.not_applicable("the adaptation that is live is not score-first")
    analysis = analysis_of(context)
    found: dict[object, Finding] = {}
    for use in adaptation.uses:
        if use.update.site in found:
            continue
        first = _scored_before(adaptation, use.update)
        if first is not None:
            found[use.update.site] = Finding(
                Outcome.INFO,
                "score-first adaptation: each chunk is scored, then learned from, and only later chunks are scored with the result",
                chain(analysis, adaptation.trace, first, use.update, use.report),
            )
        else:
            found[use.update.site] = Finding(
                Outcome.INFO,
                "adaptation on earlier text: what is learned from lies before the chunk that is scored with the result",
                chain(analysis, adaptation.trace, use.update, use.score, use.report),
            )
    if found:
        return Decision.of(found.values())
    return cleared(context, "no adaptation on validation tokens is live on the way to the headline")


def _scored_before(adaptation: Adaptation, update: Event) -> Event | None:
    """The loss of the update's own tokens that counts for the headline and was formed before."""
    scores = {use.score.index: use.score for use in adaptation.uses}
    for report in adaptation.headline.reports:
        for label in report.labels:
            if label[0] == "score":
                event = adaptation.trace.events[int(label[1])]
                scores.setdefault(event.index, event)
    earlier = [score for index, score in sorted(scores.items()) if index < update.index and ("src", "val") in score.tokens]
    return next((score for score in reversed(earlier) if relation_of(score, update) != EARLIER), None)


ADAPT_BEFORE_SCORE = Rule(
    code="TTT001",
    name="adapt-before-score",
    level=Level.ERROR,
    summary="learned state is updated from validation tokens and the same tokens are scored with the updated state",
    why="A model that has been trained on a token before it predicts that token is graded on its memory, not on its prediction. "
    "The score is then no code length: a decoder would need the text to build the model that decodes the text.",
    example="violation:\n"
    "    for epoch in range(3):\n"
    "        for x, y in val_batches: step(model, x, y)      # adapt on the whole set\n"
    "    bpb = evaluate(model, val_batches)                  # then score it\n"
    "violation:\n"
    "    for epoch in range(5):\n"
    "        for chunk in document:                          # what counts is the last epoch's loss\n"
    "            loss = model(chunk); step(loss)\n"
    "            if epoch == 4: total += loss\n"
    "legal:\n"
    "    for x, y in val_chunks:\n"
    "        with torch.no_grad(): total += loss(model, x, y)  # score first\n"
    "        step(model, x, y)                                 # then learn for the next chunk",
    settles="the lines where the reported loss is accumulated and the lines of the update, and which runs first for the same tokens",
    sources=(_ISSUE + "402", _ISSUE + "677", _PULL + "152", _PULL + "462", _PULL + "568", _PULL + "771"),
    check=check_order,
)
PREQUANT_TTT = Rule(
    code="TTT002",
    name="prequant-ttt",
    level=Level.ERROR,
    summary="the model is fine-tuned on validation tokens before it is quantized or serialized",
    why="The artifact then contains weights that were fitted to the validation set: the score measures memorised test data, and "
    "every later evaluation of that artifact inherits it.",
    example="violation:\n"
    "    for epoch in range(21): train_epoch(model, val_tokens)\n"
    "    blob = quantize(model)\n"
    "legal:\n"
    "    blob = quantize(model)                # weights come from training shards only\n"
    "    score_first_ttt(dequantize(blob), val_tokens)",
    settles="which shards feed the optimizer between the end of training and serialization",
    sources=(_ISSUE + "677", _PULL + "1376", _PULL + "1735", _PULL + "1972"),
    check=check_prequant,
)
SCORE_FIRST_TTT = Rule(
    code="TTT005",
    name="score-first-ttt",
    level=Level.NOTE,
    at_most=Outcome.INFO,
    summary="legal score-first adaptation is live: each chunk is scored before the update that uses it",
    why="Score-first adaptation is accepted. Printing that it is live, and where, spares the reviewer the search.",
    example="score the chunk under torch.no_grad(), then train on it, single pass, the last chunk not trained for its own score",
    settles="nothing to settle: this is a fact, not a judgement",
    sources=(_PULL + "461", _PULL + "549", _PULL + "1413"),
    check=check_score_first,
)

RULES = (ADAPT_BEFORE_SCORE, PREQUANT_TTT, SCORE_FIRST_TTT)
