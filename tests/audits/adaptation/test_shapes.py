"""Score and learn in unusual shapes."""

from __future__ import annotations

import pytest

from fixtures.program.adaptation_offsets import CASES as OFFSETS
from fixtures.program.adaptation_scripts import FINE_TUNE, adapting, record
from fixtures.program.adaptation_shapes import CHANGES, SHAPES, loop
from fixtures.record import Record, log_of
from tests.program.judge import judge, result_of
from verifier.rule import Outcome


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_learned_from_before_it_is_scored(name: str) -> None:
    made, expected = SHAPES[name]
    answer = result_of(judge(made, "TTT001"), "TTT001")
    assert answer.outcome.value == expected, answer.reason


@pytest.mark.parametrize("name", CHANGES)
def test_steps_without_an_optimizer(name: str) -> None:
    report = judge(CHANGES[name], "TTT001", "SLT001")
    assert Outcome.FAIL in {result_of(report, code).outcome for code in ("TTT001", "SLT001")}


def ablation(made: Record, line: str) -> dict[str, bytes]:
    """The log of a run that is not claimed."""
    other = made.but(bpb={**made.bpb, 42: 0.91234567}, log_lines=(("Total submission size int8+zlib", line),))
    return {"ablation.log": log_of(other, 42).encode()}


ON, OFF = "adapted on the validation stream passes:3", "evaluating the weights as they were trained"


@pytest.mark.parametrize(("claimed", "other", "outcome"), [(OFF, ON, Outcome.PASS), (ON, OFF, Outcome.FAIL)])
def test_the_log_of_another_run_proves_nothing(claimed: str, other: str, outcome: Outcome) -> None:
    script = adapting(
        FINE_TUNE,
        "if args.adapt_passes:\n    fine_tune(model, val, args.adapt_passes, 1024)\n"
        '    log(f"adapted on the validation stream passes:{args.adapt_passes}")\n'
        f'else:\n    log("{OFF}")\nval_loss, val_bpb = evaluate(args, model, val, base, leading)\n',
        settings='adapt_passes = int(os.environ.get("ADAPT_PASSES", "0"))',
    )
    made = record(script, log_lines=(("Total submission size int8+zlib", claimed),))
    both = made.but(extra=ablation(made, other))
    assert result_of(judge(both, "TTT001"), "TTT001").outcome is outcome


LOGITS = "    for x, y in pieces(tokens, 2048):\n        with torch.no_grad():\n            logits = F.linear(model.hidden(x)[0], model.embed.weight)\n"
SCORED = '        nats += F.cross_entropy(logits + bias, y[0], reduction="sum").item()\n'


@pytest.mark.parametrize(
    ("bias", "outcome"),
    [
        ("torch.log(torch.bincount(y[0], minlength=args.vocab_size).float() + 1)", Outcome.REVIEW),
        ("torch.log(torch.bincount(x[0], minlength=args.vocab_size).float() + 1)", Outcome.PASS),
        ("torch.log(torch.bincount(y[0][:-1], minlength=args.vocab_size).float() + 1)[None] * 0", Outcome.PASS),
        ("torch.linalg.lstsq(logits, model.embed.weight[y[0]]).solution.mean(1)", Outcome.REVIEW),
        ("torch.linalg.lstsq(logits, F.one_hot(y[0], args.vocab_size).float()).solution.mean(0)", Outcome.REVIEW),
    ],
)
def test_a_prediction_from_its_own_targets(bias: str, outcome: Outcome) -> None:
    made = loop(f"{LOGITS}        bias = {bias}\n{SCORED}")
    assert result_of(judge(made, "SLT001"), "SLT001").outcome is outcome


@pytest.mark.parametrize(
    ("table", "outcome"),
    [
        ("F.one_hot(tokens[1:], args.vocab_size).float().mean(0)", Outcome.REVIEW),
        ("torch.as_tensor(np.unique(tokens.numpy(), return_counts=True)[1]).float()", Outcome.REVIEW),
        ("torch.ones(args.vocab_size)", Outcome.PASS),
    ],
)
def test_a_figure_over_the_whole_text(table: str, outcome: Outcome) -> None:
    made = loop(f"    bias = torch.log({table} + 0.01)\n{LOGITS}{SCORED}")
    assert result_of(judge(made, "TTT004"), "TTT004").outcome is outcome


