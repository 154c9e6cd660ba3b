"""Celery's side: a task takes an id, calls the harness, obeys the outcome. A dozen lines each."""
