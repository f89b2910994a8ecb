"""Arithmetic as people write it, exact, without ever running what was written. Pure."""

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from fractions import Fraction

MAX_CHARS = 200
_MAX_DEPTH = 40
_MAX_BITS = 4_096
_MAX_EXPONENT = 1_000
_WRITTEN_AS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-"})
_ALLOWED = re.compile(r"[0-9A-Za-z_.,+\-*/%() \t]*")
_NO_NUMBER = re.compile(r"(?<![A-Za-z_])[0-9][0-9.]*(?![eE][+-]?[0-9])[A-Za-z_]")

_OPERATORS: Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda one, other: Fraction(one // other),
    ast.Mod: operator.mod,
}
_CONSTANTS = {"pi": Fraction(math.pi), "e": Fraction(math.e)}
_FUNCTIONS: Mapping[str, Callable[..., Fraction]] = {
    "abs": abs,
    "min": min,
    "max": max,
    "round": lambda value, places=Fraction(0): Fraction(round(value, _whole(places))),
    "floor": lambda value: Fraction(math.floor(value)),
    "ceil": lambda value: Fraction(math.ceil(value)),
    "sqrt": lambda value: _root(value),
}


class ArithmeticProblem(ValueError):
    """It cannot be calculated. The message says why, in words for whoever wrote it."""


def calculate(expression: str) -> int | float:
    """The value of ``+ - * / // % **`` (or ``^``), parentheses, ``pi``, ``e`` and a few functions.

    Numbers are exact fractions of at most 4,096 bits until the end, so ``0.1 + 0.2`` is 0.3; what is no integer is then
    given with 15 digits. Raises ArithmeticProblem.
    """
    text = expression.translate(_WRITTEN_AS).replace("^", "**").strip()
    if len(text) > MAX_CHARS:
        raise ArithmeticProblem(f"an expression has at most {MAX_CHARS} characters")
    if not _ALLOWED.fullmatch(text) or _NO_NUMBER.search(text):
        raise ArithmeticProblem("only numbers, + - * / // % ** and ( ) can be calculated")
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ArithmeticProblem("this is not a complete expression") from None
    try:
        return _shown(_value(tree.body, _MAX_DEPTH))
    except ZeroDivisionError:
        raise ArithmeticProblem("division by zero") from None
    except OverflowError:
        raise ArithmeticProblem("the numbers are too large") from None


def _value(node: ast.expr, depth: int) -> Fraction:
    if depth == 0:
        raise ArithmeticProblem("the expression is nested too deeply")
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _literal(number)
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand, depth - 1)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, depth - 1)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left, depth - 1), _value(right, depth - 1))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _small(_OPERATORS[type(op)](_value(left, depth - 1), _value(right, depth - 1)))
        case ast.Call(func=ast.Name(id=name), args=[_, *_] as args, keywords=[]) if name in _FUNCTIONS:
            return _applied(name, [_value(one, depth - 1) for one in args])
        case _:
            raise ArithmeticProblem("only numbers, + - * / // % ** and ( ) can be calculated")


def _literal(number: int | float) -> Fraction:
    if not math.isfinite(number):
        raise ArithmeticProblem("the numbers are too large")
    return _small(Fraction(repr(number)))  # as it was written: 0.1 is a tenth


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        if base < 0:
            raise ArithmeticProblem("a root of a negative number is no number here")
        return _literal(float(base) ** float(exponent))
    times = abs(exponent.numerator)
    if times > _MAX_EXPONENT or times * _bits(base) > _MAX_BITS:  # before it is multiplied out
        raise ArithmeticProblem("the numbers are too large")
    return base ** int(exponent)


def _applied(name: str, values: list[Fraction]) -> Fraction:
    try:
        return _small(Fraction(_FUNCTIONS[name](*values)))
    except TypeError:
        raise ArithmeticProblem(f"{name} takes another number of values") from None


def _whole(places: Fraction) -> int:
    if places.denominator != 1 or abs(places) > 30:
        raise ArithmeticProblem("round takes a whole number of places, at most 30")
    return int(places)


def _root(value: Fraction) -> Fraction:
    if value < 0:
        raise ArithmeticProblem("a root of a negative number is no number here")
    exact = Fraction(math.isqrt(value.numerator), math.isqrt(value.denominator))
    return exact if exact**2 == value else _literal(math.sqrt(value))


def _small(value: Fraction) -> Fraction:
    if _bits(value) > _MAX_BITS:
        raise ArithmeticProblem("the numbers are too large")
    return value


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _shown(value: Fraction) -> int | float:
    return value.numerator if value.denominator == 1 else float(f"{float(value):.15g}")
