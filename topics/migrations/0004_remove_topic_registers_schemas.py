from django.db import migrations


class Migration(migrations.Migration):
    # The registry copies the column before it is dropped.
    dependencies = [("topics", "0003_write_trial"), ("registry", "0002_topic_setting")]

    operations = [migrations.RemoveField("topic", "registers_schemas")]
