"""Shell text as simple commands: words, assignments, loops. Read, never run.

Only what run commands in READMEs need is understood: continuation lines, comments, quotes, `;` `&&` `|`, here-documents,
`for NAME in ...; do`. Everything else is a word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from verifier.submission.readme.blocks import Line

MOST_WORDS = 20_000
"""Words read of one code block."""

_PROMPT = re.compile(r"\s{0,8}(?:\$|❯|PS>|(?:\([\w.-]{1,40}\) )?[\w.-]{1,32}@[\w.-]{1,64}[:~/\w.-]{0,80}[$#])\s(?=\S)")
_CONTINUED = re.compile(r"\\[ \t]{0,40}(?:#.*)?$")
_HEREDOC = re.compile(r"<<-?\s{0,4}[\"']?(\w{1,40})[\"']?")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}=")
_SEPARATORS = (";;", "&&", "||", ";", "|", "&")


@dataclass(frozen=True, slots=True)
class Word:
    """`text` is the word with quotes removed; `literal` is false when it holds an expansion."""

    text: str
    literal: bool
    line: int
    quoted: bool = False

    @property
    def is_assignment(self) -> bool:
        return _ASSIGNMENT.match(self.text) is not None


@dataclass(frozen=True, slots=True)
class SimpleCommand:
    """`loops` are the loop variables in force with the values they take (empty: unknown), outermost first."""

    words: tuple[Word, ...]
    loops: tuple[tuple[str, tuple[str, ...]], ...]
    first_line: int
    last_line: int


@dataclass(slots=True)
class _State:
    words: list[Word] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    literal: bool = True
    quoted: bool = False
    line: int = 0


def read_commands(lines: Sequence[Line]) -> tuple[SimpleCommand, ...]:
    """The simple commands of a code block, in order."""
    commands: list[SimpleCommand] = []
    loops: list[tuple[str, tuple[str, ...]]] = []
    for words in _statements(lines):
        _place(words, commands, loops)
    return tuple(commands)


def _place(words: list[Word], commands: list[SimpleCommand], loops: list[tuple[str, tuple[str, ...]]]) -> None:
    while words and not words[0].quoted:
        head = words[0].text
        if head == "for" and len(words) > 2 and words[2].text == "in":
            values = words[3:]
            known = all(word.literal for word in values)
            loops.append((words[1].text, tuple(value for word in values for value in _braces(word.text)) if known else ()))
            return
        if head == "done":
            if loops:
                loops.pop()
            return
        if head not in ("do", "then", "else", "{", "(", "!", "time", "exec", "command"):
            break
        words = words[1:]
    if words:
        commands.append(SimpleCommand(tuple(words), tuple(loops), words[0].line, words[-1].line))


def _braces(text: str) -> list[str]:
    """`{1..3}` and `{42,1337}` as bash expands them; anything else is itself."""
    span = re.fullmatch(r"\{(\d{1,6})\.\.(\d{1,6})\}", text)
    if span and 0 <= int(span[2]) - int(span[1]) < 100:
        return [str(value) for value in range(int(span[1]), int(span[2]) + 1)]
    if re.fullmatch(r"\{[\w.]{1,20}(?:,[\w.]{1,20}){1,50}\}", text):
        return text[1:-1].split(",")
    return [text]


def _statements(lines: Sequence[Line]) -> list[list[Word]]:
    """Words up to each separator or line end. A backslash at the end of a line joins the next one; a comment line inside such a
    continuation ends it, as in a shell."""
    statements: list[list[Word]] = []
    state = _State()
    heredoc = ""
    quote = ""
    count = 0
    for line in lines:
        text = line.text
        if heredoc:
            if text.strip() == heredoc:
                heredoc = ""
            continue
        if not quote and not state.words and not state.text:
            text = _PROMPT.sub("", text, count=1)
        opened = _HEREDOC.search(text) if not quote and not text.lstrip().startswith("#") else None
        continued = _CONTINUED.search(text) if not quote else None
        if continued:
            text = text[: continued.start()]
        quote = _read_line(text, line.number, quote, state, statements)
        count += len(state.words)
        if count > MOST_WORDS:
            break
        if opened:
            heredoc = opened[1]
        if quote:
            state.text.append("\n")
        else:
            _end_word(state)
            if not continued:
                _end_statement(state, statements)
    _end_word(state)
    _end_statement(state, statements)
    return statements


def _read_line(text: str, number: int, quote: str, state: _State, statements: list[list[Word]]) -> str:
    """Read one line into the state; returns the quote that is still open at its end."""
    at = 0
    nesting = 0
    while at < len(text):
        character = text[at]
        if quote == "'":
            if character == "'":
                quote = ""
            else:
                state.text.append(character)
        elif character == "\\" and at + 1 < len(text) and (not quote or text[at + 1] in '"\\$`'):
            at += 1
            state.text.append(text[at])
            _start(state, number)
        elif quote == '"':
            if character == '"':
                quote = ""
            else:
                state.literal &= character not in "$`"
                state.text.append(character)
        elif nesting:
            nesting += (character == "(") - (character == ")")
            state.text.append(character)
        elif character in "'\"":
            quote = character
            state.quoted = True
            _start(state, number)
        elif character in " \t":
            _end_word(state)
        elif character == "#" and not state.text and not state.quoted:
            break
        elif text.startswith(_SEPARATORS, at) and not (
            character == "&" and (state.text[-1:] == [">"] or text[at + 1 : at + 2] == ">")
        ):
            _end_word(state)
            _end_statement(state, statements)
        else:
            _start(state, number)
            if character in "$`":
                state.literal = False
                nesting = 1 if text.startswith("$(", at) else 0
                if nesting:
                    state.text.append("$")
                    at += 1
                    character = "("
            state.text.append(character)
        at += 1
    return quote


def _start(state: _State, number: int) -> None:
    if not state.text:
        state.line = number


def _end_word(state: _State) -> None:
    if state.text or state.quoted:
        state.words.append(Word("".join(state.text), state.literal, state.line, state.quoted))
    state.text, state.literal, state.quoted = [], True, False


def _end_statement(state: _State, statements: list[list[Word]]) -> None:
    if state.words:
        statements.append(state.words)
    state.words = []
