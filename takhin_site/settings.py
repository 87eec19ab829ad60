"""Django's settings, read from the environment. Every limit of the product is defined here."""

import os
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured

from takhin_site import __version__, databases, env, private, rest, sqlite, theme
from takhin_site.accounts import *  # noqa: F403

VERSION = __version__
# The checkout, or the working directory if Takhin is installed as a package, which has no manage.py beside it
_SOURCE_DIR = Path(__file__).resolve().parent.parent
BASE_DIR = _SOURCE_DIR if (_SOURCE_DIR / "manage.py").exists() else Path.cwd()
environ.Env.read_env(BASE_DIR / ".env")
MIB = 1024 * 1024
# Files that this process creates are accessible only to their owner, whatever the mode of the folder.
os.umask(0o077)

# The server
DEBUG = env.boolean("TAKHIN_DEBUG", False)
TAKHIN_HOST = env.text("TAKHIN_HOST", "127.0.0.1")
TAKHIN_PORT = env.integer("TAKHIN_PORT", 8080, 1, 65535)
TAKHIN_PROCESSES = env.processes("TAKHIN_PROCESSES", 1)
TAKHIN_THREADS = env.integer("TAKHIN_THREADS", 16, 1, 512)
TAKHIN_MAX_CONNECTIONS = env.integer("TAKHIN_MAX_CONNECTIONS", 10_000, 1, 1_000_000)
TAKHIN_BODY_TIMEOUT = env.duration("TAKHIN_BODY_TIMEOUT", "30s", 1)
# A decoded body takes up to six times its size while its records are written: 64 MiB fit a pod of 1 GiB.
TAKHIN_MAX_BUFFERED_BYTES = env.integer("TAKHIN_MAX_BUFFERED_BYTES", 64 * MIB, 1)
TAKHIN_DATA_DIR = env.data_folder("TAKHIN_DATA_DIR", BASE_DIR / "data")
TAKHIN_LOOPBACK = TAKHIN_HOST in ("127.0.0.1", "::1", "localhost")
TAKHIN_REQUIRE_API_KEY = env.boolean("TAKHIN_REQUIRE_API_KEY", True)
if not TAKHIN_REQUIRE_API_KEY and not TAKHIN_LOOPBACK:
    raise ImproperlyConfigured(
        "TAKHIN_REQUIRE_API_KEY must be true unless TAKHIN_HOST is a loopback address "
        f"(127.0.0.1, ::1 or localhost), got false with TAKHIN_HOST={TAKHIN_HOST!r}"
    )
if DEBUG and not TAKHIN_LOOPBACK:
    raise ImproperlyConfigured(
        "TAKHIN_DEBUG must be false unless TAKHIN_HOST is a loopback address (127.0.0.1, ::1 or localhost): "
        f"debug pages show settings and code, got true with TAKHIN_HOST={TAKHIN_HOST!r}"
    )
ALLOWED_HOSTS = env.words("TAKHIN_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]" if TAKHIN_LOOPBACK else "*")
CSRF_TRUSTED_ORIGINS = env.origins("TAKHIN_TRUSTED_ORIGINS", may_be_any=False)
CORS_ALLOWED_ORIGINS = env.origins("TAKHIN_CORS_ORIGINS")
TAKHIN_TRUSTED_PROXIES = env.networks("TAKHIN_TRUSTED_PROXIES")
TAKHIN_WRONG_KEYS_PER_MINUTE = env.integer("TAKHIN_WRONG_KEYS_PER_MINUTE", 60)

# The admin
TAKHIN_ADMIN = env.boolean("TAKHIN_ADMIN", True)
_secret_key = TAKHIN_DATA_DIR / "secret-key"
private.keep(
    [_secret_key, *(TAKHIN_DATA_DIR / name for name in ("admin-password", "migrating.lock", "known-databases"))]
)
SECRET_KEY = env.text("TAKHIN_SECRET_KEY", "")
if SECRET_KEY:
    private.judge_secret("TAKHIN_SECRET_KEY", SECRET_KEY)
else:
    SECRET_KEY = private.judge_secret(str(_secret_key), private.secret(_secret_key))

