from producer.management.commands import retry_requests
from producer.models import BulkAction, Status


class Command(retry_requests.Command):
    help = "Cancel pending requests. To their clients they have failed, with the code cancelled."
    action = BulkAction.CANCEL
    statuses = (Status.PENDING,)
    event = "request_cancelled"
