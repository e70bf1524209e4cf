import re

from transports.web.codec import jspb

FENCE = "```"


async def test_a_picture_turn_has_the_requested_pictures_and_links_to_them(browser):
    answer = await browser.say('a fox <sim images="2" alt="Red fox"/>', {49: 14})
    pictures = answer.rich(7)[0]
    assert all(re.fullmatch(r"\d{19}\.png", picture[0][3][2]) for picture in pictures)
    assert len({picture[0][3][3] for picture in pictures}) == 2
    assert len({picture[1][0] for picture in pictures}) == 2
    assert answer.text.endswith("http://googleusercontent.com/image_generation_content/1")
    assert answer.complete


async def test_a_chat_turn_has_no_pictures(browser):
    answer = await browser.say('a fox <sim images="2"/>')
    assert answer.rich(7) is None


async def test_a_canvas_grows_after_the_text_and_is_the_prompts_document(browser):
    prompt = '<echo>See beside.</echo><document lang="css" title="Style">a { b: "```" }\n</document><sim frames="9"/>'
    answer = await browser.say(prompt, {49: 2})
    assert answer.text == "See beside."
    assert answer.document[2] == "Style"
    assert answer.document[4] == f'````css\na {{ b: "{FENCE}" }}\n````'
    assert jspb.path(answer.document, 17, 0) == answer.document[4]
    bodies = [jspb.field(jspb.field(inner, 4)[0], 30) for inner in answer.inner]
    lengths = [len(jspb.field(body[0], 4)) for body in bodies if body]
    assert bodies[0] is None
    assert len(set(lengths)) > 3


async def test_a_plain_prompt_can_open_a_canvas_with_a_page(browser):
    assert (await browser.say("x <document>y</document>")).document[4] == f"{FENCE}html\ny\n{FENCE}"
    assert (await browser.say("make a page", {49: 2})).document[4].startswith(f"{FENCE}html\n<!doctype html>")
    assert jspb.field((await browser.say("make a page")).candidate, 30) is None


async def test_a_storybook_has_a_picture_for_each_page(browser):
    answer = await browser.say("<echo>Once\n\n---\n\nThe end</echo>", {19: "storybook"})
    pages = answer.document[4].split("\n\n---\n\n")
    assert [page.split("\n\n") for page in pages] == [
        ["http://googleusercontent.com/image_generation_content/0", "Once"],
        ["http://googleusercontent.com/image_generation_content/1", "The end"],
    ]
    assert len(answer.rich(7)[0]) == 2
    asked = await browser.say('a bear <sim images="4"/>', {19: "storybook"})
    assert len(asked.rich(7)[0]) == asked.document[4].count("bear") == 4


async def test_each_marker_in_the_text_has_a_citation(browser):
    answer = await browser.say('<echo>So [cite: 1, 2]. And [cite: 2].</echo><sim citations="2"/>')
    assert answer.text == "So [cite: 1, 2]. And [cite: 2]."
    groups = answer.rich(43)
    assert [group[0][0] for group in groups] == [" [cite: 1, 2]", " [cite: 2]"]
    assert [source[3][0][1] for source in groups[0][1]] == [
        "https://example.com/simulated/1",
        "https://example.com/simulated/2",
    ]
    own = await browser.say('<echo>So.</echo><sim citations="1"/>')
    assert own.text == "So. One fact [cite: 1]. All of them [cite: 1]."
    assert len(own.rich(43)) == 1


async def test_web_pictures_a_running_tool_and_a_card_have_the_documented_form(browser):
    answer = await browser.say('<sim web-images="2" analysis="true" frames="9" candidates="3" card="true"/>')
    assert [(image[0][0][0], image[0][4]) for image in answer.rich(1)] == [
        ("https://example.com/simulated/1.jpg", "Simulated find 1"),
        ("https://example.com/simulated/2.jpg", "Simulated find 2"),
    ]
    assert answer.text == "http://googleusercontent.com/card_content/0"
    assert "simulated" in jspb.field(answer.candidate, 22)[0]
    assert len(jspb.field(answer.inner[-1], 4)) == 3
    tools = [jspb.field(inner, 6) for inner in answer.inner]
    assert tools[0][1][0] == "data_analysis_tool"
    assert tools[-1] is None
    progress = jspb.field(jspb.field(jspb.field(answer.inner[0], 4)[0], 12), 6)
    assert progress == [["Running (simulated) code"]]


async def test_both_forms_of_a_field_occur(browser):
    answer = await browser.say('<echo>words</echo><sim citations="1" frames="4" sparse="true"/>')
    assert isinstance(answer.candidate[-1], dict)
    dense = await browser.say('<echo>words</echo><sim citations="1" frames="4" sparse="false"/>')
    assert dense.candidate[12][43]
    assert dense.rich(43) == answer.rich(43)


async def test_some_frames_hold_content_and_bookkeeping(browser):
    answer = await browser.say('<sim frames="30"/>')
    assert b'"]],["di",' in answer.body or b'"],["di",' in answer.body
    assert b'[["di",13],["wrb.fr"' in answer.body


async def test_a_refusal_is_only_a_text(browser):
    answer = await browser.say('x <sim refuse="safety"/>', {49: 14})
    assert "can't help" in answer.text
    assert answer.rich(7) is None


async def test_deep_think_adds_thoughts(browser):
    assert "deeply" in jspb.field((await browser.say("x", {49: 20})).candidate, 37)[0][0]
