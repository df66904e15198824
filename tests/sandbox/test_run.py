"""The contract of a run: what comes back, what is bounded, what is refused."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.conftest import RunPython
from verifier.limits import MIB
from verifier.sandbox import syscalls, tiers
from verifier.sandbox.policy import LeftFile, Reason, SandboxLimits, SandboxPolicy, Tier
from verifier.sandbox.run import run, run_in_tier
from verifier.sandbox.tiers import TierState


def test_a_finished_command_hands_back_output_status_and_files(run_python: RunPython, tier: Tier, tmp_path: Path) -> None:
    program = """
import os, sys
print("out"); print("err", file=sys.stderr)
os.mkdir("sub"); open("sub/result.jsonl", "w").write('{"loss": 1.5}\\n'); open("a", "w").write("abc")
open(os.environ["HOME"] + "/ignored", "w").write("x")
sys.exit(7)
"""
    result = run_python(program, SandboxPolicy(results=tmp_path))
    assert (result.reason, result.exit_code, result.signal, result.tier) == (Reason.FINISHED, 7, None, tier)
    assert (result.stdout, result.stderr) == (b"out\n", b"err\n")
    assert result.files == (LeftFile("a", 3), LeftFile("sub/result.jsonl", 14))
    assert (tmp_path / "sub" / "result.jsonl").read_text() == '{"loss": 1.5}\n'
    assert (tmp_path / "a").stat().st_mode & 0o7000 == 0
    assert result.problems == ()
    assert 0 < result.wall_seconds < 20
    assert result.peak_memory > MIB


@pytest.fixture
def passable() -> Iterator[Path]:
    """A folder that every user can reach, as one of pytest's is not when root runs the tests."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_inputs_are_copies_and_read_only_paths_are_that(run_python: RunPython, passable: Path) -> None:
    folder = passable / "folder"
    folder.mkdir()
    (folder / "data.txt").write_text("data")
    shared = passable / "shared.txt"
    shared.write_text("shared")
    program = f"""
assert open("in/data.txt").read() == "data" and open("one.txt").read() == "shared"
open("in/data.txt", "a").write("!")
assert open({str(shared)!r}).read() == "shared"
try:
    open({str(shared)!r}, "a")
except OSError:
    print("refused")
"""
    policy = SandboxPolicy(read_only=(shared,), inputs=(("in", folder), ("one.txt", shared)))
    result = run_python(program, policy)
    assert result.stdout == b"refused\n", result
    assert (folder / "data.txt").read_text() == "data"
    assert LeftFile("in/data.txt", 5) in result.files


