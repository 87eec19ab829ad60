from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("core", "0002_rejections_and_rollups")]
    operations = [
        migrations.RemoveConstraint(model_name="rollup", name="one_rollup"),
        migrations.AddConstraint(
            model_name="rollup",
            constraint=models.UniqueConstraint(
                fields=["step", "metric", "topic", "minute", "label"], name="one_rollup"
            ),
        ),
    ]
