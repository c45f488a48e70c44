"""Conditions as text, such as `hour < 6 or header['x-tier'] == 'gold'`: read by Python's parser, with few words.

What may stand there: fields of the row by name, `row['any name']`, `header['x-tier']`, `key`, `time.hour` and its kin;
numbers, texts, True, False; comparisons, `in`, `is None`; `and`, `or`, `not`; arithmetic with numbers; tuples, lists
and sets of constants. No calls, no other attributes, nothing else: the text cannot do anything but compare.

Missing values follow SQL: a comparison with a value that is not there is neither true nor false, and so is its
negation; only a condition that is true fires. `x is None` asks whether a value is missing. So each condition is
translated into two: one that says when it is true, one that says when it is false.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from numbers import Number
from typing import Any, NoReturn

from hansang.errors import UsageError
from hansang.nodes.rules.source import Source, time_source

COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn)
ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod)
PRESENCE = {ast.Is: True, ast.Eq: True, ast.IsNot: False, ast.NotEq: False}
COLLECTIONS = (ast.Tuple, ast.List, ast.Set)
SHORT, LONGEST = 40, 200
BUILTINS = {"zip": zip, "range": range}


def number(value: Any) -> Any:
    """Give a number; arithmetic with anything else would let a row ask for a text as long as memory."""
    if not isinstance(value, Number):
        raise TypeError(f"{type(value).__name__} is not a number")
    return value


@dataclass(slots=True)
class Reader:
    """Translates conditions of one switch; `names` holds what they look at, each once, and its variable."""

    owner: str
    names: dict[Source, str] = field(default_factory=dict)
    text: str = ""

    def read(self, text: str) -> tuple[ast.expr, ast.expr]:
        """Give a condition as two expressions, for true and for false; a `UsageError` points at what cannot be."""
        self.text = text.strip()
        if not self.text:
            raise UsageError(f"{self.owner}: a condition is empty; give text such as 'age < 18'")
        try:
            tree = ast.parse(self.text, mode="eval").body
            return self.holds(tree, True), self.holds(tree, False)
        except SyntaxError as error:
            start = error.offset - 1 if error.offset else len(self.text)
            self.refuse(error.msg, error.lineno or 1, start, (error.end_offset or 0) - 1)
        except (ValueError, RecursionError, MemoryError) as error:
            self.refuse(f"it cannot be parsed: {error}", 1, 0, 0)

    # --- conditions: true, false, or neither ---

    def holds(self, tree: ast.expr, wanted: bool) -> ast.expr:
        """Give the expression that is true when a condition has this value for sure."""
        match tree:
            case ast.BoolOp(op, values):
                both = isinstance(op, ast.And) is wanted
                return ast.BoolOp(ast.And() if both else ast.Or(), [self.holds(value, wanted) for value in values])
            case ast.UnaryOp(ast.Not(), operand):
                return self.holds(operand, not wanted)
            case ast.Compare():
                return self.compare(tree, wanted)
            case ast.Constant(bool() as value):
                return ast.Constant(value is wanted)
            case ast.Name() | ast.Subscript() | ast.Attribute():
                return self.guarded(self.value(tree), wanted)
        self.refuse_at(tree, "this is not a condition; compare it with something")

    def compare(self, tree: ast.Compare, wanted: bool) -> ast.expr:
        """Translate a comparison."""
        if len(tree.ops) == 1:
            sides = [tree.left, tree.comparators[0]]
            none = [isinstance(side, ast.Constant) and side.value is None for side in sides]
            if any(none) and type(tree.ops[0]) in PRESENCE:
                value = self.value(sides[none.index(False)]) if not all(none) else ast.Constant(None)
                missing = PRESENCE[type(tree.ops[0])] is wanted
                return ast.Compare(value, [ast.Is() if missing else ast.IsNot()], [ast.Constant(None)])
        for op, right in zip(tree.ops, tree.comparators, strict=True):
            if not isinstance(op, COMPARISONS):
                self.refuse_at(tree, "'is' asks for None only; compare values with ==")
            if isinstance(right, COLLECTIONS) and not isinstance(op, ast.In | ast.NotIn):
                self.refuse_at(right, "a list stands only after 'in'")
        right_hand = [self.value(right, isinstance(right, COLLECTIONS)) for right in tree.comparators]
        return self.guarded(ast.Compare(self.value(tree.left), tree.ops, right_hand), wanted)

    def guarded(self, tree: ast.expr, wanted: bool) -> ast.expr:
        """Let an expression count only where all its values are there."""
        used = dict.fromkeys(node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id != "number")
        there: list[ast.expr] = [
            ast.Compare(ast.Name(name, ast.Load()), [ast.IsNot()], [ast.Constant(None)]) for name in used
        ]
        return (
            ast.BoolOp(ast.And(), [*there, tree if wanted else ast.UnaryOp(ast.Not(), tree)])
            if there
            else (tree if wanted else ast.UnaryOp(ast.Not(), tree))
        )

    # --- values ---

    def value(self, tree: ast.expr, many: bool = False) -> ast.expr:
        """Translate a value: a constant, something that a rule looks at, or arithmetic."""
        match tree:
            case ast.Constant(str() | int() | float()):
                return tree
            case ast.Tuple(items) | ast.List(items) | ast.Set(items) if many:
                return self.collection(tree, items)
            case ast.Name() | ast.Subscript() | ast.Attribute():
                return ast.Name(self.names.setdefault(self.source(tree), f"v{len(self.names)}"), ast.Load())
            case ast.UnaryOp(ast.USub() | ast.UAdd() as op, operand):
                return ast.UnaryOp(op, self.operand(operand))
            case ast.BinOp(left, op, right) if isinstance(op, ARITHMETIC):
                return ast.BinOp(self.operand(left), op, self.operand(right))
            case ast.Call():
                self.refuse_at(tree, "calls are not allowed; give a function of the row as the rule instead")
            case ast.Constant(None):
                self.refuse_at(tree, "None is compared only by 'is None' and 'is not None'")
            case ast.Compare() | ast.BoolOp() | ast.UnaryOp(ast.Not()):
                self.refuse_at(tree, "a condition is not a value; join conditions with and, or, not")
        self.refuse_at(tree, "this is not allowed here")

    def operand(self, tree: ast.expr) -> ast.expr:
        """Translate a value that must be a number."""
        if isinstance(tree, ast.Constant):
            if not isinstance(tree.value, int | float):
                self.refuse_at(tree, "arithmetic is for numbers")
            return tree
        value = self.value(tree)
        is_name = isinstance(value, ast.Name)
        return ast.Call(ast.Name("number", ast.Load()), [value], []) if is_name else value

    def collection(self, tree: ast.expr, items: list[ast.expr]) -> ast.expr:
        """Translate the constants after `in`."""
        if not items:
            self.refuse_at(tree, "the list is empty")
        constants = [self.value(item) for item in items]
        for item, constant in zip(items, constants, strict=True):
            if any(isinstance(part, ast.Name) for part in ast.walk(constant)):
                self.refuse_at(item, "only constants stand in a list")
        return ast.Tuple(constants, ast.Load())

    def source(self, tree: ast.expr) -> Source:
        """Read what a name looks at."""
        match tree:
            case ast.Name("header" | "row" | "time" as name):
                how = {"header": "header['x-tier']", "row": "row['a field']", "time": "time.hour"}[name]
                self.refuse_at(tree, f"{name} is not a field; write {how}, or row['{name}'] for a field of this name")
            case ast.Name("key"):
                return Source("key", "key")
            case ast.Name(name) if not name.startswith("_"):
                return Source("field", name)
            case ast.Subscript(ast.Name("header"), ast.Constant(str() as name)):
                return Source("header", name.strip().lower())
            case ast.Subscript(ast.Name("row"), ast.Constant(str() as name)) if not name.startswith("__"):
                return Source("field", name)
            case ast.Attribute(ast.Name("time"), part):
                try:
                    return time_source(part, self.owner)
                except UsageError as error:
                    self.refuse_at(tree, str(error).partition(": ")[2])
        self.refuse_at(tree, "this is not allowed; what there is: fields, row['…'], header['…'], key and time.hour")

    # --- what is wrong, and where ---

    def refuse_at(self, tree: ast.expr, why: str) -> NoReturn:
        """Refuse a part of the text."""
        line = self.text.encode().splitlines()[tree.lineno - 1]  # Python counts in bytes here
        start, end = len(line[: tree.col_offset].decode()), len(line[: tree.end_col_offset].decode())
        self.refuse(why, tree.lineno, start, end if tree.end_lineno == tree.lineno else start)

    def refuse(self, why: str, line: int, start: int, end: int) -> NoReturn:
        """Refuse the text, with the place under its line."""
        lines = self.text.splitlines() or [""]
        mark = " " * max(start, 0) + "^" * max(end - start, 1)
        shown = lines[min(line, len(lines)) - 1]
        place = f"\n    {shown}\n    {mark}" if len(shown) <= LONGEST else f" (near {start + 1} in {shown[:SHORT]!r}…)"
        raise UsageError(f"{self.owner}: a condition cannot be used: {why}{place}") from None
