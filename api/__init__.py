"""The HTTP API and the panel (contract, section 6): one process, `timbrado serve`.

Reading needs PostgreSQL alone; what changes something is committed there first, and messages are sent where the broker
answers. Everything calls the same functions as the tasks.
"""
