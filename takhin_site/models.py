"""Who users of the admin are at the provider of single sign-on."""

from django.conf import settings
from django.db import models


class SingleSignOn(models.Model):
    """A user who signs in at an OpenID provider.

    Only issuer and subject together identify a person for ever: names and addresses may be given to somebody else.
    https://openid.net/specs/openid-connect-core-1_0.html#ClaimStability
    """

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    issuer = models.CharField(max_length=255)
    subject = models.CharField(max_length=255)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["issuer", "subject"], name="one_user_per_subject")]

    def __str__(self) -> str:
        return f"{self.subject} at {self.issuer}"
