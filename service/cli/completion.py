"""`gemini-gateway completion`: print a shell completion script."""

import click
from click.shell_completion import get_completion_class

_COMMAND = "gemini-gateway"
_VARIABLE = "_GEMINI_GATEWAY_COMPLETE"
"""Environment variable by which the script asks click for completions."""


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the shell completion script; source it in the shell's startup file."""
    made = get_completion_class(shell)
    if made is None:  # this version of click does not support the shell
        raise click.ClickException(f"completion is not supported for {shell}")
    click.echo(made(context.find_root().command, {}, _COMMAND, _VARIABLE).source())
