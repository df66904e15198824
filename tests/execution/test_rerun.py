"""Runs kept as folders, lines with their times, and whole runs of a script confined without the harness."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.challenge.load import load_challenge
from verifier.engine.context import Context
from verifier.execution import stamps
from verifier.execution.own_script import Material, rerun_full
from verifier.execution.rerun import BadRun, Rerun, load_run, read_stamps, write_run
from verifier.sandbox.policy import SandboxPolicy
from verifier.sandbox.tiers import choose_tier, has_own_root
from verifier.submission.discover import discover
from verifier.submission.load import load_submission

needs_sandbox = pytest.mark.skipif(not choose_tier(SandboxPolicy()).available, reason="needs a sandbox that works here")
SCRIPT = """
import os, sys, time
from pathlib import Path
print("seed:" + os.environ["SEED"], "layers:" + os.environ.get("NUM_LAYERS", "9"), sorted(os.listdir(os.environ["DATA_PATH"])))
print("tokenizer", Path(os.environ["TOKENIZER_PATH"]).read_text())
for step in range(1, 4):
    print(f"step:{step}/3 train_loss:{5 - step} train_time:{step * 10}ms", flush=True)
Path("final_model.ptz").write_bytes(b"x" * 1000)
size = os.path.getsize(__file__)
print(f"Total submission size int8+zlib: {1000 + size} bytes")
HOW
print("final val_loss:2.0 val_bpb:1.1")
"""


@given(st.lists(st.tuples(st.floats(0, 1e5), st.text(st.characters(codec="utf-8"), max_size=30)), max_size=20))
def test_a_run_is_read_back_as_it_was(found: list[tuple[float, str]]) -> None:
    lines = tuple((when, " ".join(text.splitlines())) for when, text in sorted(found, key=lambda line: line[0]))
    made = Rerun(7, True, "", "end", 1.5, 10, True, lines, {"a": 1}, {"tier": "x"})
    with tempfile.TemporaryDirectory() as folder:
        write_run(made, Path(folder))
        kept = load_run(Path(folder))
    assert (kept.lines, kept.left, kept.facts, kept.seed, kept.completed) == (lines, {"a": 1}, {"tier": "x"}, 7, True)


@pytest.mark.parametrize("bad", ["nonsense", "[2]", '["x", "y"]', '[-1, "y"]', '[NaN, "y"]', '[0.5, "earlier"]', '[true, "y"]'])
def test_stamps_that_nobody_wrote_end_the_reading(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "stamps.jsonl"
    path.write_text(f'[1.0, "one\\u2028two"]\n{bad}\n[3.0, "three"]\n')
    assert read_stamps(path) == ((1.0, "one two"),)
    assert read_stamps(tmp_path / "missing") == ()
    (tmp_path / "link").symlink_to(path)
    assert read_stamps(tmp_path / "link") == ()


def test_what_is_no_kept_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRun):
        load_run(tmp_path)
    (tmp_path / "run.json").write_text('{"seed": 1, "left": []}')
    with pytest.raises(BadRun):
        load_run(tmp_path)


@given(st.lists(st.binary(max_size=12), max_size=12), st.data())
def test_each_line_has_the_time_at_which_its_end_came(parts: list[bytes], data: st.DataObject) -> None:
    output, arrived, came = b"", [], []
    for number, part in enumerate(parts):
        output += part
        arrived.append((len(output), float(number)))
        came += [float(number)] * part.count(b"\n")
    lines = stamps.stamp_output(output, arrived)
    assert [when for when, _ in lines[: len(came)]] == came
    assert len(lines) == output.count(b"\n") + (not output.endswith(b"\n") and bool(output))
    assert not any("\n" in text for _, text in lines)


@needs_sandbox
def test_lines_are_stamped_from_outside(data_root: Path) -> None:
    forged = "\nPath('stamps.jsonl').write_text('[0.0, \"nothing\"]')\nPath('run.json').mkdir()\nPath('run.json/x').touch()\ntime.sleep(0.4)"
    made = full(data_root, forged, 60.0)
    times = [when for when, _ in made.lines]
    write_run(made, data_root / "kept")
    assert load_run(data_root / "kept").lines == made.lines
    assert times[-1] - times[-2] >= 0.3
    assert made.lines[-1][1] == "final val_loss:2.0 val_bpb:1.1"
    assert made.script_bytes == (data_root / "2026-05-01_Small" / "train_gpt.py").stat().st_size


@needs_sandbox
def test_a_script_that_grows_after_the_start_counts_as_it_was_sent(data_root: Path) -> None:
    made = full(data_root, "open(__file__, 'w').write('x')", 60.0)
    assert made.completed, made.failure
    assert made.script_bytes == (data_root / "2026-05-01_Small" / "train_gpt.py").stat().st_size > 1


def test_endless_output_is_cut_and_that_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(stamps, "LINES", 3)
    path = tmp_path / "stamps.jsonl"
    with path.open("w") as out:
        stamps.stamp_lines([b"line\n"] * 10, out, time.monotonic())
    assert [text for _, text in read_stamps(path)] == ["line"] * 3 + ["7 more lines were printed and not kept"]
    assert [text for _, text in stamps.stamp_output(b"line\n" * 10, [(50, 1.0)])][2:] == [
        "line",
        "7 more lines were printed and not kept",
    ]
    monkeypatch.setattr(stamps, "BYTES", 40)
    with path.open("w") as out:
        stamps.stamp_lines([b"\xff" * 100_000, b"b\n"], out, time.monotonic())
    assert [text for _, text in read_stamps(path)] == ["b", "1 more lines were printed and not kept"]


def full(tmp_path: Path, how: str, seconds: float, processes: int = 1, script: str = SCRIPT) -> Rerun:
    folder, data, kept = tmp_path / "2026-05-01_Small", tmp_path / "data", tmp_path / "kept"
    for place in (folder, data, kept):
        place.mkdir()
    (folder / "train_gpt.py").write_text(script.replace("HOW", how))
    (folder / "README.md").write_text(
        "# Small\n\n```bash\nNUM_LAYERS=11 torchrun --standalone --nproc_per_node=8 train_gpt.py\n```\n"
    )
    (folder / "submission.json").write_text('{"name": "x", "author": "y", "val_bpb": 1.1}')
    (data / "fineweb_val_000000.bin").write_bytes(b"0")
    (tmp_path / "sp.model").write_text("pieces")
    (source,) = discover(folder)
    asked = Context(load_submission(source), load_challenge())
    material = Material(data, tmp_path / "sp.model")
    return rerun_full(asked, folder, Path(sys.executable), 42, seconds, kept, material, processes, gpu=False, unsafe=False)


@needs_sandbox
def test_a_script_runs_as_it_is_under_the_settings_of_the_run(data_root: Path) -> None:
    made = full(data_root, "", 60.0)
    assert made.completed, made.failure
    assert made.lines[0][1] == "seed:42 layers:11 ['fineweb_val_000000.bin']"
    assert made.lines[1][1] == "tokenizer pieces"
    assert made.run is not None
    assert made.run.steps_reached == 3
    assert made.left["final_model.ptz"] == 1000
    assert made.run.sizes[-1].bytes == 1000 + made.script_bytes
    assert (data_root / "kept" / "files" / "final_model.ptz").stat().st_size == 1000


RANKS = """
import os
import torch
import torch.distributed as dist
dist.init_process_group("gloo")
total = torch.ones(1) * (dist.get_rank() + 1)
dist.all_reduce(total)
if dist.get_rank() == 0:
    print("world", dist.get_world_size(), "sum", int(total.item()), flush=True)
