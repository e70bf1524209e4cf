from transports.web.page import read_page

HTML = """<script>window.WIZ_global_data = {"cfb2h":"boq_label",
"FdrFJe":"-123","SNlM0e":"AK\\u003dx:1","TuX5cc":"de","qKIAYe":"feeds/x"};"""


def test_the_page_tells_what_requests_carry():
    page = read_page(HTML)
    assert (page.access_token, page.build_label, page.session_id) == ("AK=x:1", "boq_label", "-123")
    assert (page.language, page.push_id) == ("de", "feeds/x")


def test_no_access_token_is_a_guest():
    assert read_page(HTML.replace("SNlM0e", "gone")).access_token is None


def test_another_page_is_none():
    assert read_page("<html>Before you continue to Google</html>") is None


def test_the_token_is_not_in_the_repr():
    assert "AK" not in repr(read_page(HTML))
