"""Acts as a model that was told about tools or a JSON form in its prompt. No I/O.

It reads the prompt as a model does: it finds the example of a call, the list of tools and the instructions by their
words, and does not share code with the gateway that wrote them. Tags in the last user message say what it does;
docs/simulator.md lists them. Without tags it obeys an instruction that leaves no choice, with values made up to fit the
schema, and otherwise answers as ever.
"""

import re
from itertools import takewhile
from typing import Any

import msgspec

from transports.simulator import prompt_tags
from transports.simulator.schema_samples import sample

_EXAMPLE = re.compile(r"^```(\S+) NAME$", re.MULTILINE)
_NEAR = re.compile(r"^```\S+ NAME$|[Aa]nswer with one JSON value|^````+tool\b", re.MULTILINE)
"""What every prompt with tools, their results or a JSON form has."""
_TOOLS_LISTED = "each with the JSON Schema of its arguments"
_SECTION = re.compile(r"^## ", re.MULTILINE)
_BLOCK = re.compile(r"^(`{4,})(system|developer|user|assistant|tool)\b[^\n]*\n(.*?)\n?^\1$", re.MULTILINE | re.DOTALL)
_JSON_WANTED = re.compile(r"\b[Aa]nswer with one JSON value\b")
_SCHEMA = re.compile(r"\bIt must fit this JSON Schema:\n(\{[^\n]*|true|false)")
_CLOSINGS = (
    "\n\nThe tools listed before remain available",
    "\n\nIf you call no tool, answer with one JSON value",
    "\n\nAnswer with one JSON value",
)
"""How the instructions behind a single message begin."""
_MUST = re.compile(r"\bYour next answer must call (?:the tool (\S+)|a tool)\.")
_ALLOWED = re.compile(r"\bNow call only: ([^.\n]*)\.")
_ONLY_ONE = "Call one tool at most"
_REPAIR = re.compile(r"\s*Your last answer cannot be used")
_ECHO = re.compile(r"(<(call|json)\b.*?</\2>)|<echo>.*</echo>", re.DOTALL)
"""An echo, or a call or JSON that may contain one."""


class PromptMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message of the conversation, as the prompt shows it."""

    role: str
    text: str


class ReadPrompt(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt: its messages, and the instructions around them, which no message can change."""

    messages: tuple[PromptMessage, ...]
    instructions: str

    @classmethod
    def read(cls, text: str) -> "ReadPrompt":
        """Read the text of a prompt."""
        blocks = list(_BLOCK.finditer(text))
        if blocks:
            messages = tuple(PromptMessage(role=block[2], text=block[3]) for block in blocks)
            return cls(messages=messages, instructions=text[: blocks[0].start()] + text[blocks[-1].end() :])
        end = next((at for at in map(text.rfind, _CLOSINGS) if at >= 0), len(text))
        return cls(messages=(PromptMessage(role="user", text=text[:end]),), instructions=text[end:])


def scripting(prompt: str, earlier: list[str]) -> str:
    """Return the prompt whose tags count: a request to repair an answer has those of the prompt before it."""
    return earlier[-1] if earlier and _REPAIR.match(prompt) else prompt


def answer(prompt: str, earlier: list[str]) -> str | None:
    """Return the answer to a prompt with tools, their results or a JSON form; None: it is answered as any other.

    `earlier`: the prompts of the conversation's turns before it.
    """
    if not _NEAR.search(prompt):
        return None
    now = ReadPrompt.read(prompt)
    markers, wants_json = _EXAMPLE.findall(now.instructions), _JSON_WANTED.search(now.instructions) is not None
    if not markers and not wants_json and all(message.role != "tool" for message in now.messages):
        return None
    before = [ReadPrompt.read(text) for text in earlier]
    tools = _tools([now, *reversed(before)]) if markers else {}
    users = [message.text for one in (*before, now) for message in one.messages if message.role == "user"]
    return _Model(now, users, tools, markers[0] if markers else "", wants_json=wants_json).answer()


