"""What a pull request changes, on small repositories built here."""

from __future__ import annotations

import datetime
import os
import subprocess
from pathlib import Path

import pytest

from verifier.git.pull_request import first_commit_day, pull_request
from verifier.git.repository import GitError, Repository

TRACK = "records/track_10min_16mb"
X, Y = f"{TRACK}/2026-04-19_X", f"{TRACK}/2026-04-20_Y"


class Repo:
    """A repository under construction; each commit is a minute later than the one before."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = int(datetime.datetime(2026, 4, 18, 23, 50, tzinfo=datetime.UTC).timestamp())
        path.mkdir(exist_ok=True)
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str) -> str:
        self.clock += 60
        who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in self._who().items()}
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        environment = clean | who | {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
        command = ["git", "-c", "commit.gpgsign=false", *arguments]
        return subprocess.run(command, cwd=self.path, env=environment, check=True, capture_output=True, text=True).stdout.strip()

    def _who(self) -> dict[str, str]:
        return {"NAME": "A", "EMAIL": "a@example.org", "DATE": f"{self.clock} +0200"}

    def commit(self, files: dict[str, str | None], message: str = "change") -> str:
        for name, text in files.items():
            file = self.path / name
            if text is None:
                file.unlink()
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    repo = Repo(tmp_path / "repo")
    repo.commit({"train_gpt.py": "base", "README.md": "hello", f"{TRACK}/2026-03-17_Base/README.md": "base"})
    return repo


def test_one_new_record(repo: Repo) -> None:
    repo.git("checkout", "-q", "-b", "pr")
    repo.commit({f"{X}/README.md": "x", f"{X}/logs/train.log": "x"})
    repo.git("checkout", "-q", "main")
    repo.commit({"README.md": "main moved on"})
    change = pull_request(repo.path, "main", "pr")
    assert change.changed == (("A", f"{X}/README.md"), ("A", f"{X}/logs/train.log"))
    assert change.records == (X,)


def test_files_outside_and_a_move_into_the_record(repo: Repo) -> None:
    repo.git("checkout", "-q", "-b", "pr")
    (repo.path / X).mkdir(parents=True)
    repo.git("mv", "train_gpt.py", f"{X}/train_gpt.py")
    repo.commit({"notes.md": "x", "README.md": "edited", f"{TRACK}/loose.py": "x"})
    change = pull_request(repo.path, "main", "pr")
    assert change.changed == (
        ("A", "notes.md"),
        ("A", f"{X}/train_gpt.py"),
        ("A", f"{TRACK}/loose.py"),
        ("D", "train_gpt.py"),
        ("M", "README.md"),
    )
    assert change.records == (X,)


def test_several_records_and_one_that_only_loses_a_file(repo: Repo) -> None:
    base = f"{TRACK}/2026-03-17_Base"
    repo.commit({f"{base}/train.log": "x"})
    repo.git("checkout", "-q", "-b", "pr")
    repo.commit({f"{X}/README.md": "x", f"{Y}/train_gpt.py": "y", f"{base}/train.log": None})
    assert pull_request(repo.path, "main", "pr").records == (base, X, Y)


def test_a_deleted_record_is_a_change_but_no_record(repo: Repo) -> None:
    repo.git("checkout", "-q", "-b", "pr")
    repo.commit({f"{TRACK}/2026-03-17_Base/README.md": None})
    change = pull_request(repo.path, "main", "pr")
    assert change.changed == (("D", f"{TRACK}/2026-03-17_Base/README.md"),)
    assert change.records == ()


def test_a_head_that_is_merged_already(repo: Repo) -> None:
    repo.git("checkout", "-q", "-b", "pr")
    head = repo.commit({f"{X}/README.md": "x"})
    repo.git("checkout", "-q", "main")
    repo.commit({"README.md": "meanwhile"})
    repo.git("merge", "-q", "--no-ff", "-m", "merge", "pr")
    repo.commit({f"{Y}/README.md": "somebody else"})
    change = pull_request(repo.path, "main", head)
    assert change.changed == (("A", f"{X}/README.md"),)
    assert change.records == (X,)


def test_a_merged_head_that_had_merged_main_before(repo: Repo) -> None:
    repo.git("checkout", "-q", "-b", "pr")
    repo.commit({f"{X}/README.md": "x"})
    repo.git("checkout", "-q", "main")
    repo.commit({f"{Y}/README.md": "somebody else"})
    repo.git("checkout", "-q", "pr")
    repo.git("merge", "-q", "-m", "update", "main")
    head = repo.commit({f"{X}/train.log": "x"})
    repo.git("checkout", "-q", "main")
    repo.git("merge", "-q", "--no-ff", "-m", "merge", "pr")
    change = pull_request(repo.path, "main", head)
    assert change.records == (X,)
    assert [path for _, path in change.changed] == [f"{X}/README.md", f"{X}/train.log"]


def test_a_commit_of_the_base_itself_changes_nothing(repo: Repo) -> None:
    first = repo.git("rev-parse", "HEAD")
    repo.commit({f"{X}/README.md": "x"})
    for head in (first, "main"):
        assert pull_request(repo.path, "main", head).changed == ()


def test_histories_without_a_common_commit(repo: Repo) -> None:
    repo.git("checkout", "-q", "--orphan", "pr")
    repo.commit({f"{X}/README.md": "x"})
    with pytest.raises(GitError, match="no commit in common"):
        pull_request(repo.path, "main", "pr")


def test_a_shallow_clone_names_the_remedy(repo: Repo, tmp_path: Path) -> None:
    repo.git("checkout", "-q", "-b", "pr")
    repo.commit({f"{X}/README.md": "x"})
    repo.commit({f"{X}/train.log": "x"})
    repo.git("clone", "-q", "--depth", "1", "--no-single-branch", f"file://{repo.path}", str(tmp_path / "shallow"))
    with pytest.raises(GitError, match="fetch-depth: 0"):
        pull_request(tmp_path / "shallow", "origin/main", "origin/pr")
    assert first_commit_day(tmp_path / "shallow", "origin/pr", X) is None


def test_a_shallow_clone_that_holds_all_that_is_needed(repo: Repo, tmp_path: Path) -> None:
    repo.commit({"README.md": "second"})
    repo.git("checkout", "-q", "-b", "pr")
    repo.commit({f"{X}/README.md": "x"})
    repo.git("clone", "-q", "--depth", "2", "--no-single-branch", f"file://{repo.path}", str(tmp_path / "shallow"))
    assert pull_request(tmp_path / "shallow", "origin/main", "origin/pr").records == (X,)


def test_hostile_names_of_commits_and_places_that_are_no_repository(repo: Repo, tmp_path: Path) -> None:
    for name in ("--upload-pack=touch x", "", "main\nx", "no-such-branch", "main:README.md"):
        with pytest.raises(GitError):
            pull_request(repo.path, "main", name)
    with pytest.raises(GitError, match="not a git repository"):
        pull_request(tmp_path, "main", "pr")


def test_the_callers_git_environment_is_ignored(repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "broken")
    assert pull_request(repo.path, "main", "main").changed == ()


def test_a_textconv_of_the_repository_is_not_run(repo: Repo, tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    repo.git("config", "diff.evil.textconv", f"touch {witness}; cat")
    repo.git("config", "diff.evil.command", f"touch {witness}")
    repo.git("config", "core.fsmonitor", f"touch {witness}")
    repo.git("checkout", "-q", "-b", "pr")
    witness.unlink(missing_ok=True)
    (repo.path / ".gitattributes").write_text("* diff=evil")
    (repo.path / X).mkdir(parents=True)
    (repo.path / X / "README.md").write_text("x")
    repo.git("-c", "core.fsmonitor=false", "add", "-A")
    repo.git("-c", "core.fsmonitor=false", "commit", "-q", "-m", "x")
    assert pull_request(repo.path, "main", "pr").records == (X,)
    assert first_commit_day(repo.path, "pr", X) is not None
    assert not witness.exists()


def test_the_first_day_of_a_folder_is_the_authors_in_utc(repo: Repo) -> None:
    repo.git("checkout", "-q", "-b", "pr")
    repo.commit({f"{X}/README.md": "x"})
    repo.clock += 3 * 86_400
    repo.commit({f"{X}/train.log": "later"})
    assert first_commit_day(repo.path, "pr", X) == datetime.date(2026, 4, 18)
    assert first_commit_day(repo.path, "pr", Y) is None


def test_folders_with_spaces_brackets_and_stars(repo: Repo) -> None:
    folder = f"{TRACK}/2026-04-19_int6 (v2) [x]*"
    repo.git("checkout", "-q", "-b", "pr")
    repo.commit({f"{folder}/READ ME\n.md": "x", f"{folder}/readme.md": "x"})
    assert pull_request(repo.path, "main", "pr").records == (folder,)
    assert first_commit_day(repo.path, "pr", folder) == datetime.date(2026, 4, 18)


def test_a_repository_knows_whether_it_is_shallow(repo: Repo) -> None:
    assert not Repository(repo.path).is_shallow()
    assert Repository(repo.path).shallow_commits() == frozenset()
