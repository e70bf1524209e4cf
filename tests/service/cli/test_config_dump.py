def test_config_check_validates_and_config_show_hides_secrets(command, tmp_path):
    (tmp_path / "gateway.toml").write_text("[transports.web]\n")
    assert command("config", "check").stdout == "gateway.toml: ok\n"
    (tmp_path / "gateway.toml").write_text('[[licenses]]\nid = "a"\nkey = "secret-key-1"\n')
    shown = command("config", "show")
    assert 'key = "***"' in shown.stdout
    assert "secret" not in shown.stdout
    (tmp_path / "gateway.toml").write_text("[server]\nport = 'x'\n")
    for action in ("check", "show"):
        done = command("config", action)
        assert done.returncode == 78
        assert "server.port" in done.stderr
