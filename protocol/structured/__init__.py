"""Checks what a model writes for programs: tool calls against their schemas, and structured output."""
