"""A reader for the C of small helper libraries: functions, statements and expressions, as much as following data needs.

Macros, templates and everything outside of functions are skipped; what can't be parsed ends the function with a problem.
"""

from __future__ import annotations

from dataclasses import dataclass

from verifier.program.c_reader_tokens import CSyntaxError, CToken, tokenize

_DEPTH = 120
"""Nesting of expressions and statements that is followed."""
_TYPES = frozenset(
    {"void", "char", "short", "int", "long", "float", "double", "signed", "unsigned", "size_t", "ssize_t", "bool", "_Bool", "const", "static",
     "inline", "volatile", "register", "restrict", "struct", "union", "enum", "extern", "auto", "__restrict", "__restrict__", "__inline",
     "__attribute__", "FILE", "half", "__half"}
)  # fmt: skip
_BINARY = {
    "||": 1, "&&": 2, "|": 3, "^": 4, "&": 5, "==": 6, "!=": 6, "<": 7, ">": 7, "<=": 7, ">=": 7, "<<": 8, ">>": 8, "+": 9, "-": 9, "*": 10, "/": 10,
    "%": 10,
}  # fmt: skip
_ASSIGN = frozenset({"=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="})


@dataclass(frozen=True, slots=True)
class CExpr:
    """`kind`: `name`, `number`, `text`, `index` (base, place), `member` (base; `text` is the field), `call` (arguments; `text` is
    the function), `op` (operands; `text` is the operator), `assign` (target, value; `text` is the operator), `choose` (condition,
    then, else)."""

    kind: str
    text: str
    args: tuple[CExpr, ...]
    line: int


@dataclass(frozen=True, slots=True)
class CStatement:
    """`kind`: `expr`, `declare` (`name`, `value`), `if`, `loop` (`first` runs before, `step` after each round), `leave` (`name` is
    the keyword), `block`."""

    kind: str
    line: int
    name: str = ""
    value: CExpr | None = None
    body: tuple[CStatement, ...] = ()
    other: tuple[CStatement, ...] = ()
    first: tuple[CStatement, ...] = ()
    step: CExpr | None = None


@dataclass(frozen=True, slots=True)
class CParameter:
    name: str
    type: str
    pointer: bool


@dataclass(frozen=True, slots=True)
class CFunction:
    name: str
    parameters: tuple[CParameter, ...]
    body: tuple[CStatement, ...]
    line: int


def read_functions(text: str) -> tuple[tuple[CFunction, ...], tuple[str, ...]]:
    """The function definitions of a text, and what could not be read."""
    try:
        tokens = list(tokenize(text))
    except CSyntaxError as failure:
        return (), (str(failure),)
    types = _type_names(tokens)
    functions: list[CFunction] = []
    problems: list[str] = []
    position = 0
    while position < len(tokens):
        if tokens[position].text == "{":
            position = _closing(tokens, position) + 1
            continue
        head = _function_at(tokens, position)
        if head is None:
            position += 1
            continue
        opening, body = head
        end = _closing(tokens, body)
        name = tokens[position]
        try:
            reader = _Reader(tokens[body + 1 : end], types)
            functions.append(CFunction(name.text, _parameters(tokens[opening + 1 : body - 1]), reader.statements(), name.line))
        except (CSyntaxError, RecursionError) as failure:
            problems.append(f"{name.text} (line {name.line}): {failure or 'nested too deeply'}")
        position = end + 1
    return tuple(functions), tuple(problems)


def _type_names(tokens: list[CToken]) -> frozenset[str]:
    """Names that `typedef` and `struct` introduce."""
    found = set(_TYPES)
    for number, token in enumerate(tokens[:-1]):
        if token.text in ("struct", "union", "enum") and tokens[number + 1].kind == "name":
            found.add(tokens[number + 1].text)
        if token.text == "typedef":
            end = number
            while end < len(tokens) and tokens[end].text != ";":
                end = _closing(tokens, end) + 1 if tokens[end].text == "{" else end + 1
            if end < len(tokens) and tokens[end - 1].kind == "name":
                found.add(tokens[end - 1].text)
    return frozenset(found)


def _closing(tokens: list[CToken], opening: int) -> int:
    """The place of the brace or parenthesis that closes the one at `opening`; the last token when none does."""
    pairs = {"(": ")", "{": "}", "[": "]"}
    start, depth = tokens[opening].text, 0
    for number in range(opening, len(tokens)):
        if tokens[number].text == start:
            depth += 1
        elif tokens[number].text == pairs[start]:
            depth -= 1
            if depth == 0:
                return number
    return len(tokens) - 1


