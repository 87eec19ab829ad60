"""Remember the topics of a Kafka cluster."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("topics", "0004_remove_topic_registers_schemas")]

    operations = [
        migrations.CreateModel(
            name="KnownTopic",
            fields=[
                ("name", models.CharField(max_length=249, primary_key=True, serialize=False)),
                ("partitions", models.PositiveIntegerField()),
            ],
        ),
    ]
