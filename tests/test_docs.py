"""Generated documents are in step with what they are generated from."""

from __future__ import annotations

from pathlib import Path

from fixtures.record import files_of
from fixtures.shipped import SHIPPED
from verifier.engine.registry import load_rules
from verifier.report.rule_pages import render_catalogue

ROOT = Path(__file__).parents[1]


def test_the_rule_catalogue_is_current() -> None:
    assert (ROOT / "docs" / "rules.md").read_text(encoding="utf-8") == render_catalogue(load_rules()), (
        "run `uv run verifier rules --format markdown --output docs/rules.md`"
    )


def test_the_shipped_records_are_those_of_the_generator() -> None:
    below = ROOT / "fixtures" / "records"
    shipped = {path.relative_to(below).as_posix(): path.read_bytes() for path in below.rglob("*") if path.is_file()}
    built = {f"{record.path}/{path}": data for record in SHIPPED for path, data in files_of(record).items()}
    assert shipped == built, "run `uv run python -m fixtures`"
