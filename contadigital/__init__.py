"""The wire to ContaDigital: what is known of the provider is known here and in no other room.

Start with `client.py` (one method a call), then `errors.py` (what each answer means). What nobody has confirmed is
listed in docs/unknowns.md, each line with its one place in this folder.
"""
