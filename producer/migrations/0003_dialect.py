from django.db import migrations, models


def name_dialects(apps, schema_editor):
    apps.get_model("producer", "ProduceRequest").objects.filter(ndjson=True).update(dialect="ndjson")


def mark_lines(apps, schema_editor):
    apps.get_model("producer", "ProduceRequest").objects.filter(dialect="ndjson").update(ndjson=True)


class Migration(migrations.Migration):

    dependencies = [
        ("producer", "0002_worker_slots"),
    ]

    operations = [
        migrations.AddField(
            model_name="producerequest",
            name="dialect",
            field=models.CharField(default="json", max_length=16),
        ),
        migrations.RunPython(name_dialects, mark_lines),
        migrations.RemoveField(
            model_name="producerequest",
            name="ndjson",
        ),
    ]
