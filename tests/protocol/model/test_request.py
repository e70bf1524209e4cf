import msgspec
import pytest

from protocol.model import Caller, Catalogue, Feature, FilePart, Forbidden

FILE = FilePart(data=b"content", mime="text/plain", name="a.txt")


def test_the_digest_of_a_file_depends_on_its_content_and_is_computed_once():
    other = FilePart(data=b"content", mime="image/png", name="b")
    assert FILE.digest == other.digest != msgspec.structs.replace(FILE, data=b"other").digest
    assert FILE.digest is FILE.digest


def test_a_computed_digest_changes_neither_equality_nor_the_stored_form():
    fresh = FilePart(data=b"content", mime="text/plain", name="a.txt")
    assert FILE.digest
    assert fresh == FILE
    assert msgspec.json.encode(fresh) == msgspec.json.encode(FILE)


def test_the_repr_of_a_file_hides_its_content():
    assert "content" not in repr(FILE)


CATALOGUE = Catalogue.build()


def may(caller, name):
    return caller.may_use(CATALOGUE.resolve(name))


def test_a_caller_may_use_what_a_pattern_of_the_license_covers():
    caller = Caller(id="l1", models=("gemini-2.5-*", "gemini-3-pro"))
    assert may(caller, "gemini-2.5-flash-canvas")
    assert may(caller, "gemini-3-pro")
    assert may(caller, "gemini-2.5-pro-video")  # the requested name counts, not the answering model
    assert not may(caller, "gemini-3-pro-video")


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("google/*", "google/gemini-3-pro"),
        ("GEMINI-*", "GEMINI-3-PRO"),
        ("*:latest", "gemini-3-pro:latest"),
        ("gemini-3-pro", "gemini-3-pro-imagen"),
        ("own", "openai/own-video"),
    ],
)
def test_a_pattern_is_compared_with_the_normal_form_of_a_name_only(pattern, name):
    catalogue = Catalogue.build(aliases={"own": "gemini-3-pro"})
    assert not Caller(id="l1", models=(pattern,)).may_use(catalogue.resolve(name))


def test_a_license_without_patterns_covers_everything():
    assert may(Caller(id="l1"), "gemini-3-pro-video")


@pytest.mark.parametrize(
    ("name", "feature"),
    [
        ("gemini-3-pro", "chat"),
        ("gemini-3-pro-imagen", "images"),
        ("gemini-3-pro-video", "video"),
        ("gemini-3-pro-canvas-extended", "canvas"),
        ("gemini-3-pro-deepsearch", "research"),
        ("gemini-3-pro-storybook", "storybook"),
    ],
)
def test_a_feature_that_the_license_lacks_is_named(name, feature):
    caller = Caller(id="l1", features=tuple(f for f in Feature if f != feature))
    with pytest.raises(Forbidden, match=f"'{feature}'") as caught:
        caller.permit(CATALOGUE.resolve(name))
    assert caught.value.code == "license_required"
    Caller(id="l1", features=(Feature(feature),)).permit(CATALOGUE.resolve(name))
