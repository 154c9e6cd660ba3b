"""What we remember: the tables, the statuses, and the one guarded way to move an invoice."""
