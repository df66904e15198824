"""TTT: learned state updated from validation tokens (conditions C3 and C4 of the challenge)."""

from __future__ import annotations

from audits.unexamined import needs_program_analysis
from verifier.rule import Level, Outcome, Rule

_PULL = "https://github.com/openai/parameter-golf/pull/"
_ISSUE = "https://github.com/openai/parameter-golf/issues/"

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
    "legal:\n"
    "    for x, y in val_chunks:\n"
    "        with torch.no_grad(): total += loss(model, x, y)  # score first\n"
    "        step(model, x, y)                                 # then learn for the next chunk",
    settles="the lines where the reported loss is accumulated and the lines of the update, and which runs first for the same tokens",
    sources=(_ISSUE + "402", _ISSUE + "677", _PULL + "152", _PULL + "462", _PULL + "568", _PULL + "771"),
    check=needs_program_analysis,
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
    check=needs_program_analysis,
)
MIN_OVER_PASSES = Rule(
    code="TTT003",
    name="min-over-passes",
    level=Level.ERROR,
    summary="the reported loss is the minimum or best over several passes, epochs or scorers of the same token",
    why="Choosing the best of several scores after seeing the outcome needs the outcome. No decoder can make that choice.",
    example="violation: best = min(best, epoch_loss) over epochs that all see the same tokens\n"
    "legal: one pass, one score a token, whatever it is",
    settles="how the reported number is reduced from the per-pass losses",
    sources=(_PULL + "573", _PULL + "611", _PULL + "659", _PULL + "685"),
    check=needs_program_analysis,
)
TWO_PASS_RESCORE = Rule(
    code="TTT004",
    name="two-pass-rescore",
    level=Level.ERROR,
    summary="tokens are scored a second time by state built from a first pass over them, and the second score is reported",
    why="After a first pass the cache or model has seen every token that the second pass scores, later ones included.",
    example="violation: build n-gram counts over all chunks, then rescore chunk 1 with the full table\n"
    "legal: chunk k is scored once, with counts of chunks before k",
    settles="whether any state that enters the reported score was built from the tokens being scored or from later ones",
    sources=(_PULL + "846", _PULL + "881", _PULL + "907", _PULL + "959"),
    check=needs_program_analysis,
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
    check=needs_program_analysis,
)

RULES = (ADAPT_BEFORE_SCORE, PREQUANT_TTT, MIN_OVER_PASSES, TWO_PASS_RESCORE, SCORE_FIRST_TTT)
