"""Settings of Django REST framework and drf-spectacular."""

FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["producer.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["producer.authentication.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["core.api.media.MsgspecRenderer"],
    "DEFAULT_PARSER_CLASSES": ["core.api.media.MsgspecParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "core.api.media.AlwaysJson",
    "DEFAULT_METADATA_CLASS": None,
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "takhin_site.problems.answer",
    "UNAUTHENTICATED_USER": None,
}
# For drf-spectacular.
DESCRIPTION = {
    "TITLE": "Takhin HTTP Producer",
    "DESCRIPTION": "Write records to partitioned, Kafka-style topics from anything that speaks HTTP.\n\n"
    "The schema registry under `/registry` implements Confluent's API, which is not described here.",
    "TAGS": [
        {"name": "produce", "description": "Write records, now or in the background."},
        {"name": "topics", "description": "Create topics and read records back."},
        {"name": "health", "description": "For probes. No API key is required."},
    ],
    "OAS_VERSION": "3.1.1",
    "SERVERS": [{"url": "/", "description": "The server that this description comes from."}],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "core.api.postprocessing.improve",
    ],
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "TextEncodingEnum": "topics.api.serializers.ENCODINGS",
        "FormatEnum": "producer.api.serializers.FORMAT_NAMES",
    },
    "ENUM_ADD_EXPLICIT_BLANK_NULL_CHOICE": False,
    # Swagger UI forgets a key with its page, and no other host validates the description.
    "SWAGGER_UI_SETTINGS": {"tryItOutEnabled": True, "displayRequestDuration": True, "validatorUrl": None},
}
