"""`gemini-gateway completion`: the script by which a shell completes the command."""

import click
from click.shell_completion import get_completion_class

_COMMAND = "gemini-gateway"
_VARIABLE = "_GEMINI_GATEWAY_COMPLETE"
"""The shell sets it when it asks; click knows it by this name."""


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script by which a shell completes this command, to be read by it at its start."""
    made = get_completion_class(shell)
    if made is None:  # only where click no longer knows a shell
        raise click.ClickException(f"nothing completes in {shell} here")
    click.echo(made(context.find_root().command, {}, _COMMAND, _VARIABLE).source())
