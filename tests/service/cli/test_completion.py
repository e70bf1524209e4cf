import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from service.cli.main import cli

ASK = """
source {script}
COMP_WORDS=({words}) COMP_CWORD={last}
_gemini_gateway_completion gemini-gateway
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("gemini-gateway acc", "accounts"),
        ("gemini-gateway accounts pa", "pause"),
        ("gemini-gateway init --sim", "--simulator"),
        ("gemini-gateway completion z", "zsh"),
    ],
)
def test_bash_completes_what_is_begun(tmp_path, words, completed):
    script = tmp_path / "completion"
    script.write_text(CliRunner().invoke(cli, ["completion", "bash"], prog_name="gemini-gateway").output)
    command = ASK.format(script=script, words=words, last=words.count(" "))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(
        ["bash", "-c", command], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == [completed], done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_have_a_script(shell):
    done = CliRunner().invoke(cli, ["completion", shell])
    assert done.exit_code == 0
    assert "_GEMINI_GATEWAY_COMPLETE" in done.output
