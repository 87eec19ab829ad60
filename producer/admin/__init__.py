"""The gateway's admin pages: requests, API keys, accounts and the index."""

from django.contrib import admin

from producer.admin import accounts, keys, requests

__all__ = ["accounts", "keys", "requests"]

admin.site.index_template = "producer/index.html"
