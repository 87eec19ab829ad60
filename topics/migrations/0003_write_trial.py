from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("topics", "0002_topic_registers_schemas")]

    operations = [
        migrations.CreateModel(
            name="WriteTrial",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("filler", models.BinaryField()),
            ],
        ),
    ]
