"""The producer's admin pages: requests, API keys and the index."""

from django.contrib import admin

from producer.admin import bulk_changes, keys, requests

__all__ = ["bulk_changes", "keys", "requests"]

admin.site.index_template = "producer/index.html"
