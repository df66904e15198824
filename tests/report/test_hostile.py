"""Whatever a submission writes, no format lets it act: no escapes, markup, links, commands, forged lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from verifier.report import github, html, json_report, markdown, sarif
from verifier.report.formats import FORMATS, render
from verifier.report.human import TerminalOptions, export_svg, render_human
from verifier.report.markdown_text import cell, code, prose
from verifier.report.text import MESSAGE_LIMIT, printable

from . import hostile

each_text = pytest.mark.parametrize("text", hostile.TEXTS, ids=range(len(hostile.TEXTS)))


@each_text
@pytest.mark.parametrize("name", FORMATS)
def test_no_character_acts(name: str, text: str) -> None:
    printed = render(hostile.poisoned(text), name)
    assert hostile.acting_characters(printed) == set()
    printed.encode("utf-8")


@each_text
def test_terminal_colours_are_ours_alone(text: str) -> None:
    printed = render_human(hostile.poisoned(text), TerminalOptions(width=80, color=True, verbose=True))
    assert hostile.acting_characters(re.sub(r"\x1b\[[0-9;]*m", "", printed)) == set()


def test_terminal_interprets_no_markup() -> None:
    printed = render_human(hostile.poisoned_single("[bold red]x[/bold red] :smile:"), TerminalOptions(width=200))
    assert "[bold red]x[/bold red] :smile:" in printed


@each_text
def test_terminal_lines_fit(text: str) -> None:
    printed = render_human(hostile.poisoned(text), TerminalOptions(width=72, verbose=True))
    assert max(map(len, printed.splitlines())) <= 72


@each_text
def test_github_log_has_only_our_commands(text: str) -> None:
    printed = github.render(hostile.poisoned(text))
    head, *lines = printed.splitlines()
    token = re.fullmatch(r"::stop-commands::([0-9a-f]{64})", head)
    assert token
    end = lines.index(f"::{token[1]}::")
    assert token[1] not in "".join(lines[:end])
    for command in lines[end + 1 :]:
        assert re.match(r"::(error|warning|notice) (?:\w+=[^:,]*,)*title=[^:,]*::", command)


def test_annotations_keep_the_text() -> None:
    (first, *_) = github.render_annotations(hostile.poisoned_single("100%, a: b\nc")).splitlines()
    assert "file=100%25%2C a%3A b\\nc/100%25%2C a%3A b\\nc," in first
    assert first.endswith("::100%25, a: b\\nc")


class _Page(HTMLParser):
    """Elements, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {(name, value or "") for name, value in attrs}

    def handle_data(self, data: str) -> None:
        self.words += data


@each_text
def test_html_has_the_same_elements_whatever_the_text(text: str) -> None:
    plain, page = _Page(html.render(hostile.poisoned("plain"))), _Page(html.render(hostile.poisoned(text)))
    assert page.tags <= plain.tags
    assert {name for name, _ in page.attributes} <= {name for name, _ in plain.attributes}
    assert not {name for name, _ in page.attributes if name.startswith("on") or name in ("src", "style", "srcset")}
    links = {value for name, value in page.attributes if name == "href"}
    assert all(re.match(r"#s\d|https://github\.com/openai/parameter-golf", link) for link in links)
    if text.strip() and len(text) < 80:
        assert printable(text) in page.words


def test_html_loads_and_runs_nothing() -> None:
    page = html.render(hostile.poisoned("x"))
    assert "default-src 'none'; style-src 'sha256-" in page
    assert "<script" not in page
    assert not re.search(r"url\((?!#)|@import|<link|<iframe|<object|<img", page)


@each_text
def test_terminal_picture_is_well_formed(text: str) -> None:
    picture = export_svg(hostile.poisoned_single(text))
    ElementTree.fromstring(picture)
    assert not re.search(r"url\((?!#)|@font-face|href=|<script|<image", re.sub(r">[^<]*</text>", "", picture))


def _inline(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from token.children or ()


_OUR_HTML = re.compile(
    r"<!-- -->|</?code>|</?details>|</?summary>|</?sub>|<details><summary>[\w ,]+</summary>\n*|</details>\n*|<sub>.*</sub>\n*"
)
_LIVE = re.compile(r"@[\w-]|#\d|https?://|www\.", re.IGNORECASE)


@each_text
@pytest.mark.parametrize("full", [False, True])
def test_markdown_has_no_foreign_elements(text: str, full: bool) -> None:
    """Parsed as GitHub does: no links, images or HTML but ours, and no text that GitHub turns into links or mentions."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    page = markdown.render(hostile.poisoned(text), full=full)
    plain = markdown.render(hostile.poisoned("plain"), full=full)
    tokens = list(_inline(parser.parse(page)))
    assert {token.type for token in tokens} <= {token.type for token in _inline(parser.parse(plain))} | {
        "html_inline",
        "code_inline",
        "em_open",
        "em_close",
    }
    for token in tokens:
        if token.type in ("html_inline", "html_block"):
            assert _OUR_HTML.fullmatch(token.content) or token.content.startswith(("<details>", "</details>", "\n<sub>", "<sub>"))
        if token.type == "link_open":
            assert full
            assert str(token.attrs["href"]).startswith("https://github.com/openai/parameter-golf")
    if not full:
        code_depth = 0
        for token in tokens:
            code_depth += {"<code>": 1, "</code>": -1}.get(token.content, 0) if token.type == "html_inline" else 0
            if token.type == "text" and not code_depth:
                assert not _LIVE.search(token.content)


@each_text
def test_markdown_tables_keep_their_shape(text: str) -> None:
    page = markdown.render(hostile.poisoned(text))
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    row: list[str] = []
    widths: set[int] = set()
    for token in parser.parse(page):
        if token.type == "tr_open":
            row = []
        elif token.type in ("td_open", "th_open"):
            row.append(token.type)
        elif token.type == "tr_close":
            widths.add(len(row))
    assert widths <= {3, 5, 9}


@each_text
def test_escapes_round_trip_in_markdown(text: str) -> None:
    """What a reader sees is the printable text, in prose, in code spans and in cells."""
    parser = MarkdownIt("commonmark", {"html": True}).enable("strikethrough")
    shown = printable(text)
    for escaped in (prose(text), code(text), cell(text, limit=MESSAGE_LIMIT)):
        tokens = parser.parseInline(f"x {escaped}")[0].children or []
        assert {token.type for token in tokens} <= {"text", "text_special", "html_inline", "code_inline"}
        seen = "".join(token.content for token in tokens if token.type != "html_inline").removeprefix("x ")
        assert seen.strip() == (shown.strip() or ("–" if escaped == "–" else ""))


@each_text
def test_json_carries_the_text(text: str) -> None:
    printed = json_report.render(hostile.poisoned_single(text))
    submission = json.loads(printed)["submissions"][0]
    assert printed.isascii()
    if not re.search("[\ud800-\udfff]", text):
        assert submission["path"] == text
        assert submission["findings"][0]["locations"][0]["excerpt"] == text
    else:
        assert "\\x" in submission["path"] or "\\u" in submission["path"]


@each_text
def test_sarif_is_ascii_and_links_nowhere(text: str) -> None:
    printed = sarif.render(hostile.poisoned(text))
    assert printed.isascii()
    for result in json.loads(printed)["runs"][0]["results"]:
        assert "](" not in result["message"]["text"]