dist.destroy_process_group()
"""


@needs_sandbox
def test_several_processes_of_a_run_talk_to_each_other(data_root: Path) -> None:
    pytest.importorskip("torch")
    if not has_own_root(choose_tier(SandboxPolicy()).tier):
        pytest.skip("the sandbox here gives no network of its own")
    made = full(data_root, "", 120.0, processes=2, script=RANKS)
    assert made.completed, made.failure
    assert "world 2 sum 3" in [text for _, text in made.lines]


@needs_sandbox
def test_a_script_that_hangs_is_ended(data_root: Path) -> None:
    started = time.monotonic()
    made = full(data_root, "time.sleep(300)", 3.0)
    assert not made.completed
    assert "3 s" in made.failure
    assert len(made.lines) >= 5, "what it printed before is kept"
    assert time.monotonic() - started < 60


@needs_sandbox
def test_a_script_that_fails_says_why(data_root: Path) -> None:
    made = full(data_root, "raise RuntimeError('out of luck')", 60.0)
    assert not made.completed
    assert "out of luck" in made.failure


@pytest.fixture
def data_root() -> Iterator[Path]:
    """A folder outside of /tmp, which a sandbox with a root of its own replaces."""
    place = Path(tempfile.mkdtemp(prefix="rerun-test-", dir="/var/tmp" if Path("/var/tmp").is_dir() else None))
    yield place
    shutil.rmtree(place, ignore_errors=True)
