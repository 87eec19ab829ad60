import os
import socket
from typing import Any

from django.core.management.base import CommandError

from core.commands import OutputCommand
from producer.models import Heartbeat


class Command(OutputCommand):
    help = "Exit with 0 if a worker of this host was seen within 45 seconds, and with 1 if none was. For probes."
    # A probe must be quick.
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        host = socket.gethostname()[:60]
        alive = Heartbeat.objects.alive().filter(name__startswith=f"{host}-").count()
        if not alive:
            raise CommandError(f"no worker of {host} was seen within 45 seconds (asked by process {os.getpid()})")
        self.tell(options, {"host": host, "workers": alive}, f"{alive} of {host} at work.")