def test_the_environment_is_an_allow_list(run_python: RunPython, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    policy = SandboxPolicy(environment=(("SEED", "42"),))
    result = run_python("import os; print(sorted(os.environ.items()))", policy)
    assert b"('SEED', '42')" in result.stdout
    assert b"hunter2" not in result.stdout


def test_output_beyond_the_cap_is_dropped_and_counted(run_python: RunPython) -> None:
    policy = SandboxPolicy(limits=SandboxLimits(stdout=1000, stderr=10))
    result = run_python("import sys; sys.stdout.write('x' * 50_000); sys.stderr.write('y' * 11)", policy)
    assert (result.reason, len(result.stdout), result.stdout_dropped) == (Reason.FINISHED, 1000, 49_000)
    assert (len(result.stderr), result.stderr_dropped) == (10, 1)


def test_each_limit_is_named(run_python: RunPython) -> None:
    cases = {
        Reason.TIMEOUT: ("import time; time.sleep(60)", SandboxLimits(wall_seconds=0.3)),
        Reason.MEMORY: ("x = [b'x' * (8 << 20) for _ in range(50)]; import time; time.sleep(9)", SandboxLimits(memory=150 * MIB)),
        Reason.OUTPUT: ("while True: print('x' * 9999)", SandboxLimits(stream_total=MIB)),
    }
    for reason, (program, limits) in cases.items():
        begin = time.monotonic()
        result = run_python(program, SandboxPolicy(limits=limits))
        assert result.reason is reason, result
        assert result.exit_code is None
        assert result.signal is None
        assert result.detail
        assert time.monotonic() - begin < 20


def test_a_crash_is_a_signal_not_a_limit(run_python: RunPython) -> None:
    result = run_python("import os; os.abort()", SandboxPolicy())
    assert (result.reason, result.signal, result.exit_code) == (Reason.KILLED, 6, None)


def test_threads_work_though_clone3_does_not(run_python: RunPython) -> None:
    program = """
from concurrent.futures import ThreadPoolExecutor
import subprocess, sys
with ThreadPoolExecutor(4) as pool:
    print(sum(pool.map(lambda x: x * x, range(10))))
print(subprocess.run([sys.executable, "-I", "-S", "-c", "print(1)"], capture_output=True, text=True).stdout.strip())
"""
    result = run_python(program, SandboxPolicy())
    assert result.stdout == b"285\n1\n", result


def test_links_and_special_files_are_problems_not_results(run_python: RunPython, tmp_path: Path) -> None:
    program = """
import os
os.symlink("/etc/passwd", "link"); os.mkfifo("pipe"); open("file", "w").close()
"""
    result = run_python(program, SandboxPolicy(results=tmp_path))
    assert result.files == (LeftFile("file", 0),)
    assert {(problem.location.path, problem.kind) for problem in result.problems} == {
        ("link", "symlink"),
        ("pipe", "special-file"),
    }
    assert os.listdir(tmp_path) == ["file"]


def test_results_never_take_more_than_the_scratch_folder_may(run_python: RunPython, tmp_path: Path) -> None:
    program = "[open(name, 'wb').truncate(3 << 20) for name in 'abc']"
    limits = SandboxLimits(file=4 * MIB, scratch=8 * MIB)
    result = run_python(program, SandboxPolicy(results=tmp_path, limits=limits))
    assert [file.size for file in result.files] == [3 * MIB] * 3
    assert [problem.kind for problem in result.problems] == ["too-large"]
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_a_command_that_is_not_there_never_ran(tier: Tier) -> None:
    result = run_in_tier(("/no/such/program",), SandboxPolicy(), tier)
    assert result.reason is Reason.NOT_AVAILABLE
    assert result.exit_code is None
    assert "No such file" in result.detail


def test_without_a_tier_it_refuses_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch, tier: Tier) -> None:
    monkeypatch.setattr(tiers, "examine_tier", lambda tier: TierState(tier, False, "gone", ()))
    refused = run((tiers.python(), "-c", "print(1)"), SandboxPolicy())
    assert (refused.reason, refused.tier, refused.stdout) == (Reason.NOT_AVAILABLE, None, b"")
    assert "landlock: gone" in refused.detail
    allowed = run((tiers.python(), "-I", "-S", "-c", "print(1)"), SandboxPolicy(unsafe=True))
    assert (allowed.reason, allowed.tier, allowed.stdout) == (Reason.FINISHED, Tier.UNSAFE, b"1\n")
    assert allowed.weaknesses


def test_a_landlock_that_can_not_isolate_files_is_no_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    tiers.examine_tier.cache_clear()
    monkeypatch.setattr(tiers, "landlock_version", lambda: 2)
    state = tiers.examine_tier(Tier.LANDLOCK)
    tiers.examine_tier.cache_clear()
    assert not state.available


def test_an_unknown_machine_has_no_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    tiers.examine_tier.cache_clear()
    monkeypatch.setattr(syscalls, "MACHINE", "riscv64")
    states = [tiers.examine_tier(tier) for tier in (Tier.BUBBLEWRAP, Tier.NAMESPACES, Tier.LANDLOCK)]
    tiers.examine_tier.cache_clear()
    assert not any(state.available for state in states)
    assert all("needs Linux on" in state.reason for state in states)


@pytest.mark.parametrize("path", [Path("/"), Path.home(), Path.home().parent, Path("relative")])
def test_a_policy_can_not_hand_over_the_home_folder(path: Path) -> None:
    with pytest.raises(ValueError, match="read_only"):
        SandboxPolicy(read_only=(path,))


@pytest.mark.parametrize("name", ["", "/abs", "a/../../b", "..", "x\0"])
def test_inputs_stay_inside_the_work_folder(name: str) -> None:
    with pytest.raises(ValueError, match="inputs"):
        SandboxPolicy(inputs=((name, Path("/etc/passwd")),))


def test_nothing_is_left_on_the_host(run_python: RunPython, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    tmp_path.chmod(0o711)
    run_python("import os; os.makedirs('a/b/c'); os.mkdir('closed', 0)", SandboxPolicy())
    assert os.listdir(tmp_path) == []
