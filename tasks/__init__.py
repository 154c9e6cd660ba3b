"""Celery's side: a task takes an id, calls the pipeline, obeys the outcome. A dozen lines each."""
