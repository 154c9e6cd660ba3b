"""A Django application that keeps what the worker's events say: two tables, a webhook, and a page's worth of template.

    INSTALLED_APPS = [..., "timbrado_client.django"]
    TIMBRADO_WEBHOOK_SECRET = os.environ["TIMBRADO_WEBHOOK_SECRET"]
    urlpatterns = [..., path("hooks/timbrado", timbrado_client.django.views.webhook)]

`models.record` applies an event of any other way (a Celery message, `Api.events`); the signal `signals.recorded`
follows each one that changed something. Needs Django 4.2 or newer, which is the application's own.
"""