def _function_at(tokens: list[CToken], position: int) -> tuple[int, int] | None:
    """Where parameters and body open if a function definition's name stands here."""
    if tokens[position].kind != "name" or position + 1 >= len(tokens) or tokens[position + 1].text != "(":
        return None
    if position == 0 or (tokens[position - 1].text not in ("*", "&") and tokens[position - 1].kind != "name"):
        return None
    closing = _closing(tokens, position + 1)
    if closing + 1 < len(tokens) and tokens[closing + 1].text == "{":
        return position + 1, closing + 1
    return None


def _parameters(tokens: list[CToken]) -> tuple[CParameter, ...]:
    found: list[CParameter] = []
    depth, start = 0, 0
    for number in range(len(tokens) + 1):
        text = tokens[number].text if number < len(tokens) else ","
        depth += text in "([{"
        depth -= text in ")]}"
        if text == "," and depth == 0:
            part = tokens[start:number]
            names = [token for token in part if token.kind == "name"]
            if len(names) > 1 or (names and any(token.text == "*" for token in part)):
                pointer = any(token.text in ("*", "[", "&") for token in part)
                found.append(CParameter(names[-1].text, " ".join(token.text for token in names[:-1]), pointer))
            start = number + 1
    return tuple(found)


class _Reader:
    """Recursive descent over the tokens of a function's body."""

    def __init__(self, tokens: list[CToken], types: frozenset[str]) -> None:
        self.tokens = tokens
        self.types = types
        self.at = 0
        self.depth = 0

    def statements(self) -> tuple[CStatement, ...]:
        found: list[CStatement] = []
        while self.at < len(self.tokens) and self._text() != "}":
            found += self._statement()
        return tuple(found)

    def _text(self, ahead: int = 0) -> str:
        return self.tokens[self.at + ahead].text if self.at + ahead < len(self.tokens) else ""

    def _line(self) -> int:
        return self.tokens[min(self.at, len(self.tokens) - 1)].line if self.tokens else 0

    def _take(self, text: str = "") -> CToken:
        if self.at >= len(self.tokens) or (text and self._text() != text):
            raise CSyntaxError(f"`{text or 'more'}` expected at line {self._line()}")
        self.at += 1
        return self.tokens[self.at - 1]

    def _nest(self, by: int) -> None:
        self.depth += by
        if self.depth > _DEPTH:
            raise CSyntaxError("nested too deeply")

    def _body(self) -> tuple[CStatement, ...]:
        self._nest(1)
        found = tuple(self._statement())
        self._nest(-1)
        return found

    def _statement(self) -> list[CStatement]:
        line, text = self._line(), self._text()
        if text == "{":
            self._take()
            self._nest(1)
            inner = self.statements()
            self._nest(-1)
            self._take("}")
            return [CStatement("block", line, body=inner)]
        if text == ";":
            self._take()
            return []
        if text == "if":
            self._take()
            condition = self._parenthesis()
            then = self._body()
            other: tuple[CStatement, ...] = ()
            if self._text() == "else":
                self._take()
                other = self._body()
            return [CStatement("if", line, value=condition, body=then, other=other)]
        if text in ("for", "while", "do", "switch"):
            return [self._loop(text, line)]
        if text in ("return", "break", "continue", "goto"):
            self._take()
            value = self._expression() if self._text() not in (";", "") else None
            self._take(";")
            return [CStatement("leave", line, text, value)]
        if text in ("case", "default") or (self._text(1) == ":" and self.tokens[self.at].kind == "name"):
            while self._take().text != ":":
                pass
            return []
        if self._declares():
            return self._declaration()
        value = self._expression()
        self._take(";")
        return [CStatement("expr", line, value=value)]

    def _loop(self, text: str, line: int) -> CStatement:
        self._take()
        if text == "do":
            body = self._body()
            self._take("while")
            condition = self._parenthesis()
            self._take(";")
            return CStatement("loop", line, value=condition, body=body)
        if text != "for":
            condition = self._parenthesis()
            return CStatement("loop", line, value=condition, body=self._body())
        self._take("(")
        first: list[CStatement] = []
        if self._text() == ";":
            self._take()
        elif self._declares():
            first = self._declaration()
        else:
            first = [CStatement("expr", line, value=self._expression())]
            self._take(";")
        check = self._expression() if self._text() != ";" else None
        self._take(";")
        step = self._expression() if self._text() != ")" else None
        self._take(")")
        return CStatement("loop", line, value=check, body=self._body(), first=tuple(first), step=step)

    def _parenthesis(self) -> CExpr:
        self._take("(")
        value = self._expression()
        self._take(")")
        return value

    def _is_type(self, token: CToken) -> bool:
        return token.kind == "name" and (token.text in self.types or token.text.endswith("_t"))

    def _declares(self) -> bool:
        """Whether a declaration starts here: a type, or two names in a row."""
        number = self.at
        while number < len(self.tokens) and self._is_type(self.tokens[number]):
            number += 1
        named = number > self.at
        if not named and number < len(self.tokens) and self.tokens[number].kind == "name":
            number, named = number + 1, True
        while named and number < len(self.tokens) and self.tokens[number].text in ("*", "const", "restrict", "__restrict__", "&"):
            number += 1
        follows = self.tokens[number + 1].text if number + 1 < len(self.tokens) else ""
        return named and number < len(self.tokens) and self.tokens[number].kind == "name" and follows in ("=", ";", ",", "[", "")

    def _declaration(self) -> list[CStatement]:
        found: list[CStatement] = []
        while self._text(1) and (
            self._is_type(self.tokens[self.at]) or self.tokens[self.at + 1].kind == "name" or self._text(1) in "*&"
        ):
            self._take()
            if self._text() in ("*", "&"):
                break
        while True:
            while self._text() in ("*", "&", "const", "restrict", "__restrict__"):
                self._take()
            line, name = self._line(), self._take().text
            while self._text() == "[":
                self.at = _closing(self.tokens, self.at) + 1
            value = None
            if self._text() == "=":
                self._take()
                value = self._initial()
            found.append(CStatement("declare", line, name, value))
            if self._text() != ",":
                break
            self._take()
        self._take(";")
        return found

    def _initial(self) -> CExpr:
        if self._text() != "{":
            return self._assignment()
        line = self._line()
        self._take()
        parts: list[CExpr] = []
        while self._text() != "}":
            parts.append(self._initial())
            if self._text() == ",":
                self._take()
        self._take("}")
        return CExpr("op", "{}", tuple(parts), line)

    def _expression(self) -> CExpr:
        value = self._assignment()
        while self._text() == ",":
            line = self._take().line
            value = CExpr("op", ",", (value, self._assignment()), line)
        return value

    def _assignment(self) -> CExpr:
        self._nest(1)
        left = self._condition()
        if self._text() in _ASSIGN:
            token = self._take()
            left = CExpr("assign", token.text, (left, self._assignment()), token.line)
        self._nest(-1)
        return left

    def _condition(self) -> CExpr:
        check = self._operators(1)
        if self._text() != "?":
            return check
        line = self._take().line
        then = self._expression()
        self._take(":")
        return CExpr("choose", "?", (check, then, self._assignment()), line)

    def _operators(self, least: int) -> CExpr:
        left = self._prefix()
        while _BINARY.get(self._text(), 0) >= least:
            token = self._take()
            left = CExpr("op", token.text, (left, self._operators(_BINARY[token.text] + 1)), token.line)
        return left

    def _prefix(self) -> CExpr:
        self._nest(1)
        try:
            token = self.tokens[self.at] if self.at < len(self.tokens) else self._take("more")
            if token.text in ("-", "+", "!", "~", "*", "&"):
                self._take()
                return CExpr("op", "unary" + token.text, (self._prefix(),), token.line)
            if token.text in ("++", "--"):
                self._take()
                return CExpr("assign", token.text, (self._prefix(), CExpr("number", "1", (), token.line)), token.line)
            if token.text == "(" and self._casts():
                self.at = _closing(self.tokens, self.at) + 1
                return self._prefix()
            return self._postfix()
        finally:
            self._nest(-1)

    def _casts(self) -> bool:
        end = _closing(self.tokens, self.at)
        inner = self.tokens[self.at + 1 : end]
        return bool(inner) and self._is_type(inner[0]) and all(token.text == "*" or token.kind == "name" for token in inner)

    def _postfix(self) -> CExpr:
        token = self._take()
        if token.text == "(":
            value = self._expression()
            self._take(")")
        elif token.kind in ("name", "number", "text"):
            if token.text == "sizeof" and self._text() == "(":
                self.at = _closing(self.tokens, self.at) + 1
            value = CExpr(token.kind if token.text != "sizeof" else "number", token.text, (), token.line)
        else:
            raise CSyntaxError(f"`{token.text}` at line {token.line} is not read")
        while self._text() in ("[", "(", ".", "->", "++", "--"):
            mark = self._take()
            if mark.text == "[":
                value = CExpr("index", "[]", (value, self._expression()), mark.line)
                self._take("]")
            elif mark.text == "(":
                value = CExpr("call", value.text if value.kind == "name" else "", self._arguments(), mark.line)
            elif mark.text in (".", "->"):
                value = CExpr("member", self._take().text, (value,), mark.line)
            else:
                value = CExpr("assign", mark.text, (value, CExpr("number", "1", (), mark.line)), mark.line)
        return value

    def _arguments(self) -> tuple[CExpr, ...]:
        found: list[CExpr] = []
        while self._text() != ")":
            found.append(self._assignment())
            if self._text() == ",":
                self._take()
        self._take(")")
        return tuple(found)
