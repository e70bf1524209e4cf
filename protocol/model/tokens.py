"""Estimates tokens of Gemini's models, for upstreams that do not count.

Theory of operation. Each UTF-8 byte has a weight, and the tokens of a text are the sum of the weights of its bytes. The
first byte of a character says its script, so letters of each script have their own weight, and bytes inside a character
have none. Weights of texts can be added: the deltas of a stream have the weight of the whole text. The weights were
fitted to counts of Gemma 3's tokenizer, which is Gemini's, over prose, documentation, messages of programs, source code
and base64: docs/openai.md, "Usage", has the errors that remain. A real tokenizer costs 5 to 25 times as much, and one
with another vocabulary is not closer. Of a long prompt each seventh byte is weighed: seven has no factor in common with
the length of any character, so all scripts are sampled evenly.

Example: "An 世界" has the weights 86 + 35 (A, n), 17 (space) and twice 137: 412 units, which are 2 tokens.
"""

import msgspec

from protocol.model.request import FilePart, GenerationRequest, MediaPart, TextPart

_UNITS = 200
"""The weight of a token."""
FILE_TOKENS = 258
"""The tokens of a picture, and of any other file than text: those of a small picture or a page of a document."""
_STRIDE, _SAMPLED_BYTES = 7, 4096
"""Each byte of this number is weighed of prompts that are longer."""
_TEXT_FILE_BYTES = 4
"""The bytes of one token of a text file, which may be on disk."""
_ASCII = {
    "\t\n\v\f\r": 182,
    " ": 17,
    ",-": 18,
    "0123456789": 230,
    "acdefghilmnorstu": 35,
    "bjkpqvwxyz": 102,
    "ACDEGILNOPRSTU": 86,
    "BFHJKMQVWXYZ": 250,
}
"""Weights of ASCII characters; all others have that of `_PUNCTUATION`."""
_PUNCTUATION = 135
_SCRIPTS = (
    (0xC2, 250, "signs of Latin-1"),
    (0xC3, 173, "Latin letters with accents"),
    (0xCE, 81, "Greek"),
    (0xD0, 53, "Cyrillic, Armenian"),
    (0xD6, 108, "Hebrew"),
    (0xD8, 78, "Arabic"),
    (0xE0, 55, "scripts of India, Thai"),
    (0xE1, 31, "Vietnamese, Georgian, Khmer"),
    (0xE2, 108, "dashes, quotes, symbols"),
    (0xE3, 81, "kana"),
    (0xE4, 137, "Chinese characters"),
    (0xEA, 130, "Hangul"),
    (0xEE, 100, "full-width signs"),
    (0xF0, 202, "emoji"),
)
"""The first bytes of characters of a script begin with this one; their weight."""


def _weights() -> bytes:
    """Return the weight of each byte."""
    table = bytearray([_PUNCTUATION] * 0x80) + bytearray(0x80)
    for characters, weight in _ASCII.items():
        for character in characters:
            table[ord(character)] = weight
    for first, weight, _ in _SCRIPTS:
        table[first:] = bytes([weight] * (len(table) - first))
    return bytes(table)


_WEIGHTS = _weights()


def weight_of(text: str) -> int:
    """Return the weight of a text; weights of parts add up to that of the whole."""
    return sum(text.encode("utf-8", "surrogatepass").translate(_WEIGHTS))


def tokens_of(weight: int) -> int:
    """Return the tokens of a weight, rounded; any text has one."""
    return max(1, (weight + _UNITS // 2) // _UNITS) if weight else 0


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text; as `tokens_of(weight_of(text))`, with fewer calls."""
    weight = sum(text.encode("utf-8", "surrogatepass").translate(_WEIGHTS))
    return max(1, (weight + _UNITS // 2) // _UNITS) if weight else 0


def within_tokens(text: str, weight: int) -> str:
    """Return the longest beginning of a text that has at most this weight."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if weight_of(text[:middle]) <= weight:
            low = middle
        else:
            high = middle - 1
    return text[:low]


def weight_limit(tokens: int) -> int:
    """Return the largest weight that is estimated at this number of tokens."""
    return tokens * _UNITS + _UNITS // 2 - 1 if tokens else 0


def prompt_tokens(request: GenerationRequest) -> int:
    """Estimate the tokens of a request as its client sent it: texts, calls, files, tools and schema.

    Words that a transport adds, and what its upstream already holds of the conversation, change nothing.
    """
    if request.counted:
        return 0
    weight = tokens = 0
    for turn in request.turns:
        for part in turn.parts:
            if isinstance(part, TextPart):
                weight += _sampled(part.text.encode("utf-8", "surrogatepass"))
            else:
                tokens += _file_tokens(part)
        for call in turn.tool_calls:
            weight += weight_of(call.name) + _sampled(call.arguments.encode("utf-8", "surrogatepass"))
    offered = request.tools.tools if request.tools is not None else ()
    for form in (*offered, request.output):
        if form is not None:
            weight += _sampled(msgspec.json.encode(form))
    return tokens + tokens_of(weight)


def _sampled(data: bytes) -> int:
    """Return the weight of encoded text, about that if it is long."""
    if len(data) <= _SAMPLED_BYTES:
        return sum(data.translate(_WEIGHTS))
    sample = data[::_STRIDE].translate(_WEIGHTS)
    return sum(sample) * len(data) // len(sample)


def _file_tokens(part: FilePart | MediaPart) -> int:
    if isinstance(part, FilePart) and part.mime.startswith("text/"):
        return -(-part.size // _TEXT_FILE_BYTES)
    return FILE_TOKENS
