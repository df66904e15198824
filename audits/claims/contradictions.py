"""CLM002: a feature that the folder denies and its logs show, or a compliance that the logs refute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from audits.adaptation.offsets import is_offset
from audits.adaptation.order import loss_behind
from audits.claims.live import live_features, unadapted
from audits.claims.promises import KEPT, logged_epochs, order_in_code, promised_orders
from audits.claims.stated import EPOCH, FEATURES, WORDS, Trace, denials, openly_claimed, traces
from audits.claims.switches import logged_switch, switches
from verifier.engine.context import Context
from verifier.ledger.claims import HeadlineRun, headline_runs
from verifier.program.analysis import analysis_of
from verifier.program.queries import headline_reports, is_matched
from verifier.rule import Confidence, Decision, Finding, Level, Outcome, Rule
from verifier.submission.readme import Statement

_PULL = "https://github.com/openai/parameter-golf/pull/"


def check(context: Context) -> Decision:
    submission = context.submission
    denied = {topic: found for topic in (*FEATURES, "eval-adaptation") if (found := denials(submission, topic))}
    runs = [headline for headline in headline_runs(submission) if headline.metric is not None]
    promises = promised_orders(submission)
    if not denied and not promises:
        return Decision.not_applicable("README and JSON deny none of the features that the rules care about")
    if not runs:
        return Decision.not_available("no log of a claimed run ends with a score, so the denials can't be compared with a run")
    findings = [finding for topic, claims in denied.items() for finding in _contradictions(context, topic, claims, runs)]
    findings += logged_epochs(submission, promises.get("TTT001", ()), runs)
    findings += _executed(context, denied) if not findings else ()
    if findings:
        return Decision.of(findings)
    shown_off = [topic for topic in denied if _shown_off(context, topic, runs) or _never_executed(context, topic)]
    open_topics = [WORDS[topic] for topic in denied if topic not in shown_off]
    orders = [order_in_code(context, code, claims) for code, claims in promises.items()]
    refuted = [order for order in orders if isinstance(order, Finding)]
    if refuted:
        return Decision.of(refuted)
    if open_topics or any(order is not Outcome.PASS for order in orders):
        rest = ", ".join(open_topics) or "the promised order of scoring and update"
        return Decision.not_available(
            f"neither the logs nor the code show a trace of what is denied, but nothing proves it off either ({rest})"
        )
    off = ", ".join(WORDS[topic] for topic in shown_off)
    reasons = [f"the dumps or the code of the claimed runs show it off: {off}"] if off else []
    reasons += [KEPT[code] for code in promises]
    return Decision.passed("; ".join(reasons))


def _contradictions(context: Context, topic: str, claims: Sequence[Statement], runs: Sequence[HeadlineRun]) -> Iterator[Finding]:
    """One finding per topic: the strongest denial against the first run that shows the feature."""
    if topic == "eval-adaptation":
        yield from _adaptation(context, claims, runs)
        return
    claim = claims[0]
    qualified = openly_claimed(context.submission, topic)
    if qualified and claim.form == "prose":
        return
    for headline in runs:
        found = list(traces(headline.run, headline.metric, topic))
        if not found:
            continue
        proof = _proof(context, topic, headline, found)
        seen = proof or found[0]
        if proof is not None and not qualified and claim.form != "prose":
            message = f'denied ("{claim.sentence[:100]}"), yet the log of the claimed run shows {WORDS[topic]}: {seen.label}'
            outcome, confidence = Outcome.FAIL, Confidence.HIGH
        else:
            message = f'denied ("{claim.sentence[:100]}"), and the log prints {seen.label}'
            message += ": the quoted metric itself" if seen.scored else " beside the claimed metric"
            outcome, confidence = Outcome.REVIEW, Confidence.MEDIUM
        yield Finding(
            outcome,
            message,
            (claim.source, seen.source),
            confidence,
            remediation="correct the text, or show that the claimed score does not use it",
        )
        return


def _proof(context: Context, topic: str, headline: HeadlineRun, found: Sequence[Trace]) -> Trace | None:
    """The trace that proves the feature part of the claimed score. Labels name code paths (a "ttt" function with zero epochs
    scores plainly), so the quoted metric counts only when the dump says that the feature is on. Adaptation epochs before
    quantization are in the weights that are scored."""
    if topic == "prequant-ttt":
        return next((trace for trace in found if EPOCH.search(trace.label) or trace.label.endswith(":done")), None)
    scored = next((trace for trace in found if trace.scored), None)
    states = [logged_switch(context.submission, headline.run, switch) for switch in switches(context.submission, topic)]
    return scored if scored is not None and any(state is not None and state[0] for state in states) else None


def _adaptation(context: Context, claims: Sequence[Statement], runs: Sequence[HeadlineRun]) -> Iterator[Finding]:
    """ "No eval-time adaptation" against a log that adapts on validation tokens. The authors may mean another thing by the words
    (adaptation before quantization, or one part of the method), so a human decides; where TTT is claimed openly, only adaptation
    before quantization is worth a look."""
    topics = ("prequant-ttt",) if openly_claimed(context.submission, "slot") else ("prequant-ttt", "slot")
    if not openly_claimed(context.submission, "ttt"):
        topics = (*topics, "ttt")
    for headline in runs:
        for topic in topics:
            before = topic == "prequant-ttt"
            found = [trace for trace in traces(headline.run, headline.metric, topic) if trace.scored or before]
            if not found:
                continue
            meaning = ": the weights that are scored were trained on validation tokens" if before else ""
            yield Finding(
                Outcome.REVIEW,
                f"adaptation at eval time is denied, and the log shows {WORDS[topic]} ({found[0].label}){meaning}",
                (claims[0].source, found[0].source),
                Confidence.MEDIUM,
                remediation="say in the same place what is adapted on which tokens",
            )
            return


def _executed(context: Context, denied: Mapping[str, Sequence[Statement]]) -> Iterator[Finding]:
    """A denial against the code that formed the claimed score. Only a score that the log prints counts: the path then ran."""
    analysis = analysis_of(context)
    if not analysis.available or analysis.doubts or not is_matched(analysis.run, context.submission):
        return
    live = {
        found.topic: found
        for found in live_features(analysis.run, headline_reports(analysis.run, context.submission), logged=True)
    }
    for topic, claims in denied.items():
        feature = live.get(topic)
        # Where test-time training is claimed openly, "no eval-time adaptation" speaks of another kind.
        if feature is None or openly_claimed(context.submission, topic) or openly_claimed(context.submission, "ttt"):
            continue
        offset = is_offset(feature.adapts, loss_behind(feature.adapts, analysis.run))
        if offset and openly_claimed(context.submission, "slot"):
            continue
        plain = claims[0].form != "prose" and topic != "eval-adaptation"
        yield Finding(
            Outcome.FAIL if plain and not analysis.run.incomplete else Outcome.REVIEW,
            f'denied ("{claims[0].sentence[:100]}"), yet the score that the log prints was formed with {WORDS[topic]}: '
            "the code updates on validation tokens, and the updated state scores",
            (claims[0].source, *feature.places(analysis)),
            Confidence.MEDIUM,
            remediation="correct the text, or show that the claimed score does not use it",
        )
        return


def _never_executed(context: Context, topic: str) -> bool:
    """Whether the whole program is known and nothing that validation tokens changed is behind the claimed score."""
    analysis = analysis_of(context)
    if topic not in ("ttt", "slot", "eval-adaptation", "prequant-ttt") or not analysis.available or analysis.doubts:
        return False
    matched = is_matched(analysis.run, context.submission)
    return matched and unadapted(analysis.run, headline_reports(analysis.run, context.submission))


def _shown_off(context: Context, topic: str, runs: Sequence[HeadlineRun]) -> bool:
    """Whether every claimed run's dump says that each switch of the feature is off."""
    if topic == "eval-adaptation":
        return False
    named = switches(context.submission, topic)
    states = [logged_switch(context.submission, headline.run, switch) for switch in named for headline in runs]
    return bool(states) and all(state is not None and not state[0] for state in states)


CLAIM_CONTRADICTED = Rule(
    code="CLM002",
    name="claim-contradicted",
    level=Level.ERROR,
    summary="the folder denies a rule-relevant feature that its own logs show, or asserts a compliance that they refute",
    why=(
        "Reviewers read 'no TTT' and stop looking for it. A denial that the run contradicts hides exactly what decides whether the "
        "score is legal. Text alone never fails this rule: a log line of the claimed run, or the code that formed its score, has to show the feature."
    ),
    example=(
        "violation: README bullet 'No TTT'; the claimed 1.0912 is the log's `final_ttt_exact`\n"
        "legal: README bullet 'No TTT'; the dump says `ttt_enabled: False` and no line names it\n"
        "legal: 'No TTT' beside a SLOT that the title names: an offset is no weight (SLT001 judges it)"
    ),
    settles="the log of the claimed run with the feature's switch printed, or the code path that produced the quoted metric",
    sources=(_PULL + "1405", _PULL + "1738"),
    check=check,
)

RULES = (CLAIM_CONTRADICTED,)
