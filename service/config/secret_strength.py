"""Estimates whether a secret can be guessed: samples of the documentation, words, keyboard rows, repetitions.

A secret's characters are counted without the parts that a guesser tries first. Each of these counts as one character:

    password      a common word, also as p@ssw0rd
    qwertz, 4567  three or more characters that are neighbours on a keyboard or in the alphabet
    aaa, abab     a repetition, beyond its first part

Blanks, dashes, dots and underscores do not count. What is left must hold `_MIN_BITS`: the number of characters, times
the bits of the kinds of characters that occur.
"""

import math
import re
from collections.abc import Iterator

MIN_LENGTH = 16
"""Shortest secret that a client or an operator sends."""
ADVICE = "generate one with `openssl rand -base64 32`"

_MIN_DISTINCT = 6
"""A random secret has at least this number of distinct characters."""
_MIN_BITS = 72.0
_PREFIX = re.compile(r"^(sk-gg-|sk-|gg-)")
_SAMPLE = re.compile(
    r"change.?(me|this|it)|replace.?(me|this)|placeholder|example|sample|insert|dummy|x{6}|\.\.\.|…|opens-only"
    r"|<[a-z][\w -]{3,}>|your.?(own.?)?(api.?)?(token|key|secret|password|license)"
    r"|3vXmQ0cWk4R8tY2nLz7b",
    re.IGNORECASE,
)
"""Texts of samples; the last one is the key in the picture of the README."""
_WORDS = re.compile(
    "password|passwd|passwort|pass|secret|administrator|admin|root|letmein|welcome|login|change|default|testing|test"
    "|demo|token|licence|license|api|key|gemini|gateway|google|openai|simulator|server|proxy|master|monkey|dragon"
    "|iloveyou|sunshine|princess|football|baseball|shadow|superman|trustno|hello|world|guest|access|private|public"
    "|internal|production|prod|development|staging|local|company|team|group|foobar|user|only|mine|for|the|and|my|our"
    "|spring|summer|autumn|winter|this|that|with|must|least|very|super|strong|secure|safe|random"
    "|string|value|text|bytes|characters|long|encryption|store|cookie|file|please"
)
_YEARS = re.compile("(19|20)[0-9][0-9]")
_LEET = str.maketrans("013457@$!", "oieastasi")
_ROWS = (
    "abcdefghijklmnopqrstuvwxyz",
    "0123456789abcdef",
    "01234567890",
    "1q2w3e4r5t6y7u8i9o0p",
    "1qaz2wsx3edc4rfv",
    "qwertyuiop",
    "qwertzuiop",
    "azertyuiop",
    "asdfghjkl",
    "qsdfghjklm",
    "zxcvbnm",
    "yxcvbnm",
    "qazwsxedcrfvtgbyhnujmikolp",
)
_NEIGHBOURS = "\n".join(row for line in _ROWS for row in (line, line[::-1]))
_SEPARATORS = re.compile(r"[-_ .]")
_SHORTEST_RUN = 3
_REPETITION = re.compile(r"(.)\1{2,}|(.{2,}?)\2+", re.DOTALL)
_KINDS = (("[0-9]", 10), ("[a-z]", 26), ("[A-Z]", 26), ("[ -/:-@\\[-`{-~]", 32), ("[^ -~]", 96))
"""Kinds of characters, and the size of each."""


def is_sample(secret: str) -> bool:
    """Return whether a secret is a placeholder, a sample of the documentation, or hardly more than one character."""
    return bool(_SAMPLE.search(secret)) or len(set(secret)) < _MIN_DISTINCT


def weakness_of(secret: str) -> str | None:
    """Return why a secret can be guessed, in a few words that show nothing of it; None: it cannot."""
    if is_sample(secret):
        return "is a placeholder or a sample, not a secret"
    text = _PREFIX.sub("", secret)
    if len(text) < MIN_LENGTH:
        return f"is shorter than {MIN_LENGTH} characters"
    kinds = sum(size for kind, size in _KINDS if re.search(kind, text))
    if _characters_left(text) * math.log2(kinds) < _MIN_BITS:
        return "can be guessed: it consists of common words, neighbouring keys or repetitions"
    return None


def _characters_left(text: str) -> int:
    """Return the number of characters, where each part that is guessed first counts as one."""
    plain = _SEPARATORS.sub("", text.lower())
    spans = [(begin, end, 1) for begin, end in runs_of(plain)]
    spans += [(*match.span(), 1) for match in _WORDS.finditer(plain.translate(_LEET))]
    spans += [(*match.span(), 1) for match in _YEARS.finditer(plain)]
    spans += [(*match.span(), _characters_left(match[1] or match[2])) for match in _REPETITION.finditer(plain)]
    count = position = 0
    for begin, end, worth in sorted(spans, key=lambda span: (span[0], -span[1])):
        if end <= position:
            continue
        count += max(0, begin - position) + worth
        position = end
    return count + len(plain) - position


def runs_of(text: str) -> Iterator[tuple[int, int]]:
    """Yield where the longest pieces of neighbouring characters begin and end."""
    begin = 0
    while begin < len(text):
        end = begin + 1
        while end < len(text) and text[begin : end + 1] in _NEIGHBOURS:
            end += 1
        if end - begin >= _SHORTEST_RUN:
            yield begin, end
            begin = end
        else:
            begin += 1
