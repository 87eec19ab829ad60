"""Settings for passwords, logins and sessions. None of them can be changed by environment variables."""

from datetime import timedelta

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
    {"NAME": "takhin_site.passwords.NotRepeatedValidator"},
]
PASSWORD_HASHERS = ["takhin_site.passwords.BoundedHasher"]
# After 5 wrong passwords, a user is locked out for an hour from that address. Other addresses still work.
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(hours=1)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
# Attempts during a lockout are not stored, so they cost nothing and do not extend the lockout.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
AXES_CLIENT_IP_CALLABLE = "takhin_site.logins.address_of"
AXES_LOCKOUT_CALLABLE = "takhin_site.logins.locked_out"
SESSION_COOKIE_AGE = 12 * 3600
