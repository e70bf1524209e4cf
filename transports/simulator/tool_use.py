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

from transports.simulator.schema_samples import sample

_EXAMPLE = re.compile(r"^```(\S+) NAME$", re.MULTILINE)
_TOOL = re.compile(r"^## (\S+)$", re.MULTILINE)
_CONVERSATION = "\n\nThe following is a conversation."
_BLOCK = re.compile(r"^(`{4,})(system|developer|user|assistant|tool)\b[^\n]*\n(.*?)\n?^\1$", re.MULTILINE | re.DOTALL)
_JSON_WANTED = re.compile(r"\b[Aa]nswer with one JSON value\b")
_SCHEMA = re.compile(r"\bIt must fit this JSON Schema:\n(\{[^\n]*|true|false)")
_INSTRUCTIONS = re.compile(
    r"\n\n(?:The tools listed before remain available|(?:If you call no tool, answer|Answer) with one JSON value)"
)
_MUST = re.compile(r"^.*\bYour next answer must call (?:the tool (\S+)|a tool)\.", re.MULTILINE)
_ONLY_ONE = "Call one tool at most"
_REPAIR = "Your last answer cannot be used"
_CALL = re.compile(r'<call\s+name="([^"]*)"\s*>(.*?)</call>', re.DOTALL)
_JSON = re.compile(r"<json>(.*?)</json>", re.DOTALL)
_BAD_JSON, _MALFORMED, _PROSE = "<badjson/>", "<malformed-call/>", "<prose-then-call/>"


class PromptMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message of the conversation, as the prompt shows it."""

    role: str
    text: str


def answer(prompt: str, earlier: list[str]) -> str | None:
    """Return the answer to a prompt that mentions tools or a JSON form; None: it is answered as any other.

    `earlier`: the prompts of the conversation's turns before it.
    """
    called, wants_json = _EXAMPLE.findall(prompt), _JSON_WANTED.search(prompt) is not None
    if not called and not wants_json:
        return None
    messages: list[PromptMessage] = []
    for text in (*earlier, prompt):
        blocks = [PromptMessage(role=block[2], text=block[3]) for block in _BLOCK.finditer(text)]
        messages += blocks or [PromptMessage(role="user", text=_INSTRUCTIONS.split(text, maxsplit=1)[0])]
    tools = _tools([prompt, *reversed(earlier)]) if called else {}
    return _Model(prompt, messages, tools, called[-1] if called else "", wants_json=wants_json).answer()


def _tools(prompts: list[str]) -> dict[str, Any]:
    """Return the tools of the newest prompt that lists some, with their schemas."""
    for prompt in prompts:
        head = prompt.partition(_CONVERSATION)[0]
        if "each with the JSON Schema of its arguments" in head:
            _, *parts = _TOOL.split(head)
            return {
                name: _json(about.rstrip().rpartition("\n")[2])
                for name, about in zip(parts[::2], parts[1::2], strict=True)
            }
    return {}


class _Model:
    """Answers one prompt."""

    def __init__(
        self, prompt: str, messages: list[PromptMessage], tools: dict[str, Any], marker: str, *, wants_json: bool
    ) -> None:
        self._prompt, self._tools, self._marker, self._wants_json = prompt, tools, marker, wants_json
        users = [message.text for message in messages if message.role == "user"]
        self._repairs = bool(users) and users[-1].lstrip().startswith(_REPAIR)
        if self._repairs:
            users.pop()
        self._said = users[-1] if users else ""
        last = list(takewhile(lambda message: message.role == "tool", reversed(messages)))
        self._results = [] if self._repairs else [message.text for message in reversed(last)]

    def answer(self) -> str | None:
        """Return the answer; None: nothing special."""
        must = _MUST.search(self._prompt)
        if self._marker and not self._results:
            calls = _CALL.findall(self._said)
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
        if _ONLY_ONE in self._prompt:
            calls = calls[:1]
        if _MALFORMED in self._said and not self._repairs:
            return f"```{self._marker} {calls[0][0]}\n{calls[0][1].rstrip().removesuffix('}')}, oops\n```"
        prose = "I will call a tool now.\n\n" if _PROSE in self._said else ""
        return prose + "\n\n".join(self._written(name, arguments) for name, arguments in calls)

    def _written(self, name: str, arguments: str) -> str:
        return f"```{self._marker} {name}\n{arguments.strip() or '{}'}\n```"

    def in_json(self) -> str | None:
        """Return the JSON of the last user message, in prose and a code block, as models write it."""
        if self._said.lstrip().startswith("<echo>"):
            return None
        told, schemas = _JSON.findall(self._said), _SCHEMA.findall(self._prompt)
        made = sample(_json(schemas[-1])) if schemas else {"answer": "simulated"}
        value = told[-1].strip() if told else _shown(made)
        if _BAD_JSON in self._said and not self._repairs:
            value = value[:-1].rstrip().rstrip(",") + ', "broken'
        return f"Here is the (simulated) answer:\n\n```json\n{value}\n```\n\nThat is all."


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {}


def _shown(value: object) -> str:
    return msgspec.json.encode(value).decode()
