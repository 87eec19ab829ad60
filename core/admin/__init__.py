"""The admin's shared parts, and the audit log's screen."""

from core.admin import audit, rejections

__all__ = ["audit", "rejections"]