def _tools(prompts: list[ReadPrompt]) -> dict[str, Any]:
    """Return the tools of the newest prompt that lists some, with their schemas."""
    listed = next((prompt.instructions for prompt in prompts if _TOOLS_LISTED in prompt.instructions), "")
    found: dict[str, Any] = {}
    for section in _SECTION.split(listed.partition(_TOOLS_LISTED)[2])[1:]:
        lines = section.split("\n")
        schemas = [line for line in lines[1:] if line.startswith("{") or line in {"true", "false"}]
        found[lines[0]] = _json(schemas[-1]) if schemas else {}
    return found


class _Model:
    """Answers one prompt."""

    def __init__(
        self, prompt: ReadPrompt, users: list[str], tools: dict[str, Any], marker: str, *, wants_json: bool
    ) -> None:
        """`users`: what the users said in the whole conversation."""
        self._instructions, self._tools, self._marker, self._wants_json = prompt.instructions, tools, marker, wants_json
        last = prompt.messages[-1]
        self._repairs = last.role == "user" and _REPAIR.match(last.text) is not None
        said = [text for text in users if not _REPAIR.match(text)]
        self._said = _ECHO.sub(lambda found: found[1] or "", said[-1]) if said else ""
        self._echoes = bool(said) and said[-1] != self._said
        self._results = [] if self._repairs else self._new_results(prompt)

    def _new_results(self, prompt: ReadPrompt) -> list[str]:
        """Return the results that are not answered yet; words of the user after them may ask for something else."""
        turns = list(takewhile(lambda message: message.role != "assistant", reversed(prompt.messages)))
        after = list(takewhile(lambda message: message.role != "tool", turns))
        if any(message.role == "user" for message in after) and (self._echoes or prompt_tags.CALL.search(self._said)):
            return []
        results = takewhile(lambda message: message.role == "tool", turns[len(after) :])
        return [message.text for message in results][::-1]

    def answer(self) -> str | None:
        """Return the answer; None: nothing special."""
        must = _MUST.search(self._instructions)
        if self._marker and not self._results:
            calls = prompt_tags.CALL.findall(self._said)
            only = _ALLOWED.search(self._instructions)
            if only is not None:  # the model prefers its instructions to the user's wish
                calls = [call for call in calls if call[0] in only[1].split(", ")]
            if calls:
                return self.call(calls)
            if must is not None and self._tools:
                name = must[1] if must[1] in self._tools else next(iter(self._tools))
                return self._written(name, _shown(sample(self._tools[name])))
        if self._wants_json:
            return self.in_json()
        if self._results:
            return "The results are:\n\n" + "\n\n".join(self._results)
        return None

    def call(self, calls: list[tuple[str, str]]) -> str:
        """Return an answer that calls tools, or says that there is no such tool."""
        unknown = [name for name, _ in calls if name not in self._tools]
        if unknown:
            return f"There is no tool with the name {unknown[0]}, so this (simulated) model cannot call it."
        if _ONLY_ONE in self._instructions:
            calls = calls[:1]
        if prompt_tags.MALFORMED in self._said and not self._repairs:
            return f"```{self._marker} {calls[0][0]}\n{calls[0][1].rstrip().removesuffix('}')}, oops\n```"
        prose = "I will call a tool now.\n\n" if prompt_tags.PROSE in self._said else ""
        return prose + "\n\n".join(self._written(name, arguments) for name, arguments in calls)

    def _written(self, name: str, arguments: str) -> str:
        return f"```{self._marker} {name}\n{arguments.strip() or '{}'}\n```"

    def in_json(self) -> str | None:
        """Return the JSON of the last user message, in prose and a code block, as models write it."""
        told, schemas = prompt_tags.JSON.findall(self._said), _SCHEMA.findall(self._instructions)
        if self._echoes and not told and prompt_tags.BAD_JSON not in self._said:
            return None
        made = sample(_json(schemas[-1])) if schemas else {"answer": "simulated"}
        value = told[-1].strip() if told else _shown(made)
        if prompt_tags.BAD_JSON in self._said and not self._repairs:
            value = value[:-1].rstrip().rstrip(",") + ', "broken'
        return f"Here is the (simulated) answer:\n\n```json\n{value}\n```\n\nThat is all."


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {}


def _shown(value: object) -> str:
    return msgspec.json.encode(value).decode()
