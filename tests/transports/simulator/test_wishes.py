import pytest

from transports.simulator.wishes import IMAGE, MUSIC, VIDEO, tool_for, wants_web_images


@pytest.mark.parametrize(
    ("words", "tool"),
    [
        ("Generate some pictures of cats", IMAGE),
        ("Please draw a small PHOTO of the sea", IMAGE),
        ("Use image generation tool to modify the banner with another font and design.", IMAGE),
        ("Edit this photo: make the sky red", IMAGE),
        ("画一幅雪中的狐狸的图", IMAGE),
        ("Generate a short video of a cat playing", VIDEO),
        ("make a film from this picture", VIDEO),
        ("生成一段猫的视频", VIDEO),
        ("Compose a song about the sea", MUSIC),
        ("Send me some pictures of cats", None),
        ("What is in this picture?", None),
        ("Hello World!", None),
        ("Generate a list. Then describe the picture.", None),
        ("regenerate the imagery", None),
    ],
)
def test_words_ask_for_a_tool(words, tool):
    assert tool_for(words) == tool


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("Send me some pictures of cats", True),
        ("show me a photo of the Rhine", True),
        ("Show me how to read this", False),
        ("What is in this picture?", False),
        ("Find the fault in this picture", False),
    ],
)
def test_words_ask_for_pictures_of_the_web(words, wanted):
    assert wants_web_images(words) == wanted
