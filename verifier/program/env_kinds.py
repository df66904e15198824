"""What a script makes of a variable it reads: the type, and the name it is assigned to."""

from __future__ import annotations

import ast
import re

from verifier.program.env_lookups import Environment, is_getter, literal_number

_CONVERSIONS = {"int": "int", "float": "float", "str": "str", "Path": "str", "tuple": "list", "list": "list", "set": "list"}
_KEEPS_TEXT = frozenset(("strip", "lower", "upper", "rstrip", "lstrip", "casefold", "removeprefix", "removesuffix", "replace"))


def surrounding_kind(environment: Environment, node: ast.expr) -> tuple[str, ast.expr | None]:
    """What the expressions around a lookup make of it, and a fallback given with `or`."""
    fallback: ast.expr | None = None
    current: ast.AST = node
    for _ in range(12):
        parent = environment.tree.parents.get(id(current))
        match parent:
            case ast.Call(func=ast.Name(id=called), args=args) if current in args:
                if called == "bool":
                    return "bool-trap", fallback
                if called == "int":
                    return ("bool" if _inside_bool(environment, parent) else "int"), fallback
                if called in _CONVERSIONS:
                    return _CONVERSIONS[called], fallback
                if current is args[-1] and is_getter(environment, parent.func) and len(args) > 1:
                    current = parent  # the fallback of another lookup
                    continue
                return kind_by_name(called), fallback
            case ast.Call(func=ast.Attribute(attr=called), args=args) if current in args:
                if is_getter(environment, parent.func):
                    current = parent
                    continue
                return ("str" if called in ("join", "Path", "glob") else kind_by_name(called)), fallback
            case ast.Attribute(attr=method):
                outer = environment.tree.parents.get(id(parent))
                if isinstance(outer, ast.Call) and method in _KEEPS_TEXT:
                    current = outer
                    continue
                if method == "split":
                    return "list", fallback
                return ("bool" if method in ("startswith", "isdigit") else "str"), fallback
            case ast.Compare():
                return _comparison_kind(parent, current), fallback
            case ast.BoolOp(op=ast.Or(), values=values) if current is values[0]:
                fallback = fallback if fallback is not None else values[-1]
                current = parent
            case ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
                return "bool-trap", fallback
            case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test) | ast.Assert(test=test) if test is current:
                return "bool-trap", fallback
            case ast.IfExp() | ast.NamedExpr() | ast.Starred():
                current = parent
            case _:
                return "str", fallback
    return "other", fallback


def _inside_bool(environment: Environment, node: ast.expr) -> bool:
    """`bool(int(x))`, `int(x) == 1`, `not int(x)`."""
    parent = environment.tree.parents.get(id(node))
    match parent:
        case ast.Call(func=ast.Name(id="bool")):
            return True
        case ast.Compare(ops=[ast.Eq() | ast.NotEq()], comparators=[ast.Constant(value=0 | 1)]):
            return True
        case ast.UnaryOp(op=ast.Not()):
            return True
    return False


def _comparison_kind(node: ast.Compare, current: ast.AST) -> str:
    other = node.comparators[0] if current is node.left else node.left
    if isinstance(other, ast.Constant) and other.value is None:
        return "other"
    if isinstance(node.ops[0], ast.Eq | ast.NotEq | ast.In | ast.NotIn):
        values = other.elts if isinstance(other, ast.Tuple | ast.List | ast.Set) else [other]
        words = {str(value.value).lower() for value in values if isinstance(value, ast.Constant)}
        truthy = {"1", "0", "true", "false", "yes", "no", "on", "off", "y", "n", "t", "f", ""}
        return "bool" if words and words <= truthy else "str"
    return "other"


_NAMED_KIND = re.compile(
    r"(?:^|[^a-z]|env|get|parse|read|to|2)(list|csv|split|set|tuple|layers|loads|bool|flag|float|int)s?(?:$|[^a-z])"
)


def kind_by_name(name: str) -> str:
    """Kind by the name of a local conversion function (`_parse_bool`, `str2bool`, `parse_int_list`); the last word decides."""
    words = _NAMED_KIND.findall(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    if not words:
        return "other"
    return {"bool": "bool", "flag": "bool", "float": "float", "int": "int"}.get(words[-1], "list")


def kind_of_cast(node: ast.expr) -> str:
    named = node.id if isinstance(node, ast.Name) else ""
    if named in ("int", "float", "str"):
        return named
    if named == "bool":
        return "bool-trap"
    lowered = ast.unparse(node).lower() if isinstance(node, ast.Lambda | ast.Attribute) else named.lower()
    return "bool" if "bool" in lowered else "int" if "int(" in lowered else "float" if "float(" in lowered else "other"


def kind_of_default(node: ast.expr | None) -> str:
    value = node.value if isinstance(node, ast.Constant) else None
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float"
    number = literal_number(node) if node is not None else None
    return "str" if number is None else type(number).__name__


def assigned_name(environment: Environment, node: ast.expr) -> str:
    """The name, attribute, keyword or key that the value is given."""
    current: ast.AST = node
    inner = current
    for _ in range(24):
        parent = environment.tree.parents.get(id(current))
        match parent:
            case ast.keyword(arg=name) if name is not None:
                outer = environment.tree.parents.get(id(parent))
                # default=... of a field or option: the name stands further out
                if name not in ("default", "default_factory", "key"):
                    return name
                if outer is None:
                    return ""
                current = outer
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)) if len(targets) == len(values):
                return _target_name(targets[values.index(inner)]) if inner in values else ""
            case (
                ast.Assign(targets=[target])
                | ast.AnnAssign(target=target)
                | ast.AugAssign(target=target)
                | ast.NamedExpr(target=target)
            ):
                return _target_name(target)
            case ast.Dict(keys=keys, values=values) if current in values:
                key = keys[values.index(current)]
                return key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else ""
            case None | ast.stmt():
                return ""
            case _:
                inner, current = current, parent
    return ""


def _target_name(target: ast.expr) -> str:
    if isinstance(target, ast.Name):
        return target.id
    if isinstance(target, ast.Attribute):
        return target.attr
    if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant) and isinstance(target.slice.value, str):
        return target.slice.value
    return ""