# Single sign-on to the admin, at the OpenID provider of this address
TAKHIN_OIDC_ISSUER = env.provider("TAKHIN_OIDC_ISSUER")
TAKHIN_OIDC_CLIENT_ID = env.text("TAKHIN_OIDC_CLIENT_ID", "")
TAKHIN_OIDC_CLIENT_SECRET = env.text("TAKHIN_OIDC_CLIENT_SECRET", "")
TAKHIN_OIDC_SCOPES = env.text("TAKHIN_OIDC_SCOPES", "openid profile email")
TAKHIN_OIDC_ROLES_CLAIM = env.text("TAKHIN_OIDC_ROLES_CLAIM", "groups")
TAKHIN_OIDC_ROLES = env.roles("TAKHIN_OIDC_ROLES")
_required = (TAKHIN_OIDC_ISSUER, TAKHIN_OIDC_CLIENT_ID, TAKHIN_OIDC_ROLES)
if any(_required) and not all(_required):
    raise ImproperlyConfigured("Single sign-on needs TAKHIN_OIDC_ISSUER, TAKHIN_OIDC_CLIENT_ID and TAKHIN_OIDC_ROLES")
if "openid" not in TAKHIN_OIDC_SCOPES.split():
    raise ImproperlyConfigured(f"TAKHIN_OIDC_SCOPES must include openid, got {TAKHIN_OIDC_SCOPES!r}")
SINGLE_SIGN_ON_URL = "/admin/sso/"

# Behind a proxy with TLS
_HTTPS = any(origin.startswith("https://") for origin in CSRF_TRUSTED_ORIGINS)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _HTTPS else None
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _HTTPS
SECURE_HSTS_SECONDS = 365 * 86_400 if _HTTPS else 0
# Redirect browsers to TLS. Programs in the same network may use the API without it, and probes have to.
SECURE_SSL_REDIRECT = _HTTPS
SECURE_REDIRECT_EXEMPT = [r"^(?!admin(/|$))"]
# Both checks ask for promises about subdomains, which do not belong to this server.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]

env.refuse_crashes()

# Limits of one produce request
TAKHIN_MAX_BODY_BYTES = env.integer("TAKHIN_MAX_BODY_BYTES", 10 * MIB, 1)
TAKHIN_MAX_RECORDS = env.integer("TAKHIN_MAX_RECORDS", 10_000, 1)
TAKHIN_MAX_RECORD_BYTES = env.integer("TAKHIN_MAX_RECORD_BYTES", MIB, 1)
TAKHIN_MAX_HEADERS = env.integer("TAKHIN_MAX_HEADERS", 100)
# The JSON decoder recurses, and fails near 1000 levels on CPython 3.11.
TAKHIN_MAX_NESTING = env.integer("TAKHIN_MAX_NESTING", 100, 1, 500)

# What the server has room for. Beyond these limits it rejects requests at once
TAKHIN_MAX_IN_FLIGHT = env.integer("TAKHIN_MAX_IN_FLIGHT", 512, 1)
TAKHIN_MAX_PENDING = env.integer("TAKHIN_MAX_PENDING", 50_000)
TAKHIN_MAX_PENDING_BYTES = env.integer("TAKHIN_MAX_PENDING_BYTES", 1024 * MIB)
TAKHIN_MAX_PENDING_PER_KEY = env.integer("TAKHIN_MAX_PENDING_PER_KEY", 25_000)
TAKHIN_MAX_PENDING_BYTES_PER_KEY = env.integer("TAKHIN_MAX_PENDING_BYTES_PER_KEY", 512 * MIB)
TAKHIN_MIN_FREE_DISK = env.integer("TAKHIN_MIN_FREE_DISK", 256 * MIB)

# The quotas of API keys that have none of their own; 0 is no limit
TAKHIN_REQUESTS_PER_SECOND = env.integer("TAKHIN_REQUESTS_PER_SECOND", 0)
TAKHIN_RECORDS_PER_SECOND = env.integer("TAKHIN_RECORDS_PER_SECOND", 0)
TAKHIN_BYTES_PER_SECOND = env.integer("TAKHIN_BYTES_PER_SECOND", 0)

# The log
TAKHIN_LOG = env.choice("TAKHIN_LOG", "embedded", ("embedded", "kafka", "memory"))
TOPIC_LOG = {
    "embedded": "topics.log.embedded.log.EmbeddedLog",
    "kafka": "topics.log.kafka.log.KafkaLog",
    "memory": "topics.log.memory.MemoryLog",
}[TAKHIN_LOG]
if TAKHIN_LOG == "memory" and TAKHIN_PROCESSES > 1:
    raise ImproperlyConfigured("TAKHIN_PROCESSES must be 1 with TAKHIN_LOG=memory, which each process has for itself")
