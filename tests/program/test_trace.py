"""What an abstract execution says about order, flow, configuration and liveness of small programs."""

from __future__ import annotations

import textwrap

import pytest

from tests.program.judge import analyse_script
from verifier.program.events import Event, Trace
from verifier.program.queries import has_source, headline_reports, is_silent, overlap, scores_of, updates_in

SETUP = """\
import copy, functools, glob, math, os
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(64, 8)
        self.head = nn.Linear(8, 64)

    def logits(self, x):
        return self.head(self.embed(x))

    def forward(self, x, y):
        return F.cross_entropy(self.logits(x).reshape(-1, 64), y.reshape(-1))


def load(pattern):
    return torch.cat([torch.from_numpy(np.fromfile(f, dtype="<u2", offset=1024)) for f in sorted(glob.glob(pattern))])


val = load(os.path.join(os.environ.get("DATA_PATH", "./data"), "fineweb_val_*.bin"))
train = load("./data/fineweb_train_*.bin")
model = GPT()
opt = torch.optim.SGD(model.parameters(), lr=0.1)


def learn(model, opt, x, y):
    opt.zero_grad()
    model(x, y).backward()
    opt.step()
"""


def run(body: str, **files: str) -> Trace:
    analysis = analyse_script(SETUP + textwrap.dedent(body), **files)
    assert analysis.available, analysis.why_not
    return analysis.run


def scored(trace: Trace) -> list[Event]:
    return [event for event in trace.of("loss") if has_source(event.tokens, "val") and not event.grad]


def learned_from(event: Event, trace: Trace) -> set[str]:
    """How the tokens of a score relate to the validation tokens that its model has learned from."""
    return {
        overlap(update.tokens, event.tokens) for update in updates_in(event.labels, trace) if has_source(update.tokens, "val")
    }


SCORE_FIRST = """
total = 0.0
for ci in range(100):
    chunk = val[ci * 512 : ci * 512 + 513]
    with torch.no_grad():
        total += model(chunk[:-1], chunk[1:]).item()
    for epoch in range(int(os.environ.get("EPOCHS", "3"))):
        learn(model, opt, chunk[:-1], chunk[1:])
print(f"final val_loss:{total:.4f}")
"""


def test_score_first_learns_from_other_chunks_only() -> None:
    trace = run(SCORE_FIRST)
    relations = [learned_from(event, trace) for event in scored(trace)]
    assert relations == [set(), {"disjoint"}]


def test_a_chunk_that_is_learned_first_is_the_same_chunk() -> None:
    trace = run("""
        for ci in range(100):
            chunk = val[ci * 512 : ci * 512 + 513]
            learn(model, opt, chunk[:-1], chunk[1:])
            with torch.no_grad():
                model(chunk[:-1], chunk[1:])
    """)
    assert [learned_from(event, trace) for event in scored(trace)] == [{"same"}, {"same", "disjoint"}]


def test_adapting_on_everything_before_scoring_is_seen_across_functions() -> None:
    trace = run("""
        def adapt(tokens):
            for start in range(0, tokens.numel(), 512):
                learn(model, opt, tokens[start : start + 512], tokens[start + 1 : start + 513])

        def evaluate(tokens):
            with torch.inference_mode():
                return sum(model(tokens[i : i + 512], tokens[i + 1 : i + 513]) for i in range(0, tokens.numel(), 512))

        adapt(val)
        print("final val_bpb:", evaluate(val))
    """)
    assert learned_from(scored(trace)[-1], trace) == {"whole"}


@pytest.mark.parametrize(
    "restore",
    [
        "saved = copy.deepcopy(model.state_dict())\n{adapt}\nmodel.load_state_dict(saved)",
        "torch.save(model.state_dict(), 'before.pt')\n{adapt}\nmodel.load_state_dict(torch.load('before.pt'))",
        "other = copy.deepcopy(model)\nopt = torch.optim.SGD(other.parameters(), lr=1)\nmodel, other = other, model\n{adapt}\nmodel, other = other, model",
    ],
)
def test_a_state_that_is_restored_has_learned_nothing(restore: str) -> None:
    adapt = "for i in range(9): learn(model, opt, val[i : i + 8], val[i + 1 : i + 9])"
    score = "\nwith torch.no_grad():\n    print('val_loss', model(val[:-1], val[1:]))"
    trace = run(restore.format(adapt=adapt) + score)
    assert [learned_from(event, trace) for event in scored(trace)] == [set()]
    kept = run(adapt + score)
    assert [learned_from(event, kept) for event in scored(kept)] == [{"whole"}]


def test_a_state_that_is_loaded_whenever_it_was_changed_has_learned_nothing() -> None:
    body = """
        saved = copy.deepcopy(model.state_dict())
        for i in range(900):
            start = val[i].item()
            if start > 0:
                learn(model, opt, val[:start], val[1 : start + 1])
            if start > 0 and saved is not None:
                model.load_state_dict(saved)
        with torch.no_grad():
            print("val_loss", model(val[:-1], val[1:]))
    """
    trace = run(body)
    assert [learned_from(event, trace) for event in scored(trace)] == [set()]
    sometimes = run(body.replace("if start > 0 and saved", "if start > 5 and saved"))
    assert [learned_from(event, sometimes) for event in scored(sometimes)] == [{"whole"}]


