"""The application as Django registers it."""

from django.apps import AppConfig


class TimbradoConfig(AppConfig):
    """Its label is `timbrado`: its tables are `timbrado_...` and its templates `timbrado/...`."""

    name = "timbrado_client.django"
    label = "timbrado"
    default_auto_field = "django.db.models.BigAutoField"
