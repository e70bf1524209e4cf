from protocol.model import Caller, Feature, MediaKind, MediaRef
from service.config.secrets import KEY_BYTES
from service.media.signed_urls import MediaUrls, UrlSigner
from tests.clock import ManualClock

REF = MediaRef(
    transport="web", account="one", kind=MediaKind.IMAGE, url="https://lh3.googleusercontent.com/secret-place"
)
ME, OTHER = Caller(id="me"), Caller(id="other")


def links(clock=None, key=b"k" * KEY_BYTES, base="https://gateway.example/gemini_official"):
    return MediaUrls(UrlSigner(key, clock or ManualClock(), 60.0), lambda _: base, None)


def test_a_link_opens_for_its_license_at_any_process_with_the_key():
    link = links().sign(REF, ME)
    assert link.startswith("https://gateway.example/gemini_official/media/")
    assert links(base="http://elsewhere").open(link, ME) == REF
    assert links().open(link, OTHER) is None
    assert links(key=b"x" * KEY_BYTES).open(link, ME) is None


def test_a_link_opens_only_while_its_license_includes_the_media():
    link = links().sign(REF, ME)
    assert links().open(link, Caller(id="me", features=(Feature.IMAGES,))) == REF
    assert links().open(link, Caller(id="me", features=(Feature.CHAT, Feature.VIDEO))) is None


def test_a_link_opens_for_no_later_license_of_the_same_id():
    link = links().sign(REF, Caller(id="me", serial="1"))
    assert links().open(link, Caller(id="me", serial="1")) == REF
    assert links().open(link, Caller(id="me", serial="2")) is None
    assert links().open(link, ME) is None


def test_a_link_reveals_nothing_and_is_unique():
    link = links().sign(REF, ME)
    assert "secret-place" not in link
    assert link != links().sign(REF, ME)


def test_a_link_that_was_changed_anywhere_is_invalid():
    token = links().sign(REF, ME).rpartition("/")[2]
    seal = UrlSigner(b"k" * KEY_BYTES, ManualClock(), 60.0)
    assert seal.open(token) is not None
    for at in range(len(token)):
        changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        assert seal.open(changed) is None
    for nonsense in ("", "x", "é", token + "A" * 9000, token[:-5]):
        assert seal.open(nonsense) is None


def test_a_query_or_fragment_after_a_link_is_ignored():
    link = links().sign(REF, ME)
    assert links().open(f"{link}?a=b", ME) == links().open(f"{link}#here", ME) == REF


def test_a_link_below_a_folder_that_is_called_media_opens():
    link = links(base="https://gateway.example/media/gemini_official").sign(REF, ME)
    assert links().open(f"{link}?a=/media/x", ME) == REF


def test_links_of_this_gateway_are_recognised_even_if_invalid():
    clock = ManualClock()
    link = links(clock).sign(REF, ME)
    clock.advance(61)
    assert links(clock).ours(link)
    assert not links(clock).ours("https://elsewhere.example/gemini_official/media/x")


def test_a_link_expires():
    clock = ManualClock()
    link = links(clock).sign(REF, ME)
    clock.advance(59)
    assert links(clock).open(link, ME) == REF
    clock.advance(2)
    assert links(clock).open(link, ME) is None
