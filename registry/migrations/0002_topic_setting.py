from django.db import migrations, models


def copy_from_topics(apps, schema_editor):
    topics = apps.get_model("topics", "Topic").objects.filter(registers_schemas=False)
    settings = apps.get_model("registry", "TopicSetting").objects
    settings.bulk_create(
        settings.model(topic=name, registers_schemas=False) for name in topics.values_list("name", flat=True)
    )


def copy_to_topics(apps, schema_editor):
    closed = apps.get_model("registry", "TopicSetting").objects.filter(registers_schemas=False)
    apps.get_model("topics", "Topic").objects.filter(name__in=closed.values("topic")).update(registers_schemas=False)


class Migration(migrations.Migration):
    dependencies = [("registry", "0001_initial"), ("topics", "0003_write_trial")]

    operations = [
        migrations.CreateModel(
            name="TopicSetting",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("topic", models.CharField(max_length=249, unique=True)),
                ("registers_schemas", models.BooleanField(default=True)),
            ],
            options={"verbose_name": "topic setting"},
        ),
        migrations.RunPython(copy_from_topics, copy_to_topics),
    ]
