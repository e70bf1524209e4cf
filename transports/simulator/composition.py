"""Composes the answer to each kind of turn: text, images, canvas, storybook, video, music or research.

Source: "Capabilities as turns"
"""

import secrets
from typing import Any

from transports.simulator import encode, research, rich_content
from transports.simulator.answer import PendingWork, SimulatedAnswer
from transports.simulator.images import aspect_in, size_of
from transports.simulator.media import picture_url
from transports.simulator.request_checks import CANVAS, DEEP_THINK, IMAGE, MUSIC, RESEARCH, VIDEO
from transports.simulator.turn_context import TurnContext
from transports.simulator.video import REFUSAL, make_music, make_video

STORYBOOK = "storybook"

_REFUSAL = "I can't help with that. (This refusal is simulated.)"
_PICTURE_LINK = "http://googleusercontent.com/image_generation_content/{}"
_WEB_LINK = "http://googleusercontent.com/image_collection/image_retrieval/{}"
_MARKUPS = {
    "follow-up": '\n\n<FollowUp label="Go on" query="Please go on"/>',
    "elicitations": '\n\n<ElicitationsGroup><Elicitation label="Which?"/></ElicitationsGroup>',
    "widget": '\n\n<GenerateWidget height="200px"><button>Simulated</button></GenerateWidget>',
}
_MARKUP = _MARKUPS | {"all": "".join(_MARKUPS.values())}
"""Markup after the text that only the site's own page understands."""
_PAGE = "\n\n---\n\n"
_PAGES = 3
_CANVAS = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Simulated canvas</title></head>
<body>
  <h1>Simulated canvas</h1>
  <p>The gateway's simulator wrote this page.</p>
  <button onclick="this.textContent = 'clicked'">Click</button>
</body>
</html>
"""


def compose(context: TurnContext) -> tuple[SimulatedAnswer, PendingWork | None]:
    """Return a turn's answer, and the work that continues after it."""
    tool, script = context.ask.tool, context.script
    planned = context.previous.work if context.previous else None
    if script.refuse in {"safety", "prompt"}:
        return SimulatedAnswer(text=_REFUSAL), None
    if tool == VIDEO and context.owner.plan == "free":
        return SimulatedAnswer(text=REFUSAL), None
    if isinstance(planned, research.PlannedWork) and context.ask.prompt == research.CONFIRM:
        work = planned.confirmed(context.now)
        return research.started(work, context.now), work
    if tool == RESEARCH:
        return research.make_plan(context, secrets.token_hex(8))
    if tool == VIDEO:
        return make_video(context)
    return _at_once(context), None


def _at_once(context: TurnContext) -> SimulatedAnswer:
    """Return an answer without work that continues after it."""
    tool = context.ask.tool
    if tool == MUSIC:
        return make_music(context)
    if tool == IMAGE:
        return _images(context)
    if context.ask.gem == STORYBOOK:
        return _storybook(context)
    if tool == CANVAS or context.script.document is not None:
        return _canvas(context)
    return _plain(context)


def _plain(context: TurnContext) -> SimulatedAnswer:
    script = context.script
    text = rich_content.marked(script.text, script.citations or 0) + _MARKUP.get(script.markup, "")
    if context.gem is not None and not script.given:
        text = f"Gem: {context.gem.name}: {context.gem.prompt}\n\n{text}"
    if context.files and not script.given:
        lines = "\n".join(file.line() for file in context.files)
        text = f"{text}\n\nFiles seen:\n{lines}"
    fields: dict[int, list[Any]] = {}
    if script.citations:
        fields[rich_content.CITATIONS] = rich_content.citations(text, script.citations)
    if script.web_images:
        numbers = range(1, script.web_images + 1)
        text += "".join(f"\n\n{_WEB_LINK.format(number - 1)}" for number in numbers)
        found = [(f"https://example.com/simulated/{number}.jpg", f"Simulated find {number}") for number in numbers]
        fields[rich_content.WEB_IMAGES] = rich_content.web_images(found)
    deep = context.ask.tool == DEEP_THINK and not script.thoughts
    return SimulatedAnswer(
        text=text,
        thoughts="Thinking deeply, as simulated." if deep else script.thoughts,
        rich=fields,
        meanwhile={rich_content.PROGRESS: rich_content.progress(["Running (simulated) code"])}
        if script.analysis
        else {},
        tool="data_analysis_tool" if script.analysis else "",
        card=script.card,
        sources=rich_content.sources(text, script.sources or 0),
        others=tuple(f"{text} ({number})" for number in range(2, script.candidates + 1)),
    )


def _images(context: TurnContext) -> SimulatedAnswer:
    script = context.script
    numbers = range(1, (script.images or 1) + 1)
    text = script.text
    if not script.given:
        lines = "\n".join(file.line() for file in context.files)
        text = "Here is what you asked for, as simulated." + (f"\n\nFiles seen:\n{lines}" if lines else "")
    links = "".join(f"\n\n{_PICTURE_LINK.format(number - 1)}" for number in numbers)
    tokens = tuple(context.draw(number) for number in numbers)
    return SimulatedAnswer(
        text=text + links,
        thoughts=script.thoughts,
        rich={rich_content.IMAGES: _laid_out(context, tokens)},
        pictures=tokens,
        tool_words="Creating your image",
    )


def _laid_out(context: TurnContext, tokens: tuple[str, ...]) -> list[object]:
    if context.exact:
        size = size_of(aspect_in(context.ask.prompt), 1408)
        found = [
            (picture_url(context.origin, token), _PICTURE_LINK.format(number), size)
            for number, token in enumerate(tokens)
        ]
        return rich_content.exact_images(found, context.now)
    return rich_content.images([(picture_url(context.origin, token), f"img_{token}") for token in tokens])


def _canvas(context: TurnContext) -> SimulatedAnswer:
    script, given = context.script, context.script.document
    lang, title, body = (given.lang, given.title, given.body) if given else ("html", "Simulated canvas", _CANVAS)
    fence = "```"
    while fence in body:
        fence += "`"
    newline = "" if body.endswith("\n") else "\n"
    document = encode.SiteDocument(
        id=f"c_doc_{secrets.token_hex(8)}",
        title=title,
        body=f"{fence}{lang}\n{body}{newline}{fence}",
    )
    text = script.text if script.given else "Here is a (simulated) document."
    return SimulatedAnswer(text=text, thoughts=script.thoughts, document=document)


def _storybook(context: TurnContext) -> SimulatedAnswer:
    script = context.script
    if script.given:
        pages = script.text.split(_PAGE)
    else:
        subject = " ".join(script.description.split())[:120]
        pages = [
            f"Page {number} of the (simulated) story: {subject}" for number in range(1, (script.images or _PAGES) + 1)
        ]
    tokens = tuple(context.draw(number, page) for number, page in enumerate(pages, 1))
    body = _PAGE.join(f"{_PICTURE_LINK.format(number)}\n\n{page}" for number, page in enumerate(pages))
    document = encode.SiteDocument(id=f"book_{secrets.token_hex(8)}", title="A simulated story", body=body)
    return SimulatedAnswer(
        text="Here is your (simulated) storybook.",
        thoughts=script.thoughts,
        rich={rich_content.IMAGES: _laid_out(context, tokens)},
        document=document,
        pictures=tokens,
    )
