"""What leaves the outbox: webhooks, and the same object as a Celery message to Apunto's own queue."""
