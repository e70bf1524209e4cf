import json

import click
import pytest

from service.cli.many_accounts import entries_in, entries_of

KEYS = ["AIza" + letter * 35 for letter in "abc"]
SESSION = "__Secure-1PSID=g.a000canary; __Secure-1PSIDTS=sidts-canary"


def recognizes(text):
    return text.startswith("AIza") or "__Secure-1PSID" in text.replace("__Secure-1PSIDTS", "")


def found(text):
    return [(one.id, one.secret) for one in entries_in(text, "file", recognizes)]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(f"{name} {key}" for name, key in zip("abc", KEYS, strict=True)),
        "# keys\n" + "\n".join(f"{name},{key}\n" for name, key in zip("abc", KEYS, strict=True)),
        json.dumps(dict(zip("abc", KEYS, strict=True))),
        json.dumps([{"id": name, "secret": key} for name, key in zip("abc", KEYS, strict=True)]),
        json.dumps({"accounts": [{"name": name, "api_key": key} for name, key in zip("abc", KEYS, strict=True)]}),
        "\n".join(json.dumps({"id": name, "key": key}) for name, key in zip("abc", KEYS, strict=True)),
    ],
)
def test_several_accounts_have_their_ids(text):
    assert found(text) == list(zip("abc", KEYS, strict=True))


def test_accounts_without_ids_are_numbered():
    assert found("\n".join(KEYS)) == [(f"file-{number}", key) for number, key in enumerate(KEYS, 1)]
    assert [one[0] for one in found(f"# a\n{SESSION}\n\n# b\n{SESSION}")] == ["a", "b"]


@pytest.mark.parametrize(
    "text",
    [
        SESSION,
        SESSION.replace("; ", "\n"),
        json.dumps([{"name": name, "value": "x"} for name in ("__Secure-1PSID", "__Secure-1PSIDTS", "NID")]),
        "\n".join(f".google.com\tTRUE\t/\tTRUE\t0\t{name}\tx" for name in ("NID", "__Secure-1PSID")),
    ],
)
def test_one_account_stays_whole(text):
    assert found(text) == [("file", text)]


def test_options_of_an_account_are_its_own():
    item = {"id": "a", "secret": KEYS[0], "tags": ["eu"], "note": "n", "options": {"weight": 2}, "transport": "api"}
    (one,) = entries_in(json.dumps([item]), "file", recognizes)
    assert (one.id, one.transport, one.options) == ("a", "api", {"tags": ["eu"], "note": "n", "weight": 2})
    assert KEYS[0] not in repr(one)


def test_a_folder_has_an_account_in_each_file(tmp_path):
    for name, text in (("first one.txt", SESSION), ("b.json", json.dumps(KEYS[:2])), (".hidden", "x")):
        (tmp_path / name).write_text(text)
    assert [one.id for one in entries_of(tmp_path, recognizes)] == ["b-1", "b-2", "first-one"]
    (tmp_path / "b-1").write_text(KEYS[2])
    with pytest.raises(click.ClickException, match="several accounts have the id 'b-1'"):
        entries_of(tmp_path, recognizes)
