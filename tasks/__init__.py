"""Celery's side: a task takes an id, calls the corridor, obeys the outcome. A dozen lines each."""
