"""The rewrites keep what a program computes, and do rewrite it."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path
from random import Random

import pytest

from fixtures.record import Record
from fixtures.script import TRAIN_GPT
from tests.program.judge import judge
from tests.program.mutate import MUTATIONS, apply, mutate, mutate_record, plan
from verifier.rule import Outcome

ACCOUNT = """
import math as m
from dataclasses import dataclass
from functools import partial
TOTAL = 0

@dataclass
class Point:
    x: float
    y: float = 2.0

class Account:
    rate = 3
    def __init__(self, start, step=1):
        self.balance_left = start
        self.stride = step
    def advance(self, times):
        for _ in range(times):
            self.balance_left += self.stride * self.rate
        return self.balance_left
    @property
    def doubled(self):
        return 2 * self.balance_left

class Savings(Account):
    def advance(self, times):
        before = super().advance(times)
        return before + self.bonus(extra=times)
    def bonus(self, extra):
        return extra % 5

def bump(by):
    global TOTAL
    TOTAL += by
    return TOTAL

def area(width, height):
    base = width * height
    scale = m.sqrt(base + 1)
    return base * scale

def describe(**settings):
    return sorted(settings.items())

def compute(n):
    account = Savings(start=n, step=2)
    first = account.advance(3)
    second = account.advance(times=n % 4)
    point = Point(x=first, y=second)
    size = area(first, n + 1)
    offset = bump(n) + TOTAL - bump(1)
    half = partial(area, height=2)
    text = describe(width=n, height=size)
    return [first, second, account.doubled, point.x, point.y, size, offset, half(3), text, TOTAL]
"""
FLOW = """
import os
MODE = os.environ.get("A_NAME_NOBODY_SETS", "7")

def fib(n):
    a, b = 0, 1
    while n > 0:
        a, b = b, a + b
        n -= 1
    return a

def classify(n):
    if n % 15 == 0:
        label = "both"
    elif n % 5 == 0:
        label = "five"
    elif n % 3 == 0:
        label = "three"
    else:
        label = str(n)
    return label if n else "none"

def counters():
    count = 0
    def up(by=1):
        nonlocal count
        count += by
        return count
    return up

def evens(limit):
    for value in range(limit):
        if value % 2:
            continue
        yield value

def guarded(values):
    total, bad = 0, []
    for index, value in enumerate(values):
        try:
            total += 10 // value
        except ZeroDivisionError as failure:
            bad.append((index, type(failure).__name__))
    return total, bad

def shape(thing):
    match thing:
        case [first, *rest]:
            return first, len(rest)
        case {"key": found, **others}:
            return found, sorted(others)
        case _:
            return None

def compute(n):
    up = counters()
    sums = [fib(k) + up() for k in range(n % 7)]
    total = up(n) + sum(sums) * 2 - len(sums)
    words = {classify(k): k for k in range(n)}
    table = []
    table.append(total)
    other = max(total, n) - min(3, n)
    third = int(MODE) + 1
    table.append(other + third)
    mean = sum(table) / len(table)
    squares = sorted((k * k for k in evens(n)), key=lambda value: -value)
    deep = [fib(k) for k in range(5) if (last := k) > 1] + [last]
    return sums, total, words, table, mean, squares, guarded([n, 0, 2]), shape([n, 2, 3]), shape({"key": n, "b": 1}), deep
"""
TOYS = {"account": ACCOUNT, "flow": FLOW}
INPUTS = (0, 1, 5, 12)


def results(source: str, path: Path) -> list[object]:
    """What the toy computes, and how it prints: both are compared."""
    path.write_text(source)
    compute = runpy.run_path(str(path))["compute"]
    return [repr(compute(number)) for number in INPUTS]


@pytest.mark.parametrize("name", TOYS)
@pytest.mark.parametrize("block", range(4))
def test_a_rewritten_program_computes_the_same(name: str, block: int, tmp_path: Path) -> None:
    expected = results(TOYS[name], tmp_path / "toy.py")
    for seed in range(block * 12, block * 12 + 12):
        source = mutate(TOYS[name], seed, frozenset({"compute"}))
        assert results(source, tmp_path / "toy.py") == expected, (plan(seed), source)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_every_rewrite_finds_something_to_do(mutation: str) -> None:
    edits = [MUTATIONS[mutation](ast.parse(text), Random(seed), frozenset()) for text in TOYS.values() for seed in range(5)]
    assert sum(edits) >= 2


def test_a_seed_is_a_program() -> None:
    assert mutate(TRAIN_GPT, 31) == mutate(TRAIN_GPT, 31) != mutate(TRAIN_GPT, 32)


@pytest.mark.parametrize("seed", range(0, 60, 3))
def test_a_training_script_stays_a_training_script(seed: int) -> None:
    changed = ast.parse(mutate(TRAIN_GPT, seed))

    def strings(tree: ast.AST) -> set[str]:
        return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}

    assert strings(ast.parse(TRAIN_GPT)) <= strings(changed)
    compile(changed, "train_gpt.py", "exec")


def test_new_names_reach_everything_but_what_others_name() -> None:
    changed = apply(TRAIN_GPT, ["rename"], 5, frozenset({"Model"}))
    words = set(re.findall(r"\w+", changed))
    assert words.isdisjoint({"load_shard", "byte_table", "leading", "ttt_enabled", "train_seq_len", "np", "args"})
    assert {"Model", "from_numpy", "cross_entropy", "TTT_ENABLED", "forward", "dtype", "reduction", "state_dict"} <= words
    assert ".functional as F" not in changed


@pytest.mark.parametrize("seed", [*range(len(MUTATIONS)), 20, 21])
def test_the_clean_record_stays_clean(seed: int) -> None:
    clean, rewritten = (
        {result.code: result.outcome for result in judge(record).rules} for record in (Record(), mutate_record(Record(), seed))
    )
    for code in ("EVA002", "EVA004"):  # compute windows from a loop's form, which a rewrite may put out of their reach
        if rewritten[code] is Outcome.NOT_AVAILABLE:
            rewritten[code] = clean[code]
    assert clean == rewritten
