"""Reads literals out of untrusted text: numbers, texts, lists, tuples, dicts, `range` and `Genotype(...)`.

Nothing is evaluated. Three fences stand one behind the other: only known words, short numbers, quoted texts and
brackets may appear at all; brackets nest a few levels deep; and of the syntax tree only a handful of node types is
walked, everything else is refused.
"""

import ast
import re
import warnings
from collections.abc import Sequence

from search_spaces.genotype import MAX_BLOCKS
from search_spaces.notation_cells import check_length, is_integer, shown

MAX_NESTING = 8
MAX_NUMBER = 999
MAX_FILE_LENGTH = 200_000
MAX_RANGE = 2 * MAX_BLOCKS
GENOTYPE_FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
WORDS = ("Genotype", "range", *GENOTYPE_FIELDS)
TOKEN = re.compile(r"""(?P<text>'[^'\\\n]*'|"[^"\\\n]*")|(?P<word>\w+)|(?P<mark>[\[\](){}:,=])|\s+""")

Literal = int | str | list["Literal"] | dict[str, "Literal"]


def read_literal(text: str) -> Literal:
    """Returns the value that `text` writes down; tuples and ranges become lists, `Genotype(...)` its fields.

    Raises:
        ValueError: If `text` is over 20,000 characters, nests more than 8 brackets, or holds anything but literals;
            the message says what and where.
    """
    check_length(text)
    _check_tokens(text)
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else type(error).__name__
        raise ValueError(f"the notation is no literal: {reason}") from None
    return _value(tree.body)


def named_genotypes(text: str) -> dict[str, str]:
    """Returns by name the text of every `NAME = Genotype(...)` of a Python file such as DARTS's `genotypes.py`.

    `OTHER = NAME` gives a genotype a second name. Whatever else is in the file is passed over, nothing is evaluated,
    and the texts are yet to be read; what is no Python, or longer than 200,000 characters, has none.
    """
    found: dict[str, str] = {}
    if len(text) > MAX_FILE_LENGTH:
        return found
    try:
        with warnings.catch_warnings(action="ignore"):  # of the file's own code
            tree = ast.parse(text)
        for statement in tree.body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=ast.Name(id="Genotype")) as value):
                    found[name] = ast.unparse(value)
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Name(id=other)) if other in found:
                    found[name] = found[other]
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return {}
    return found


def _check_tokens(text: str) -> None:
    """Raises ValueError at the first token that no notation needs, so that the parser never sees one."""
    position = depth = 0
    while position < len(text):
        token = TOKEN.match(text, position)
        if token is None:
            raise ValueError(f"unexpected {shown(text[position])} at character {position}")
        word, mark = token["word"], token["mark"]
        if word and word not in WORDS and not re.fullmatch("[0-9]{1,3}", word):
            raise ValueError(
                f"unexpected {shown(word)} at character {position}; numbers up to {MAX_NUMBER} and the words "
                f"{', '.join(WORDS)} are understood"
            )
        depth += (mark in ("[", "(", "{")) - (mark in ("]", ")", "}"))
        if depth > MAX_NESTING:
            raise ValueError(f"more than {MAX_NESTING} brackets inside each other at character {position}")
        position = token.end()


def _value(node: ast.expr) -> Literal:
    match node:
        case ast.Constant(value=value) if isinstance(value, str) or is_integer(value):
            return value
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            return [_value(element) for element in elements]
        case ast.Dict(keys=keys, values=values):
            names = [None if key is None else _value(key) for key in keys]
            return _fields(list(zip(names, values, strict=True)))
        case ast.Call(func=ast.Name(id="range"), args=bounds, keywords=[]):
            return _range([_value(bound) for bound in bounds])
        case ast.Call(func=ast.Name(id="Genotype"), args=[], keywords=keywords):
            return _fields([(keyword.arg, keyword.value) for keyword in keywords])
    where = f"line {node.lineno}, column {node.col_offset}"
    raise ValueError(f"the notation is no literal: {type(node).__name__} at {where}")


def _fields(pairs: Sequence[tuple[Literal | None, ast.expr]]) -> dict[str, Literal]:
    fields: dict[str, Literal] = {}
    for name, value in pairs:
        if not isinstance(name, str):
            raise ValueError(f"a field must be named by a text, got {shown(name)} on line {value.lineno}")
        if name in fields:
            raise ValueError(f"the field {shown(name)} comes twice, again on line {value.lineno}")
        fields[name] = _value(value)
    return fields


def _range(bounds: Sequence[Literal]) -> list[Literal]:
    numbers = [bound for bound in bounds if is_integer(bound)]
    if len(numbers) != len(bounds) or len(numbers) not in (1, 2):
        raise ValueError(f"range takes one or two whole numbers, got {shown(list(bounds))}")
    values = range(*numbers)
    if len(values) > MAX_RANGE:
        raise ValueError(f"range gives {len(values)} numbers, more than {MAX_RANGE}")
    return list(values)
