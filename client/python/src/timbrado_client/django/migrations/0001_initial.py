"""The two tables of the kit."""

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies: list[tuple[str, str]] = []

    operations = [
        migrations.CreateModel(
            name="ConnectionRow",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("subject", models.CharField(max_length=240, unique=True)),
                ("account", models.CharField(db_index=True, max_length=200)),
                ("version", models.IntegerField()),
                ("status", models.CharField(max_length=30)),
                ("reason", models.CharField(max_length=40, null=True)),
                ("message", models.TextField()),
                ("fix", models.TextField(default="")),
                ("updated_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
        migrations.CreateModel(
            name="InvoiceRow",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("subject", models.CharField(max_length=100, unique=True)),
                ("account", models.CharField(max_length=200)),
                ("external_id", models.CharField(max_length=200)),
                ("version", models.IntegerField()),
                ("status", models.CharField(db_index=True, max_length=30)),
                ("message", models.TextField()),
                ("errors", models.JSONField(default=list)),
                ("warnings", models.JSONField(default=list)),
                ("uuid", models.CharField(max_length=36, null=True)),
                ("serie", models.CharField(max_length=30, null=True)),
                ("folio", models.CharField(max_length=40, null=True)),
                ("fecha_timbrado", models.CharField(max_length=19, null=True)),
                ("documents", models.JSONField(default=list)),
                ("updated_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "indexes": [models.Index(fields=["account", "external_id"], name="timbrado_invoice_ids")],
            },
        ),
    ]
