"""Adaptation rules on what the fixture cases leave out: missing logs, unknown settings, queues, masks, halves of the text."""

from __future__ import annotations

import pytest

from fixtures.program.adaptation_scripts import BYTES, FINE_TUNE, adapting, record
from fixtures.record import SEEDS, Record
from tests.program.judge import judge, result_of

LOGS = tuple(f"train_seed{seed}.log" for seed in SEEDS)
DORMANT = """
val_loss, val_bpb = evaluate(args, model, val, base, leading)
if args.ttt_enabled:
    fine_tune(model, val, 3, 1024)
    tuned_loss, tuned_bpb = evaluate(args, model, val, base, leading)
    log(f"final_tuned val_loss:{tuned_loss:.4f} val_bpb:{tuned_bpb:.4f}")
"""


def outcome(of: Record, code: str) -> str:
    return result_of(judge(of, code), code).outcome.value


def test_without_a_log_an_evaluation_that_is_switched_off_is_doubtful() -> None:
    script = adapting(FINE_TUNE, DORMANT)
    assert outcome(record(script), "TTT001") == "pass"
    assert outcome(record(script, without=LOGS), "TTT001") == "review"


def test_a_setting_without_a_known_value_is_doubtful() -> None:
    tune = 'if int(os.environ["TUNE"]) > 0:\n    fine_tune(model, val, 3, 1024)\n'
    evaluation = tune + "val_loss, val_bpb = evaluate(args, model, val, base, leading)"
    report = judge(record(adapting(FINE_TUNE, evaluation)), "TTT001")
    assert result_of(report, "TTT001").outcome.value == "review"
    assert "TUNE" in result_of(report, "TTT001").reason


HALVES = (
    FINE_TUNE
    + """

def adapted(args, model, tokens, base, leading):
    middle = len(tokens) // 2
    fine_tune(model, tokens[{learned}], 2, 1024)
    return evaluate(args, model, tokens[{scored}], base, leading)
"""
)


@pytest.mark.parametrize(
    ("learned", "scored", "expected"),
    [(":middle", "middle:", "pass"), ("middle:", ":middle", "fail"), (":middle", ":middle", "fail"), (":", "middle:", "fail")],
)
def test_only_text_that_lies_before_may_be_learned_from(learned: str, scored: str, expected: str) -> None:
    script = adapting(HALVES.replace("{learned}", learned).replace("{scored}", scored))
    assert outcome(record(script), "TTT001") == expected


QUEUE = (
    BYTES
    + """

def take(path):
    with open(path, "r+b") as counter:
        number = int.from_bytes(counter.read(4), "little")
        counter.seek(0)
        counter.write((number + 1).to_bytes(4, "little"))
    return number


def adapted(args, model, tokens, base, leading):
    with open("/tmp/next", "wb") as counter:
        counter.write((0).to_bytes(4, "little"))
    starts = list(range(0, len(tokens) - 4096, 4096))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    nats, count, n_bytes = 0.0, 0, 0
    while True:
        number = {next}
        if number >= len(starts):
            break
        chunk = tokens[starts[number] : starts[number] + 4097]
        x, y = chunk[:-1][None], chunk[1:][None]
        with torch.no_grad():
            nats += model(x, y).item()
        count += y.numel()
        n_bytes += bytes_of(y, base, leading)
        optimizer.zero_grad()
        (model(x, y) / 4096).backward()
        optimizer.step()
    return ratio(nats, count, n_bytes)
"""
)


@pytest.mark.parametrize(("following", "expected"), [('take("/tmp/next")', "pass"), ("int(args.seed > 0)", "fail")])
def test_a_queue_gives_each_chunk_once(following: str, expected: str) -> None:
    assert outcome(record(adapting(QUEUE.replace("{next}", following))), "TTT001") == expected


FIRST_OR_LATER = (
    BYTES
    + """

def adapted(args, model, tokens, base, leading):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    nats, count, n_bytes = 0.0, 0, 0
    for x, y in pieces(tokens, 2048):
        if len(y[0]) < 100:
            (model(x, y) / 2048).backward()
            optimizer.step()
            {leave}
        with torch.no_grad():
            nats += model(x, y).item()
        count += y.numel()
        n_bytes += bytes_of(y, base, leading)
    return ratio(nats, count, n_bytes)
"""
)


@pytest.mark.parametrize(("leave", "expected"), [("continue", "pass"), ("optimizer.zero_grad()", "fail")])
def test_a_branch_that_leaves_is_not_followed_by_a_score(leave: str, expected: str) -> None:
    assert outcome(record(adapting(FIRST_OR_LATER.replace("{leave}", leave))), "TTT001") == expected