def test_the_state_travels_through_a_file() -> None:
    trace = run("""
        learn(model, opt, val[:-1], val[1:])
        torch.save(model.state_dict(), "model.pt")
        fresh = GPT()
        fresh.load_state_dict(torch.load("model.pt"))
        with torch.no_grad():
            print("val_loss", fresh(val[:-1], val[1:]))
    """)
    assert learned_from(scored(trace)[-1], trace) == {"whole"}


def test_learning_from_training_tokens_is_no_learning_from_validation() -> None:
    trace = run("""
        for step in range(1000):
            learn(model, opt, train[step : step + 64], train[step + 1 : step + 65])
        with torch.no_grad():
            print("val_loss", model(val[:-1], val[1:]))
    """)
    last = scored(trace)[-1]
    assert updates_in(last.labels, trace)
    assert learned_from(last, trace) == set()


@pytest.mark.parametrize(
    "call",
    [
        "f = learn\nf(model, opt, val[:-1], val[1:])",
        "functools.partial(learn, model, opt)(val[:-1], val[1:])",
        "{'a': learn}['a'](model, opt, val[:-1], val[1:])",
        "getattr(Box(), 'go')(val)",
        "class Sub(Box):\n    pass\nSub().go(val)",
        "(lambda g: g(model, opt, val[:-1], val[1:]))(learn)",
        "@wrap\ndef h():\n    learn(model, opt, val[:-1], val[1:])\nh()",
        "exec('learn(model, opt, val[:-1], val[1:])')",
        "import helper\nhelper.adapt(model, opt, val)",
        "from helper import adapt as quietly\nquietly(model, opt, val)",
    ],
)
def test_a_call_is_followed_however_it_is_written(call: str) -> None:
    body = """
class Box:
    def go(self, tokens):
        learn(model, opt, tokens[:-1], tokens[1:])

def wrap(g):
    def inner(*args):
        return g(*args)
    return inner
"""
    helper = "def adapt(m, o, t):\n    m(t[:-1], t[1:]).backward()\n    o.step()\n"
    trace = run(body + call, helper_py=helper)
    assert [has_source(event.tokens, "val") for event in trace.of("update")] == [True]


@pytest.mark.parametrize(("setting", "updates"), [("0", 0), ("1", 1), ("2", 2)])
@pytest.mark.parametrize(
    "read",
    [
        "N = int(os.environ.get('TTT_EPOCHS', '{0}'))",
        "class H:\n    n = int(os.getenv('TTT_EPOCHS', {0}))\nN = H.n",
        "def env_int(name, default): return int(os.environ.get(name, str(default)))\nN = env_int('TTT_EPOCHS', {0})",
        "from dataclasses import dataclass\n@dataclass\nclass C:\n    n: int = {0}\nN = C().n",
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('--epochs', type=int, default={0})\nN = p.parse_args().epochs",
    ],
)
def test_settings_decide_what_runs(read: str, setting: str, updates: int) -> None:
    trace = run(read.format(setting) + "\nfor epoch in range(N):\n    learn(model, opt, val[:-1], val[1:])")
    assert len(trace.of("update")) == updates


def test_the_documented_command_is_a_configuration_of_its_own() -> None:
    readme = "# A model\n\n```bash\nTTT=1 torchrun --nproc_per_node=8 train_gpt.py\n```\n"
    script = SETUP + "if int(os.environ.get('TTT', '0')):\n    learn(model, opt, val[:-1], val[1:])\n"
    analysis = analyse_script(script, README_md=readme)
    assert len(analysis.run.of("update")) == 1
    assert not analyse_script(script).run.of("update")


def test_a_setting_without_a_known_value_makes_events_uncertain() -> None:
    trace = run("if os.environ['MODE'] == 'adapt':\n    learn(model, opt, val[:-1], val[1:])")
    (update,) = trace.of("update")
    assert not update.certain
    assert [guard.text for guard in update.guards] == ["os.environ['MODE'] == 'adapt'"]


def test_a_condition_on_data_leaves_events_certain() -> None:
    trace = run("if val.sum() > 3:\n    learn(model, opt, val[:-1], val[1:])")
    assert trace.of("update")[0].certain


LOG = """step:7000/7000 train_time:599000ms
adapting on a chunk of tokens: 17
final_int8_zlib_roundtrip_exact val_loss:2.07000000 val_bpb:1.22594321
"""


def test_a_log_line_proves_that_a_branch_ran() -> None:
    body = """
        if int(os.environ.get("ADAPT", "0")):
            print(f"adapting on a chunk of tokens: {val.numel()}")
            learn(model, opt, val[:-1], val[1:])
    """
    assert not run(body).of("update")
    assert len(run(body, train_log=LOG).of("update")) == 1


