from service.admin.setup import token_reload
from service.admin.token_auth import tokens_of
from service.config.loader import origin_of
from service.config.schema import load

FIRST, SECOND = "Zk3vQ9xT7mLp2RwYb8Nd", "Hs5jC1uEw6KqXf4Vg0Ta"


def test_tokens_are_reloaded_from_their_files_and_an_invalid_file_changes_nothing(tmp_path):
    token, path = tmp_path / "token", tmp_path / "gateway.toml"
    token.write_text(FIRST)
    path.write_text('[[admin.tokens]]\nname = "ops"\ntoken_file = "token"\n')
    settings, origin = load(path, {}), origin_of(path, {})
    tokens = tokens_of(settings.admin, origin)
    part = token_reload(tokens, settings, origin)

    def known():
        return [tokens.identify(f"Bearer {text}".encode()) is not None for text in (FIRST, SECOND)]

    assert list(part.files) == [token]
    token.write_text(SECOND)
    assert part.reload() == []
    assert known() == [False, True]
    for content in ("", "short"):
        token.write_text(content)
        assert part.reload() == [str(token)]
        assert known() == [False, True]
    token.unlink()
    assert part.reload() == [str(token)]
    assert known() == [False, True]