WINDOWS = (
    BYTES
    + """

def adapted(args, model, tokens, base, leading):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    nats, count, n_bytes = 0.0, 0, 0
    starts = range(0, len(tokens) - 1024, 1024)
    for number in range(len(tokens) // 32768):
        first, last = number * 32768, (number + 1) * 32768
{choice}
        for at in chosen:
            x, y = tokens[at : at + 1024][None], tokens[at + 1 : at + 1025][None]
            with torch.no_grad():
                nats += model(x, y).item()
            count += y.numel()
            n_bytes += bytes_of(y, base, leading)
        for at in range(first, last, 1024):
            optimizer.zero_grad()
            model(tokens[at : at + 1024][None], tokens[at + 1 : at + 1025][None]).backward()
            optimizer.step()
    return ratio(nats, count, n_bytes)
"""
)
FILTERED = """
        chosen = []
        for start in starts:
            if start < last and start + 1024 > first:
                chosen.append(start)
"""
SKIPPED = """
        chosen = []
        for start in starts:
            if start + 1024 <= first:
                continue
            if start >= last:
                break
            chosen.append(start)
"""
COMPREHENDED = """
        chosen = [start for start in starts if first <= start < last]
"""


@pytest.mark.parametrize("choice", [FILTERED, SKIPPED, COMPREHENDED])
def test_windows_that_a_condition_picks_for_a_chunk_are_its_own(choice: str) -> None:
    assert outcome(record(adapting(WINDOWS.replace("{choice}", choice.strip("\n")))), "TTT001") == "pass"


def test_windows_that_nothing_picks_are_the_whole_text() -> None:
    script = adapting(WINDOWS.replace("{choice}", "        chosen = list(starts)"))
    assert outcome(record(script), "TTT001") == "fail"


SHUFFLED = (
    BYTES
    + """

def adapted(args, model, tokens, base, leading):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    pieces_of_text = (len(tokens) - 1) // 2048
    for epoch in range(4):
        nats, count, n_bytes = 0.0, 0, 0
        for number in np.random.default_rng(epoch).permutation(pieces_of_text):
            chunk = tokens[number * 2048 : number * 2048 + 2049]
            x, y = chunk[:-1][None], chunk[1:][None]
            with torch.no_grad():
                nats += model(x, y).item()
            count += y.numel()
            n_bytes += bytes_of(y, base, leading)
            optimizer.zero_grad()
            (model(x, y) / 2048).backward()
            optimizer.step()
    return ratio(nats, count, n_bytes)
"""
)


def test_epochs_in_another_order_are_epochs() -> None:
    assert outcome(record(adapting(SHUFFLED)), "TTT001") == "fail"


MASKED = (
    BYTES
    + """

def adapted(args, model, tokens, base, leading):
    nats, count, n_bytes = 0.0, 0, 0
    stride, size = 96, 2048
    for at in range(0, len(tokens) - size, stride):
        chunk = tokens[at : at + size + 1]
        x, y = chunk[:-1][None], chunk[1:][None]
        with torch.no_grad():
            hidden = model.hidden(x)
        end = y.shape[1]
        s = 0 if at == 0 else end - stride
        mask = torch.zeros(1, end)
        mask[0, {fitted}] = 1.0
        delta = torch.zeros(1, 1, args.model_dim, requires_grad=True)
        optimizer = torch.optim.AdamW([delta], lr=0.01)
        for turn in range(8):
            optimizer.zero_grad()
            loss = (model.losses(hidden + delta, y)[None] * mask).sum() / mask.sum()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            nll = model.losses(hidden + delta, y)[None]
        nats += nll[0, s:end].sum().item()
        count += end - s
        n_bytes += bytes_of(y[0, s:end], base, leading)
    return ratio(nats, count, n_bytes)
"""
)


@pytest.mark.parametrize(("fitted", "expected"), [("s:end", "fail"), (":s", "review"), ("s - 128 : s", "review")])
def test_an_offset_fitted_to_the_context_alone_is_left_to_a_reader(fitted: str, expected: str) -> None:
    assert outcome(record(adapting(MASKED.replace("{fitted}", fitted))), "SLT001") == expected


def test_an_unreadable_script_is_no_pass() -> None:
    broken = record("def main(:\n    pass\n")
    for code in ("TTT001", "TTT002", "TTT003", "TTT004", "TTT005", "SLT001"):
        assert outcome(broken, code) == "not-available"


def test_the_chain_of_lines_is_cited() -> None:
    script = adapting(FINE_TUNE, "fine_tune(model, val, 3, 1024)\nval_loss, val_bpb = evaluate(args, model, val, base, leading)")
    report = judge(record(script), "TTT001")
    (finding,) = [finding for finding in report.findings if finding.rule == "TTT001"]
    lines = script.splitlines()
    cited = [lines[location.line - 1] for location in finding.locations if location.line is not None]
    assert "optimizer.step()" in cited[0]
    assert "cross_entropy" in cited[1]
    assert "final_int8_zlib_roundtrip_exact" in cited[2]
