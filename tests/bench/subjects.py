"""The subjects of the benchmark, and the requests for each."""

import base64
import json
import os
from functools import cache
from io import BytesIO
from urllib.request import Request, urlopen

from PIL import Image

from tests.bench import answers
from tests.bench.load import NUMBER, Ask
from tests.bench.processes import KEY, BenchError
from tests.bench.samples import PASS, UPSTREAM

_CHAT_PATH = "/v1/chat/completions"
_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": f"look_up_{number}",
            "description": "Look up what is known of a place at a time.",
            "parameters": {
                "type": "object",
                "properties": {"place": {"type": "string"}, "days": {"type": "array", "items": {"type": "integer"}}},
                "required": ["place"],
            },
        },
    }
    for number in range(20)
]
"""What an agent offers; the answer calls none of them."""
_HISTORY_TURNS, _HISTORY_BYTES = 40, 200_000
_NOISE_SIDE = 1632
"""Width and height of a picture of noise that has eight megabytes as PNG."""


class Subject:
    """A child process, and the requests that it is measured with."""

    def __init__(self, name, url, child):
        self.name, self.child = name, child
        self._site = name in {PASS, UPSTREAM}
        self.headers = {}
        """Go with each request."""
        self.stream_end = b"data: [DONE]"
        """Stands near the end of a stream."""
        self.url = url if name == UPSTREAM else url + _CHAT_PATH

    def ask(self, word, *, stream=True):
        """Return chats of one turn."""
        return self._ask([_body([_user(f"{word} {NUMBER}")], stream=stream)], stream=stream)

    def tools(self):
        """Return chats of one turn that offer tools."""
        return self._ask([_body([_user(f"{answers.SHORT} {NUMBER}")], stream=False, tools=_TOOLS)], stream=False)

    def embeddings(self):
        """Return requests for the embedding of one text."""
        url = self.url if self._site else self.url.replace(_CHAT_PATH, "/v1/embeddings")
        body = {"model": "gemini-embedding-2", "input": f"{answers.EMBED} {NUMBER}"}
        return Ask(url, [json.dumps(body).encode()], word=b"embedding")

    def talk(self):
        """Return chats of two turns: each second one continues the conversation of the one before it."""
        first = _user(f"{answers.SHORT} {NUMBER}")
        second = [first, {"role": "assistant", "content": answers.SHORT_TEXT}, _user(f"{answers.SHORT} again")]
        return self._ask([_body([first], stream=False), _body(second, stream=False)], stream=False)

    def history(self):
        """Return chats with a long history."""
        filler = ("What follows is long: " + "all work and no play " * 400)[: _HISTORY_BYTES // _HISTORY_TURNS]
        turns = [_user(filler), {"role": "assistant", "content": filler}] * (_HISTORY_TURNS // 2)
        return self._ask([_body([*turns, _user(f"{answers.SHORT} {NUMBER}")], stream=False)], stream=False)

    def picture(self):
        """Return chats with a picture of eight megabytes."""
        data = base64.b64encode(_noise()).decode()
        content = [
            {"type": "text", "text": f"{answers.SHORT} {NUMBER}"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}{NUMBER}"}},
        ]
        return self._ask([_body([_user(content)], stream=False)], stream=False)

    def drawn(self):
        """Return downloads of a picture of five megabytes: the gateway gives a link to it."""
        if self._site:
            return Ask(self.url, [_body([_user(f"{answers.LARGE} {NUMBER}")], stream=False)])
        answer = self._read(_body([_user(answers.PICTURE)], stream=False))
        content = json.loads(answer)["choices"][0]["message"]["content"]
        return Ask(content.rpartition("](")[2].partition(")")[0], [b""], method="GET")

    def check(self):
        """See that a stream holds its whole text."""
        if self._site:
            return
        lines = self._read(_body([_user(answers.LONG)], stream=True)).splitlines()
        events = [line.removeprefix(b"data: ") for line in lines if line.startswith(b"data: {")]
        deltas = [choice["delta"] for event in events for choice in json.loads(event)["choices"]]
        text = "".join(delta.get("content") or "" for delta in deltas)
        if text != answers.text_of(answers.FRAMES):
            raise BenchError(f"{self.name}: a stream of {len(text)} characters is not what the upstream said")

    def _read(self, body):
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json", **self.headers}
        with urlopen(Request(self.url, body, headers), timeout=20) as response:
            return response.read()

    def _ask(self, bodies, *, stream):
        if self._site:
            return Ask(self.url, bodies, unit=answers.UPSTREAM_FRAME, end=answers.UPSTREAM_END)
        lines = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        unit, end = (answers.WORD, self.stream_end) if stream else (None, b'"total_tokens"')
        return Ask(self.url, bodies, unit=unit, end=end, headers=lines)


def _user(content):
    return {"role": "user", "content": content}


def _body(messages, *, stream, **fields):
    return json.dumps({"model": "gemini-3-pro", "messages": messages, "stream": stream, **fields}).encode()


@cache
def _noise():
    """Return a PNG whose base64 needs no padding: more of it can follow."""
    image = Image.frombytes("RGB", (_NOISE_SIDE, _NOISE_SIDE), os.urandom(3 * _NOISE_SIDE**2))
    out = BytesIO()
    image.save(out, "PNG", compress_level=0)
    data = out.getvalue()
    return data + bytes(-len(data) % 3)