def test_a_dump_of_settings_proves_no_branch() -> None:
    body = """
        if int(os.environ.get("ADAPT", "0")):
            print(f"adapting_rate_of_all_weights: {0.5}")
            learn(model, opt, val[:-1], val[1:])
    """
    names = ("batch_size", "depth", "adapting_rate_of_all_weights", "head_count", "seed", "width", "warmup")
    dump = "".join(f"  {name}: 5\n" for name in names)
    assert not run(body, train_log=dump + LOG).of("update")
    alone = "adapting_rate_of_all_weights: 5\n"
    assert len(run(body, train_log=LOG + alone).of("update")) == 1


def test_a_loop_that_was_left_early_ran_until_then() -> None:
    body = """
        for epoch in range(int(os.environ.get("EPOCHS", "8"))):
            if epoch > 0 and elapsed() * (8 - epoch) > 600:
                print(f"adapting on a chunk of tokens: {epoch}")
                break
            learn(model, opt, val[:-1], val[1:])
    """
    assert run(body, train_log=LOG).of("update")


def test_a_branch_that_prints_and_left_no_line_is_silent() -> None:
    body = """
        print(f"step:{7000}/{7000} train_time:{1}ms")
        if int(os.environ.get("ADAPT", "1")):
            print("adapting with great care to everything")
            learn(model, opt, val[:-1], val[1:])
    """
    trace = run(body, train_log=LOG)
    assert all(is_silent(event, trace) for event in trace.of("update"))
    without = run(body)
    assert not any(is_silent(event, without) for event in without.of("update"))


def test_a_report_knows_the_losses_behind_it() -> None:
    analysis = analyse_script(
        SETUP + SCORE_FIRST.replace("final val_loss", "final_int8_zlib_roundtrip_exact val_loss"), train_log=LOG
    )
    (report,) = headline_reports(analysis.run, analysis.submission)
    assert len(scores_of(report, analysis.run)) == 2


def test_a_table_remembers_what_was_counted_into_it() -> None:
    trace = run("""
        table = np.zeros(1 << 20)
        tokens = val.numpy()
        for start in range(0, 10_000, 100):
            np.add.at(table, tokens[start : start + 100] * 31 % 1024, 1)
        print("val_loss", table[tokens * 31 % 1024].sum())
    """)
    counted, (looked_up, *_) = trace.of("write"), trace.of("lookup")
    assert counted
    assert {event.index for event in updates_in(looked_up.labels, trace)} & {event.index for event in counted}


def test_dead_code_leaves_no_event() -> None:
    trace = run("""
        def never():
            learn(model, opt, val[:-1], val[1:])

        if False:
            never()
        for _ in range(0):
            never()
        while 0:
            never()
    """)
    assert not trace.of("update")


def test_the_same_text_gives_the_same_trace() -> None:
    first, second = run(SCORE_FIRST), run(SCORE_FIRST)
    assert [(event.kind, event.site, sorted(map(str, event.labels))) for event in first.events] == [
        (event.kind, event.site, sorted(map(str, event.labels))) for event in second.events
    ]


LEFT = """
total = 0.0
for at in range(0, 4096, 64):
    x, y = val[at : at + 64], val[at + 1 : at + 65]
    loss = F.cross_entropy(model.logits(x), y)
    part = 0.0
    for turn in range(3):
        if float(x[turn]) > 3:
            part = loss.item()
            {leave}
    total += part
print(f"val_loss:{{total:.8f}}")
"""


@pytest.mark.parametrize("leave", ["break", "continue"])
def test_what_was_bound_before_an_iteration_may_have_been_left_is_kept(leave: str) -> None:
    trace = run(LEFT.format(leave=leave))
    assert scores_of(trace.of("report")[-1], trace)


def test_what_only_another_path_binds_is_not_scored() -> None:
    trace = run(LEFT.format(leave="break").replace("part = loss.item()", "part = 1.0"))
    assert not scores_of(trace.of("report")[-1], trace)


@pytest.mark.parametrize(
    ("path", "kinds"),
    [
        ("VAL", {"val"}),
        ('os.path.join(FOLDER, "fineweb_val_000000.bin")', {"val"}),
        # What lies beside the shards is none of them.
        ('os.path.join(os.path.dirname(VAL), "names.json")', set()),
        ('os.path.join(os.path.dirname(VAL), "fineweb_train_000000.bin")', {"train"}),
        ('os.path.join(os.path.dirname(os.path.dirname(VAL)), "names.json")', set()),
        ('Path(VAL).parent / "names.json"', set()),
    ],
)
def test_a_file_beside_the_shards_is_no_shard(path: str, kinds: set[str]) -> None:
    script = "import os\nfrom pathlib import Path\nFOLDER = os.environ.get('DATA', 'data')\nVAL = os.path.join(FOLDER, 'fineweb_val_*.bin')\n"
    trace = analyse_script(script + f"print(open({path}).read())\n").run
    assert {str(label[1]) for event in trace.of("read") for label in event.labels if label[0] == "src"} == kinds
