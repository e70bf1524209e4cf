"""The admin API: what can be done with accounts, as JSON, and a feed of what becomes of them.

It answers at a socket of its own, to those whose token the settings name, and to nobody else.
"""