TAKHIN_PRODUCE_TIMEOUT = env.duration("TAKHIN_PRODUCE_TIMEOUT", "10s", 1)
TAKHIN_AUTO_CREATE_TOPICS = env.boolean("TAKHIN_AUTO_CREATE_TOPICS", False)
TAKHIN_DEFAULT_PARTITIONS = env.integer("TAKHIN_DEFAULT_PARTITIONS", 3, 1, 1000)

# The Kafka cluster. KAFKA_ variables set librdkafka properties: KAFKA_SECURITY_PROTOCOL sets security.protocol
KAFKA_BOOTSTRAP_SERVERS = env.text("KAFKA_BOOTSTRAP_SERVERS", "")
KAFKA = env.kafka_properties() if TAKHIN_LOG == "kafka" else {}
TAKHIN_KAFKA_EXACTLY_ONCE = env.boolean("TAKHIN_KAFKA_EXACTLY_ONCE", True)
if TAKHIN_LOG == "kafka" and not KAFKA_BOOTSTRAP_SERVERS:
    raise ImproperlyConfigured("KAFKA_BOOTSTRAP_SERVERS must list brokers, such as kafka-1:9092,kafka-2:9092")

# Schemas of Avro keys and values, from the embedded registry or the one at SCHEMA_REGISTRY_URL
SCHEMA_REGISTRY_URL = env.text("SCHEMA_REGISTRY_URL", "")
_key, _secret = env.text("SCHEMA_REGISTRY_KEY", ""), env.text("SCHEMA_REGISTRY_SECRET", "")
SCHEMA_REGISTRY_AUTH = env.credentials("SCHEMA_REGISTRY_AUTH", f"{_key}:{_secret}" if _key else "")
SCHEMA_REGISTRY_CA = env.text("SCHEMA_REGISTRY_CA", "")
SCHEMA_SOURCE = (
    "registry.sources.confluent.ConfluentRegistry"
    if SCHEMA_REGISTRY_URL
    else "registry.sources.embedded.EmbeddedRegistry"
)
TAKHIN_SUBJECT_NAME_STRATEGY = env.choice("TAKHIN_SUBJECT_NAME_STRATEGY", "topic", ("topic", "record", "topic-record"))
TAKHIN_AVRO_BYTES = env.choice("TAKHIN_AVRO_BYTES", "base64", ("base64", "latin-1"))
TAKHIN_AVRO_UNKNOWN_FIELDS = env.choice("TAKHIN_AVRO_UNKNOWN_FIELDS", "error", ("error", "ignore"))
# Decodes record bytes that the topics app does not know, for readers
RECORD_DECODER = "registry.framing.Decoder"

# Tracked requests and the threads behind the server
TAKHIN_WORKERS = env.integer("TAKHIN_WORKERS", 1, 0, 64)
TAKHIN_TRACK_SYNC = env.choice("TAKHIN_TRACK_SYNC", "all", ("all", "failed"))
TAKHIN_REQUEST_TTL = env.duration("TAKHIN_REQUEST_TTL", "30m")
TAKHIN_FAILURE_TTL = env.duration("TAKHIN_FAILURE_TTL", "7d")
TAKHIN_MAX_FAILURE_BYTES = env.integer("TAKHIN_MAX_FAILURE_BYTES", 1024 * MIB)
TAKHIN_AUDIT_TTL = env.duration("TAKHIN_AUDIT_TTL", "90d", 86_400)
TAKHIN_IDEMPOTENCY_TTL = env.duration("TAKHIN_IDEMPOTENCY_TTL", "24h", 60)
TAKHIN_HOUSEKEEPING_INTERVAL = env.duration("TAKHIN_HOUSEKEEPING_INTERVAL", "5m")
# How long a request may be pending until that counts as trouble
TAKHIN_MAX_PENDING_AGE = env.duration("TAKHIN_MAX_PENDING_AGE", "5m", 1)

# Metrics and logs
TAKHIN_METRICS_PORT = env.integer("TAKHIN_METRICS_PORT", 0, 0, 65535)
TAKHIN_METRICS_HOST = env.text("TAKHIN_METRICS_HOST", "127.0.0.1")
TAKHIN_METRICS_TOPICS = env.integer("TAKHIN_METRICS_TOPICS", 200)
TAKHIN_TRACE_HEADERS = env.boolean("TAKHIN_TRACE_HEADERS", False)
TAKHIN_LOG_LEVEL = env.choice("TAKHIN_LOG_LEVEL", "info", ("debug", "info", "warning", "error"))

