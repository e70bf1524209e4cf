import httpx2 as httpx

from tests.service.cli.conftest import run_in_process


def test_licenses_are_added_listed_and_revoked_while_the_gateway_runs(start_gateway):
    gateway = start_gateway()

    def run(*arguments):
        return run_in_process(gateway.log.parent, "licenses", *arguments).stdout

    key = run("add", "new-team", "--model", "gemini-2.5-*").strip()
    headers = {"Authorization": f"Bearer {key}"}
    listed = httpx.get(f"{gateway.base_url}/models", headers=headers).json()["data"]
    assert {row["id"].startswith("gemini-2.5-") for row in listed} == {True}
    body = {"model": "gemini-3-pro", "messages": [{"role": "user", "content": "x"}]}
    refused = httpx.post(f"{gateway.base_url}/chat/completions", headers=headers, json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")
    assert "new-team\tactive" in run("list")
    assert key not in run("list")
    run("revoke", "new-team")
    assert "new-team\trevoked" in run("list")
    assert httpx.get(f"{gateway.base_url}/models", headers=headers).status_code == 401


def test_mistakes_with_licenses_are_one_line(command):
    command("licenses", "add", "team")
    for arguments in (("add", "team"), ("add", "a b"), ("revoke", "nobody")):
        done = command("licenses", *arguments)
        assert done.returncode == 1
        assert len(done.stderr.strip().splitlines()) == 1
    assert command("licenses", "add", "x", "--feature", "flying").returncode == 2
    assert "nowhere" in command("licenses", "add", "x", "--alias", "a=nowhere").stderr
    for text in ("gemini-3-pro=nowhere", "nowhere=gemini-3-pro", "gemini-3-pro"):
        refused = command("licenses", "add", "x", "--fallback", text)
        assert (refused.returncode, "--fallback" in refused.stderr) == (2, True)


def test_an_id_or_a_key_belongs_to_the_settings_or_to_the_store(command, tmp_path):
    key = command("licenses", "add", "stored").stdout.strip()

    def written(identity, key):
        text = f'[[licenses]]\nid = "{identity}"\nkey = "{key}"\n[transports.simulator]\n'
        (tmp_path / "gateway.toml").write_text(text)

    written("fixed", "sk-gg-of-the-settings-0123456789")
    assert command("config", "check").returncode == 0
    for identity, one, words in (
        ("stored", "sk-gg-of-the-settings-0123456789", "'stored' is in the store, too"),
        ("fixed", key, "'fixed' has the key of the license 'stored'"),
    ):
        written(identity, one)
        for arguments in (("config", "check"), ("serve", "--port", "0")):
            refused = command(*arguments)
            assert (refused.returncode, words in refused.stderr) == (78, True)
            assert key not in refused.stderr
        assert words in " ".join(command("doctor").stdout.split())
    assert command("licenses", "revoke", "stored").returncode == 0
    assert command("config", "check").returncode == 0


def test_a_license_is_for_the_features_that_it_was_added_with(command):
    command("licenses", "add", "bob", "--feature", "images", "--feature", "chat")
    command("licenses", "add", "all")
    listed = [line.split("\t") for line in command("licenses", "list").stdout.splitlines()]
    assert sorted((row[0], row[-1]) for row in listed) == [
        ("all", "chat images video music canvas research storybook"),
        ("bob", "chat images"),
    ]
    command("licenses", "revoke", "bob")
    again = command("licenses", "add", "bob", "--feature", "video")
    assert (again.returncode, again.stdout.startswith("sk-gg-")) == (0, True)
    assert [line for line in command("licenses", "list").stdout.splitlines() if line.startswith("bob\tactive")]


def test_a_license_has_aliases_and_fallbacks_of_its_own(start_gateway):
    gateway = start_gateway()

    def run(*arguments):
        return run_in_process(gateway.log.parent, "licenses", *arguments).stdout

    key = run(
        *("add", "team", "--alias", "house=gemini-3-pro", "--alias", "h*=gemini-2.5-flash"),
        *("--fallback", "gemini-3-pro=gemini-3.6-flash, gemini-2.5-flash", "--fallback", "gemini-3-pro-video="),
    ).strip()

    def ask(model, text):
        body = {"model": model, "messages": [{"role": "user", "content": text}]}
        return httpx.post(f"{gateway.base_url}/chat/completions", headers={"Authorization": f"Bearer {key}"}, json=body)

    assert ask("gemini-3.1-pro", '<sim error="1037"/>').status_code == 429
    answer = ask("house", "hello")
    assert (answer.status_code, answer.headers["x-gateway-fallback"]) == (200, "gemini-3.6-flash")
    assert "fallbacks: gemini-3-pro=gemini-3.6-flash,gemini-2.5-flash gemini-3-pro-video=" in run("list")


def test_a_broken_or_locked_store_is_reported_in_one_line(command, tmp_path):
    import sqlite3

    command("licenses", "add", "team")
    path = tmp_path / "gateway.sqlite3"
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    done = command("licenses", "add", "other")
    lock.execute("ROLLBACK")
    lock.close()
    path.write_bytes(b"nonsense" * 1000)
    foreign = command("licenses", "list")
    assert (done.returncode, foreign.returncode) == (1, 78)
    for result, words in ((done, "locked by another process; try again"), (foreign, "not a database")):
        assert len(result.stderr.strip().splitlines()) == 1
        assert "store.path: " in result.stderr
        assert str(path) in result.stderr
        assert words in result.stderr


def test_an_identity_of_the_settings_is_not_added_to_the_store(command, tmp_path):
    (tmp_path / "gateway.toml").write_text('[[licenses]]\nid = "one"\nkey = "sk-k3VxZ9qLwT7mPb2R"\n')
    done = command("licenses", "add", "one")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the settings have a license 'one' already" in done.stderr
    assert command("licenses", "add", "two").returncode == 0


def test_a_license_is_not_added_while_a_secret_of_the_settings_can_be_guessed(command, tmp_path):
    text = '[[licenses]]\nid = "one"\nkey = "sk-gg-..."\n[transports.web]\n'
    (tmp_path / "gateway.toml").write_text(text)
    done = command("licenses", "add", "two")
    assert (done.returncode, done.stdout) == (78, "")
    assert "licenses[0]: the key: is a placeholder" in done.stderr
    assert command("licenses", "list").returncode == 0


def test_a_pattern_that_matches_no_model_is_a_warning(command, tmp_path):
    done = command("licenses", "add", "one", "--model", "gemini-3-*", "--model", "google/gemini-3-pro")
    assert (done.returncode, done.stdout.startswith("sk-gg-")) == (0, True)
    assert "warning: 'google/gemini-3-pro' matches no model; write it as GET /v1/models" in done.stderr
    assert "gemini-3-*'" not in done.stderr
    (tmp_path / "gateway.toml").write_text(
        '[transports.simulator]\n[[licenses]]\nid = "a"\nkey = "sk-key-of-a-0123456789"\nmodels = ["gpt-4o"]\n'
    )
    done = command("config", "check")
    assert "warning: licenses[0].models: 'gpt-4o' matches no model" in done.stderr
    assert done.returncode == 0
