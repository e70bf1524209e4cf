import pytest

from service.admin.token_auth import AdminIdentity, tokens_of
from service.config.loader import Origin, SettingsError
from service.config.schema import AdminSettings, AdminTokenSettings

ORIGIN = Origin(name="gateway.toml")
GOOD = "Zk3v8Q-b7NcT1yWm"


def tokens(*pairs, **more):
    return tokens_of(
        AdminSettings(tokens=tuple(AdminTokenSettings(name=name, token=token, **more) for name, token in pairs)), ORIGIN
    )


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("", "either token or token_file"),
        ("Zk3v8Q-b7NcT1yW", "16 to 256"),
        ("Zk3v8Q-b7NcT 1yWmm", "16 to 256"),
        ("Zk3v8Q-b7NcT1yWé", "16 to 256"),
        ("change-me-change-me", "placeholder"),
        ("your-token-goes-here", "placeholder"),
        ("<the-token-of-ops>", "placeholder"),
        ("aaaaaaaaaaaaaaaaaaaa", "placeholder"),
    ],
)
def test_a_weak_token_is_refused_without_showing_it(token, words):
    with pytest.raises(SettingsError) as caught:
        tokens(("ops", token))
    assert words in str(caught.value)
    assert str(caught.value).startswith("gateway.toml: admin.tokens[0]")
    assert not token or token not in str(caught.value)


def test_a_token_can_be_read_from_a_file(tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{GOOD}\n")
    found = tokens_of(AdminSettings(tokens=(AdminTokenSettings(name="ops", token_file=file, read_only=True),)), ORIGIN)
    assert found.identify(f"Bearer {GOOD}".encode()) == AdminIdentity("ops", read_only=True)
    for wrong in (
        AdminTokenSettings(name="a", token_file=tmp_path / "none"),
        AdminTokenSettings(name="a", token=GOOD, token_file=file),
    ):
        with pytest.raises(SettingsError, match=r"admin\.tokens\[0\]"):
            tokens_of(AdminSettings(tokens=(wrong,)), ORIGIN)


def test_names_and_tokens_must_be_unique():
    for pairs in ((("a", GOOD), ("a", GOOD[::-1])), (("a", GOOD), ("b", GOOD))):
        with pytest.raises(SettingsError, match="two entries have the same"):
            tokens(*pairs)


def test_only_a_valid_bearer_token_identifies_its_owner():
    found = tokens(("a", GOOD), ("b", GOOD[::-1]))
    assert found.identify(f"Bearer {GOOD}".encode()).actor == "admin:a"
    assert found.identify(f"bearer  {GOOD[::-1]} ".encode()).actor == "admin:b"
    for wrong in (b"", b"Bearer", b"Bearer ", f"Basic {GOOD}".encode(), GOOD.encode(), f"Bearer {GOOD}x".encode()):
        assert found.identify(wrong) is None
    assert tokens().identify(f"Bearer {GOOD}".encode()) is None
