"""Sizes that GitHub and people can take, and nothing dropped without a word."""

from __future__ import annotations

import gzip
import json
import string
from dataclasses import replace
from itertools import islice, product

from verifier.evidence import Location
from verifier.report import github, html, markdown, sarif
from verifier.report.human import TerminalOptions, render_human
from verifier.report.model import Curve, Report
from verifier.rule import Outcome

from . import sample


def crowded(count: int, excerpt: str = "x" * 200) -> Report:
    """A submission with `count` fails and as many reviews, each with its own words."""
    base = sample.failing_submission()
    words = islice(map("".join, product(string.ascii_letters, repeat=3)), count)
    findings = []
    for number, word in enumerate(words):
        at = Location(f"log_{word}.txt", number + 1, excerpt=f"{word} {excerpt}")
        findings.append(sample.finding("TIM003", Outcome.FAIL, f"fail {word}", at))
        findings.append(sample.finding("CLM002", Outcome.REVIEW, f"review {word}", at))
    return sample.report(replace(base, findings=tuple(findings)))


def test_sarif_keeps_the_worst_5000() -> None:
    run = json.loads(sarif.render(crowded(4_000)))["runs"][0]
    kinds = [result["kind"] for result in run["results"]]
    assert len(kinds) == 5_000
    assert kinds[:4_000] == ["fail"] * 4_000
    left_out = run["properties"]["resultsLeftOut"]
    assert left_out > 3_000
    assert f"{left_out:,} results left out" in run["invocations"][0]["toolExecutionNotifications"][-1]["message"]["text"]


def test_sarif_stays_below_10_mb() -> None:
    text = sarif.render(crowded(1_500, "é" * 1_900))
    assert len(gzip.compress(text.encode())) < 10_000_000
    assert len(text) < 10_000_000
    assert json.loads(text)["runs"][0]["properties"]["resultsLeftOut"] > 0


def test_sarif_counts_unread_files_beyond_a_thousand() -> None:
    base = sample.failing_submission()
    run = json.loads(sarif.render(sample.report(replace(base, problems=base.problems * 800))))["runs"][0]
    notes = run["invocations"][0]["toolExecutionNotifications"]
    assert len(notes) == 1_001
    assert "more files or rules could not be checked" in notes[-1]["message"]["text"]


def test_ten_annotations_per_level_and_the_rest_counted() -> None:
    lines = github.render_annotations(crowded(40)).splitlines()
    errors = [line for line in lines if line.startswith("::error ")]
    warnings = [line for line in lines if line.startswith("::warning ")]
    assert len(errors) == len(warnings) == 10
    assert "more of this level" not in "".join(errors[:9])
    # 40 fails of one rule and the reasons of SIG003 (record); 40 reviews and CLM007 (warning).
    assert "(+31 more of this level" in errors[9]
    assert "(+31 more of this level" in warnings[9]


def test_comments_fit_and_say_what_is_missing() -> None:
    for report in (crowded(3_000), sample.report(*(sample.failing_submission(),) * 60)):
        page = markdown.render(report)
        assert len(page.encode()) <= markdown.COMMENT_LIMIT
        if report.submissions[1:]:
            assert "further parts did not fit" in page
        assert page.count("<details>") == page.count("</details>")


def test_summaries_fit() -> None:
    page = github.render_summary(sample.report(*(sample.failing_submission(),) * 200))
    assert len(page.encode()) <= 1_000_000
    assert "further parts did not fit" in page


def test_a_small_limit_still_tells_the_verdict() -> None:
    page = markdown.render(sample.single(), limit=600)
    assert len(page.encode()) <= 600
    assert "Ineligible" in page


def test_pages_of_large_batches_stay_small() -> None:
    page = html.render(sample.report(*(sample.failing_submission(),) * 300))
    assert page.count("<article") == html.DETAILED
    assert "Details of 200 submissions" in page
    assert page.count("<figure>") == 6 * html.PLOTTED


def test_compact_terminal_page_counts_what_it_leaves_out() -> None:
    page = render_human(crowded(500), TerminalOptions())
    assert len(page.splitlines()) < 120
    assert page.count("+497 more (-v shows them)") == 2
    assert "fail zzz" not in page
    assert len(render_human(crowded(500), TerminalOptions(verbose=True)).splitlines()) > 2_000


def test_long_curves_are_thinned_and_keep_their_spikes() -> None:
    points = tuple((step, 100.0 if step != 7_777 else 900.0) for step in range(20_000))
    base = sample.failing_submission()
    page = html.render(sample.report(replace(base, curves=(Curve("step_ms", 1, "a.log", points),))))
    assert len(page) < 60_000
    odd = (*points[:50], (50, float("nan")), (51, float("inf")), (-4, 1.0))
    assert "nan" not in html.render(sample.report(replace(base, curves=(Curve("step_ms", 1, "a.log", odd),))))