def test_lengths_of_documents_are_no_table() -> None:
    made = loop(
        "    starts = (tokens == 1).nonzero().flatten()\n    document = torch.cumsum((tokens == 1).long(), 0) - 1\n"
        "    lengths = torch.bincount(document)\n    for number in torch.unique(document).tolist():\n        first = int(starts[number])\n"
        "        window = tokens[first : first + int(lengths[number])]\n        x, y = window[:-1][None], window[1:][None]\n"
        "        nats += score(model, x, y)\n"
    )
    assert result_of(judge(made, "TTT004"), "TTT004").outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("fitted", "outcome"),
    [
        ("F.cross_entropy(head(h + delta)[:, :960].reshape(-1, 1024), y[:, :960].reshape(-1))", Outcome.REVIEW),
        ("F.cross_entropy(head(h + delta).reshape(-1, 1024), y.reshape(-1))", Outcome.FAIL),
    ],
)
def test_an_offset_fitted_on_context_only_is_for_a_human(fitted: str, outcome: Outcome) -> None:
    made = loop(
        "    head = lambda states: F.linear(states, model.embed.weight)\n    for at in range(0, len(tokens) - 1025, 64):\n"
        "        x, y = tokens[at : at + 1024][None], tokens[at + 1 : at + 1025][None]\n        h = model.hidden(x).detach()\n"
        "        delta = torch.zeros(1, 1, args.model_dim, requires_grad=True)\n"
        "        fit = torch.optim.AdamW([delta], lr=0.01)\n        for turn in range(8):\n"
        f"            fit.zero_grad()\n            {fitted}.backward()\n            fit.step()\n"
        "        with torch.no_grad():\n"
        '            losses = F.cross_entropy(head(h + delta).reshape(-1, 1024), y.reshape(-1), reduction="none").reshape(1, 1024)\n'
        "        nats += losses[0, 960:1024].sum().item()\n"
    )
    assert result_of(judge(made, "SLT001"), "SLT001").outcome is outcome


STALE = """\
def adapt_first(model, tokens, passes):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for number in range(passes):
        for x, y in pieces(tokens, 1024):
            model(x, y).backward()
            optimizer.step()
        log(f"adapting pass number:{number}")
"""
LEFT_OVER, SAID = STALE.replace("optimizer.step()", "optimizer.zero_grad()").replace(".backward()", ""), "adapting pass number:2"
PLAIN = "val_loss, val_bpb = evaluate(args, model, val, base, leading)"
AFTER, BEFORE = "Total submission size int8+zlib", "seed:"


@pytest.mark.parametrize(
    ("functions", "evaluation", "anchor", "line", "outcome"),
    [
        (STALE, PLAIN, AFTER, SAID, Outcome.REVIEW),
        # Before the end of training it is a part of training; the rest of the program can't be told from this script either way.
        (STALE, PLAIN, BEFORE, SAID, Outcome.NOT_AVAILABLE),
        # Somebody may call it in a way that is not followed.
        (STALE, f'{PLAIN}\ncalled_by_name = "adapt_first"', AFTER, SAID, Outcome.NOT_AVAILABLE),
        # No line of it: code that is left over.
        (STALE, PLAIN, AFTER, "scored without any adapting", Outcome.PASS),
        # After the claimed score it changed nothing that was claimed.
        (STALE, PLAIN, "final_int8_zlib_roundtrip_exact", SAID, Outcome.PASS),
        # What ran learns nothing.
        (LEFT_OVER, PLAIN, AFTER, SAID, Outcome.PASS),
        # It is called: this is followed as any other code.
        (STALE, f"adapt_first(model, val, 3)\n{PLAIN}", AFTER, SAID, Outcome.FAIL),
    ],
)
def test_a_log_that_shows_what_the_script_never_calls(
    functions: str, evaluation: str, anchor: str, line: str, outcome: Outcome
) -> None:
    made = record(adapting(functions, evaluation), log_lines=((anchor, line),))
    answer = result_of(judge(made, "TTT001"), "TTT001")
    assert answer.outcome is outcome, answer.reason
    # Of no other score of such a log is it known how it was formed.
    assert result_of(judge(made, "CLM008"), "CLM008").outcome not in (Outcome.FAIL, Outcome.REVIEW)


@pytest.mark.parametrize("code", ["TTT002", "VAL004", "TIM003"])
def test_weights_of_a_run_that_trains_nothing_are_not_cleared(code: str) -> None:
    script = adapting("", "model.load_state_dict(torch.load('final_model.pt'))\n" + PLAIN)
    trained = result_of(judge(record(script), code), code)
    assert trained.outcome is Outcome.PASS, trained.reason
    only_scores = script.replace("        loss.backward()\n", "").replace("        optimizer.step()\n", "")
    assert only_scores != script
    answer = result_of(judge(record(only_scores), code), code)
    assert answer.outcome is Outcome.NOT_AVAILABLE, answer.reason


@pytest.mark.parametrize(
    ("accuser", "slug", "other"), [("TTT001", "low-rank-class", "SLT001"), ("SLT001", "scaled-and-masked", "TTT001")]
)
def test_what_is_multiplied_is_a_weight_and_what_is_added_an_offset(accuser: str, slug: str, other: str) -> None:
    case = next(case for case in OFFSETS if (case.rule, case.slug) == (accuser, slug))
    report = judge(case.record, accuser, other)
    assert result_of(report, accuser).outcome is Outcome.FAIL
    assert result_of(report, other).outcome is Outcome.PASS
