"""Settings that a README's text names: `EVAL_ONLY=1` in a sentence, a bullet or a table, outside of commands."""

from __future__ import annotations

import re

from verifier.submission.readme.blocks import Page
from verifier.submission.readme.model import Setting
from verifier.submission.readme.sentences import read_sentences

MOST_SETTINGS = 200
_NAMED = re.compile(r"(?<![\w$.-])([A-Z][A-Z0-9_]{2,63})=([^\s`,;|()\[\]]{1,80})")


def read_named_settings(page: Page) -> tuple[Setting, ...]:
    """In the order of the text. A value that holds a shell variable is not literal."""
    found: list[Setting] = []
    for sentence in read_sentences(page):
        for named in _NAMED.finditer(sentence.text):
            value = named[2].rstrip(".:!?").strip("\"'")
            if value and len(found) < MOST_SETTINGS:
                found.append(Setting(named[1], value, "$" not in value, sentence.at(named.start())))
    return tuple(found)
