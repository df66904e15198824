"""Printable text: harmless, still telling, idempotent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from verifier.report.text import encodable, printable

from . import hostile


@given(st.text(alphabet=st.characters(codec=None)))
def test_printable_text_never_acts(text: str) -> None:
    shown = printable(text)
    assert hostile.acting_characters(shown, allowed="") == set()
    assert printable(shown, limit=10_000) == shown
    shown.encode("utf-8")


@given(st.text(alphabet=st.characters(codec=None)))
def test_encodable_text_encodes(text: str) -> None:
    encodable(text).encode("utf-8")


def test_escapes_are_visible() -> None:
    assert printable("a\x1b[1m\u202e\udcff\n\tb") == "a\\x1b[1m\\u202e\\xff\\n b"


def test_ordinary_text_stays() -> None:
    assert printable("naïve – 日本語 ≥ 0.5 “quoted” 🙂") == "naïve – 日本語 ≥ 0.5 “quoted” 🙂"


def test_cuts_are_marked() -> None:
    assert printable("abcdef", 4) == "abc…"
