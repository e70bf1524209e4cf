"""The admin API: account operations as JSON, and a feed of account changes.

It has its own listener, and every request needs an admin token from the settings.
"""
