"""What the rest of an application listens to."""

from django.dispatch import Signal

recorded = Signal()
"""Sent with `event` and `row` (an InvoiceRow or ConnectionRow) after an event changed what is known."""
