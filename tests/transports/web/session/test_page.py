import pytest
from hypothesis import given
from hypothesis import strategies as st

from transports.web.session.page import read_page, redirected

HTML = """<script>window.WIZ_global_data = {"cfb2h":"boq_label",
"FdrFJe":"-123","SNlM0e":"AK\\u003dx:1","TuX5cc":"de","qKIAYe":"feeds/x"};"""


def test_request_parameters_are_read_from_the_page():
    page = read_page(HTML)
    assert (page.access_token, page.build_label, page.session_id) == ("AK=x:1", "boq_label", "-123")
    assert (page.language, page.push_id) == ("de", "feeds/x")


KEYS = ["SNlM0e", "thykhd", "cfb2h", "FdrFJe", "TuX5cc"]


def test_a_page_without_a_token_is_valid():
    page = read_page(HTML.replace("SNlM0e", "gone"))
    assert (page.access_token, page.build_label) == (None, "boq_label")


def test_the_token_is_read_from_either_key():
    assert read_page(HTML.replace("SNlM0e", "thykhd")).access_token == "AK=x:1"
    assert read_page(HTML + '"thykhd":"other"').access_token == "AK=x:1"
    assert read_page('"SNlM0e":"","thykhd" :\n\t"other"').access_token == "other"


@given(st.sets(st.sampled_from(KEYS)), st.text(" \n\t", max_size=3))
def test_any_of_the_keys_may_be_missing(missing, space):
    html = ",".join(f'"{key}":{space}"{key}-value"' for key in KEYS if key not in missing)
    page = read_page(f"<html>{{{html}}}</html>")
    if missing == set(KEYS):
        assert page is None
        return
    there = {key: None if key in missing else f"{key}-value" for key in KEYS}
    assert page.access_token == (there["SNlM0e"] or there["thykhd"])
    assert (page.build_label, page.session_id) == (there["cfb2h"], there["FdrFJe"])
    assert page.language == (there["TuX5cc"] or "en")
    assert page.push_id == "feeds/mcudyrk2a4khkz"


def test_another_page_is_not_accepted():
    assert read_page("<html>Before you continue to Google</html>") is None


def test_the_token_is_not_in_the_repr():
    assert "AK" not in repr(read_page(HTML))


@pytest.mark.parametrize("location", ["/u/0/app", "/app?hl=en", "?hl=en", "https://gemini.google.com/u/12/app/"])
def test_a_redirect_to_the_app_on_the_same_host_is_followed(location):
    target = redirected("https://gemini.google.com/app", location)
    assert target is not None
    assert target.startswith("https://gemini.google.com/")


@pytest.mark.parametrize(
    "location",
    [
        "",
        "/",
        "/sorry/app",
        "/app/../faq",
        "//evil.example/app",
        "http://gemini.google.com/app",
        "https://gemini.google.com:8443/app",
        "https://gemini.google.com.evil.example/app",
        "https://gemini.google.com@evil.example/app",
        "https://accounts.google.com/ServiceLogin?continue=/app",
        "https://[/app",
    ],
)
def test_a_redirect_to_any_other_page_is_not_followed(location):
    assert redirected("https://gemini.google.com/app", location) is None
