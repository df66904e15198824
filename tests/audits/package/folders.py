"""Folders on disk for the package rules: the clean record, bent a little."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fixtures.record import Record, files_of
from verifier.challenge.load import load_challenge
from verifier.engine.context import Context, PullRequest
from verifier.limits import DEFAULT_LIMITS, Limits
from verifier.rule import Decision, Rule
from verifier.submission.disk_source import DiskSource
from verifier.submission.load import load_submission

LABEL = "records/track_10min_16mb/2026-04-30_Clean"
CHALLENGE = load_challenge()


def clean() -> dict[str, bytes]:
    """Path -> contents of a record that no rule objects to."""
    return files_of(Record())


def with_json(**changes: Any) -> dict[str, bytes]:
    """The clean record with keys of submission.json replaced; `None` removes one."""
    files = clean()
    data = json.loads(files["submission.json"])
    data |= changes
    files["submission.json"] = json.dumps({key: value for key, value in data.items() if value is not None}, indent=2).encode()
    return files


def decide(
    rule: Rule, folder: Path, files: dict[str, bytes], limits: Limits = DEFAULT_LIMITS, change: PullRequest | None = None
) -> Decision:
    """The rule's answer for a folder that holds these files."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    submission = load_submission(DiskSource(folder, LABEL, limits), limits)
    return rule.decide(Context(submission, CHALLENGE, pull_request=change))
