"""Other programs that compute the same: what a rule says about one it must say about all.

`mutate(source, seed)` is deterministic. The first seeds apply one rewrite each, later ones a random sequence.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from random import Random

from fixtures.record import Record
from tests.program.mutators.order import reorder, swap_branches
from tests.program.mutators.outline import inline, outline
from tests.program.mutators.rename import rename
from tests.program.mutators.scopes import Keep
from tests.program.mutators.split import split
from tests.program.mutators.wrap import add_decoys, box

type Mutation = Callable[[ast.Module, Random, Keep], int]

MUTATIONS: dict[str, Mutation] = {
    "rename": rename,
    "outline": outline,
    "inline": inline,
    "split": split,
    "box": box,
    "swap_branches": swap_branches,
    "reorder": reorder,
    "add_decoys": add_decoys,
}


def plan(seed: int) -> tuple[str, ...]:
    """The rewrites that a seed stands for, in order."""
    names = list(MUTATIONS)
    if seed < len(names):
        return (names[seed],)
    rng = Random(seed)
    return tuple(rng.sample(names, rng.randrange(3, len(names) + 1)))


def apply(source: str, mutations: Sequence[str], seed: int, keep: Keep = frozenset()) -> str:
    """The source after these rewrites. Raises `SyntaxError` when it does not parse before."""
    tree = ast.parse(source)
    for position, name in enumerate(mutations):
        MUTATIONS[name](tree, Random(f"{seed}/{position}/{name}"), keep)
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def mutate(source: str, seed: int, keep: Keep = frozenset()) -> str:
    return apply(source, plan(seed), seed, keep)


def mutate_record(record: Record, seed: int) -> Record:
    """The record with another script, also where its files quote the script as a whole.

    Names that the other files mention stay: logs dump settings by name, modules import them.
    """
    quoted = "\n".join(record.script.splitlines()).encode()
    others = b"\n".join(data.replace(quoted, b"") for data in record.extra.values()).decode("utf-8", "replace")
    texts = [*record.readme.values(), *(line for _, line in record.log_lines), str(record.claim), others]
    keep = frozenset(word for text in texts for word in re.findall(r"[A-Za-z_]\w*", text))
    script = mutate(record.script, seed, keep)
    requoted = "\n".join(script.splitlines()).encode()
    extra = {path: data.replace(quoted, requoted) for path, data in record.extra.items()}
    return record.but(script=script, extra=extra)
