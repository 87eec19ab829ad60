"""Create the roles Viewer, Operator and Admin, as groups. Their permissions can be changed like any group's."""

from django.apps import apps as installed
from django.contrib.auth.management import create_permissions
from django.db import migrations

LABELS = ("core", "topics", "registry", "producer", "auth")
VIEWER = (
    "producer.view_producerequest",
    "producer.view_heartbeat",
    "topics.view_topic",
    "topics.view_partition",
    "registry.view_subjectversion",
    "registry.view_subjectconfig",
    "registry.view_change",
    "core.view_rejection",
)
OPERATOR = (
    *VIEWER,
    "producer.view_payload",
    "producer.change_producerequest",
    "producer.view_bulkchange",
    "producer.view_apikey",
    "topics.view_recordbatch",
    "core.view_auditentry",
)


def create_roles(apps, schema_editor):
    permissions = {}
    for label in LABELS:
        config = installed.get_app_config(label)
        # Django creates permissions only after all migrations.
        create_permissions(config, verbosity=0, apps=apps, using=schema_editor.connection.alias)
    for one in apps.get_model("auth", "Permission").objects.filter(content_type__app_label__in=LABELS):
        permissions[f"{one.content_type.app_label}.{one.codename}"] = one
    group = apps.get_model("auth", "Group")
    for name, wanted in (("Viewer", VIEWER), ("Operator", OPERATOR), ("Admin", permissions)):
        role, is_new = group.objects.get_or_create(name=name)
        # An installation may have its own group of this name.
        if is_new:
            role.permissions.set([permissions[one] for one in wanted])
    _keep_payloads(apps, permissions)


def _keep_payloads(apps, permissions):
    """Let users see payloads who could before that had a permission of its own."""
    before, now = permissions["producer.view_producerequest"], permissions["producer.view_payload"]
    for user in apps.get_model("auth", "User").objects.filter(user_permissions=before):
        user.user_permissions.add(now)
    for group in apps.get_model("auth", "Group").objects.filter(permissions=before).exclude(name="Viewer"):
        group.permissions.add(now)


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("core", "0002_rejections_and_rollups"),
        ("topics", "0005_known_topic"),
        ("registry", "0002_topic_setting"),
        ("producer", "0009_heartbeats"),
    ]
    operations = [migrations.RunPython(create_roles, migrations.RunPython.noop)]