_database = env.database("DATABASE_URL", TAKHIN_DATA_DIR / "takhin.sqlite3")
TAKHIN_SQLITE_JOURNAL = env.choice("TAKHIN_SQLITE_JOURNAL", sqlite.BEST_JOURNAL, ("WAL", "TRUNCATE"))
if TAKHIN_SQLITE_JOURNAL == "WAL" and not sqlite.is_free_of_wal_reset_bug(sqlite.VERSION):
    raise ImproperlyConfigured(
        f"TAKHIN_SQLITE_JOURNAL must be TRUNCATE, because SQLite {sqlite.NAME} may corrupt a WAL database"
    )
# A connection for every thread that may need one at the same time: requests, workers and their leases,
# housekeeping, the lane.
_THREADS = TAKHIN_THREADS + 2 * TAKHIN_WORKERS + 3
TAKHIN_DB_POOL_SIZE = env.integer("TAKHIN_DB_POOL_SIZE", _THREADS, 1)
if not databases.is_sqlite(_database) and TAKHIN_DB_POOL_SIZE < _THREADS:
    raise ImproperlyConfigured(
        f"TAKHIN_DB_POOL_SIZE must be at least {_THREADS}: TAKHIN_THREADS + 2 * TAKHIN_WORKERS + 3, "
        f"got {TAKHIN_DB_POOL_SIZE}"
    )
# With Django's engines, changed not to wait for a database that does not respond
DATABASES = {
    "default": databases.sqlite(_database, min(10, TAKHIN_PRODUCE_TIMEOUT), TAKHIN_DATA_DIR / "test.sqlite3")
    if databases.is_sqlite(_database)
    else databases.postgresql(_database, TAKHIN_DB_POOL_SIZE)
}

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "corsheaders",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "core",
    "topics",
    "registry",
    "producer",
    "takhin_site",
]
# The middleware of requests for the API, which comes first for all others too.
API_MIDDLEWARE = [
    "takhin_site.middleware.RequestLog",
    "takhin_site.middleware.KnownHost",
    "takhin_site.middleware.CompleteBody",
    "takhin_site.methods.AnswerOptions",
]
if CORS_ALLOWED_ORIGINS:
    API_MIDDLEWARE.insert(1, "corsheaders.middleware.CorsMiddleware")
MIDDLEWARE = [
    *API_MIDDLEWARE,
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
]
if TAKHIN_ADMIN:
    INSTALLED_APPS = [
        "unfold",
        "unfold.contrib.filters",
        "django.contrib.admin",
        "django.contrib.sessions",
        "django.contrib.messages",
        "axes",
        *INSTALLED_APPS,
    ]
    MIDDLEWARE = [
        *MIDDLEWARE,
        "takhin_site.admin_only.AdminAddress",
        "takhin_site.admin_only.AdminSession",
        "takhin_site.admin_only.AdminAuthentication",
        "takhin_site.admin_only.AdminMessages",
        "takhin_site.admin_only.AdminLogin",
        "axes.middleware.AxesMiddleware",
    ]
CORS_ALLOW_ALL_ORIGINS = "*" in CORS_ALLOWED_ORIGINS
CORS_ALLOWED_ORIGINS = [origin for origin in CORS_ALLOWED_ORIGINS if origin != "*"]
CORS_URLS_REGEX = r"^/api/"
CORS_ALLOW_HEADERS = [
    "authorization",
    "content-encoding",
    "content-type",
    "idempotency-key",
    "prefer",
    "traceparent",
    "tracestate",
    "x-api-key",
    "x-request-id",
]
CORS_EXPOSE_HEADERS = [
    "idempotent-replayed",
    "location",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "x-request-id",
    "x-takhin-next",
]
ROOT_URLCONF = "takhin_site.urls"
WSGI_APPLICATION = "takhin_site.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        # Before those of the theme.
        "DIRS": [Path(__file__).resolve().parent / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
if TAKHIN_ADMIN:
    AUTHENTICATION_BACKENDS.insert(0, "takhin_site.logins.LockoutBackend")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True
LOGIN_URL = "/admin/login/"
X_FRAME_OPTIONS = "DENY"
# A second limit: takhin_site.middleware.CompleteBody and core/api/bodies.py respond before it is reached.
DATA_UPLOAD_MAX_MEMORY_SIZE = TAKHIN_MAX_BODY_BYTES
APPEND_SLASH = False

REST_FRAMEWORK = rest.FRAMEWORK
SPECTACULAR_SETTINGS = rest.DESCRIPTION | {"VERSION": VERSION}
UNFOLD = theme.UNFOLD
LOGGING_CONFIG = "takhin_site.logs.configure"
LOGGING = {"level": TAKHIN_LOG_LEVEL}
