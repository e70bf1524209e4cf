"""Installs what was built into an environment of its own, and tries whether it serves."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import openai

KEY = "sk-smoke-0123456789abcdef"
_PIP = ("install", "--quiet", "--disable-pip-version-check")


def install(built, folder, lock):
    """Install what the lock pins, by its hashes, and then `built`; return the environment's programs."""
    run(sys.executable, "-m", "venv", folder)
    programs = folder / "bin"
    run(programs / "pip", *_PIP, "--require-hashes", "-r", lock)
    run(programs / "pip", *_PIP, "--no-deps", "--no-index", "--no-build-isolation", built)
    return programs


def install_without_dependencies(wheel, folder):
    """Install the wheel alone; what it takes is this environment's. Return the programs and their environment."""
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    programs = folder / "bin"
    run(sys.executable, "-m", "pip", "--python", programs / "python", *_PIP, "--no-deps", "--no-index", wheel)
    ours = next(path for path in sys.path if path.endswith("site-packages"))
    return programs, {"PYTHONPATH": ours}


def run(*command, **options):
    """Run a command; return what it says."""
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=600, check=False, **options
    )
    if done.returncode:
        raise AssertionError(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def smoke(programs, folder, version, more=None):
    """Try the installed command in an empty folder: it tells its version, chats, refuses a stranger, and ends well."""
    folder.mkdir()
    own = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    environment = {**own, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", **(more or {})}
    where = run(programs / "python", "-c", "import service; print(service.__file__)", cwd=folder, env=environment)
    assert Path(where).is_relative_to(programs.parent), where
    assert version in run(programs / "gemini-gateway", "--version", cwd=folder, env=environment)
    command = [str(programs / "gemini-gateway"), "demo", "--port", "0", "--license-key", KEY]
    with (folder / "log").open("wb") as log:
        demo = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
        late = threading.Timer(60, demo.kill)
        late.start()
        try:
            base = next((line.split()[-1] for line in demo.stdout if line.startswith("Base URL")), None)
            assert base is not None, (folder / "log").read_text()
            _chat(base)
            demo.terminate()
            assert demo.wait() == 0, (folder / "log").read_text()
        finally:
            late.cancel()
            demo.kill()
            demo.wait()
            demo.stdout.close()


def _chat(base):
    said = [{"role": "user", "content": "<echo>It works.</echo>"}]
    with openai.OpenAI(base_url=base, api_key=KEY, max_retries=0, timeout=30) as client:
        answer = client.chat.completions.create(model="gemini-3-pro", messages=said)
        assert "It works." in answer.choices[0].message.content
    with openai.OpenAI(base_url=base, api_key="sk-of-a-stranger", max_retries=0, timeout=30) as client:
        try:
            client.chat.completions.create(model="gemini-3-pro", messages=said)
        except openai.AuthenticationError as refused:
            assert refused.status_code == 401  # noqa: PT017 -- also run by make
        else:
            raise AssertionError("a stranger is let in")
