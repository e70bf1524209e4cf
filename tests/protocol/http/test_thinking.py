import pytest

from protocol.http.thinking import think_longer
from protocol.model import Caller, Catalogue


@pytest.mark.parametrize(
    ("name", "models", "wanted"),
    [
        ("gemini-3-pro", ("*",), "gemini-3-pro-extended"),
        ("gemini-3-pro-canvas", ("*",), "gemini-3-pro-canvas-extended"),
        ("gemini-3-pro-extended", ("*",), "gemini-3-pro-extended"),
        ("gemini-3-pro", ("gemini-3-pro",), "gemini-3-pro"),
        ("gemini-3-pro-imagen", ("*",), "gemini-3-pro-imagen"),
        ("gemini-2.5-flash-free", ("*",), "gemini-2.5-flash-free"),
    ],
)
def test_the_extended_form_is_chosen_if_there_is_one_and_the_license_covers_it(name, models, wanted):
    assert think_longer(Catalogue.build().resolve(name), Caller(id="me", models=models)).id == wanted
