"""VAL004: which line is cited, and which of the documented ways to run a script its evidence is about."""

from __future__ import annotations

import pytest

from audits.validation import RULES
from fixtures.program.editing import before, record
from fixtures.record import Record, files_of
from tests.program.judge import CHALLENGE, MemorySource
from verifier.engine.context import Context
from verifier.rule import Decision, Outcome
from verifier.submission.load import load_submission

RULE = next(rule for rule in RULES if rule.code == "VAL004")
_MAIN = "def main():\n"
_STATE = "    state = {name: tensor.to(torch.float16) for name, tensor in model.state_dict().items()}"
_SETTING = '    ttt_enabled = bool(int(os.environ.get("TTT_ENABLED", "0")))'
_START = "    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate)\n    start, step"
_STATISTICS = '''\
def widths(model, tokens, size):
    """Mean magnitude of each column's activations."""
    seen = {}

    def keep(module, given, made):
        width = made.detach().float().abs().mean(dim=(0, 1))
        seen["embed"] = seen["embed"] + width if "embed" in seen else width

    handle = model.embed.register_forward_hook(keep)
    with torch.no_grad():
        for start in range(0, 32 * size, size):
            model.mix(model.embed(tokens[start : start + size][None]))
    handle.remove()
    for name in seen:
        seen[name] = seen[name] / 32
    return seen


def packed(weights):
    kept = {}
    for name, tensor in weights.items():
        whole = tensor.detach().cpu()
        kept[name] = whole.to(torch.float16) if whole.is_floating_point() else whole
    return kept


'''
_SCALED = """\
    seen = widths(model, val, args.train_seq_len)
    with torch.no_grad():
        for name, module in model.named_modules():
            if name in seen:
                module.weight.data = module.weight.data * seen[name].unsqueeze(0)
    state = packed(model.state_dict())"""
_WAYS = """\
    if args.dry_run:
        return
    if args.only_score:
        model.load_state_dict(torch.load("finished.pt"))
        loss, bpb = evaluate(args, model, val, base, leading)
        log(f"finished val_loss:{loss:.8f} val_bpb:{bpb:.8f}")
        return
"""
_LOGS = tuple(f"train_seed{seed}.log" for seed in Record().seeds)


def decide(*, notes: str, logs: bool) -> Decision:
    case = record(
        "Widths",
        (_MAIN, _STATISTICS + _MAIN),
        (_STATE, _SCALED),
        before(_SETTING, *(f'{name.lower()} = bool(int(os.environ.get("{name}", "0")))' for name in ("ONLY_SCORE", "DRY_RUN"))),
        (_START, _WAYS + _START),
        readme={"notes": f"## Notes\n\n{notes}", "command": ""},
        without=() if logs else _LOGS,
    )
    return RULE.decide(Context(load_submission(MemorySource(f"records/{case.path}", files_of(case))), CHALLENGE))


def test_the_first_line_cited_is_where_the_data_is_caught() -> None:
    decision = decide(notes="Columns are scaled.", logs=True)
    assert decision.outcome is Outcome.FAIL, decision.reason
    assert "made.detach().float().abs().mean" in decision.findings[0].locations[0].excerpt


@pytest.mark.parametrize(
    ("notes", "logs", "outcome"),
    [
        ("Run the script with `ONLY_SCORE=1` on eight devices.", False, Outcome.REVIEW),
        ("| setting | purpose |\n|---|---|\n| `ONLY_SCORE=1` | scores a finished model |", False, Outcome.REVIEW),
        ("Run the script on eight devices.", False, Outcome.FAIL),
        ("Run the script with `ONLY_SCORE=0` on eight devices.", False, Outcome.FAIL),
        # Nothing is scored that way, so it made no claim.
        ("`DRY_RUN=1` ends the script after its set-up.", False, Outcome.FAIL),
        # The logs show whole runs, with the training that the setting leaves out.
        ("Run the script with `ONLY_SCORE=1` on eight devices.", True, Outcome.FAIL),
    ],
)
def test_a_documented_way_without_the_pass(notes: str, logs: bool, outcome: Outcome) -> None:
    decision = decide(notes=notes, logs=logs)
    assert decision.outcome is outcome, decision.reason
    if outcome is Outcome.REVIEW:
        assert "ONLY_SCORE=1" in decision.reason
        assert decision.findings[0].locations[-1].path == "README.md"
