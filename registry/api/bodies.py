"""Request bodies for changing settings."""

import msgspec

from core.api.errors import InvalidBody

NOTHING = msgspec.Raw(b"null")


class LevelBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A subject's configuration. Clients send `compatibility`, and may send back the `compatibilityLevel` they read."""

    compatibility: str | None = None
    compatibilityLevel: str | None = None
    alias: msgspec.Raw = NOTHING
    normalize: msgspec.Raw = NOTHING
    validateFields: msgspec.Raw = NOTHING
    compatibilityGroup: msgspec.Raw = NOTHING
    compatibilityPolicy: msgspec.Raw = NOTHING
    defaultMetadata: msgspec.Raw = NOTHING
    overrideMetadata: msgspec.Raw = NOTHING
    defaultRuleSet: msgspec.Raw = NOTHING
    overrideRuleSet: msgspec.Raw = NOTHING

    def level(self) -> str:
        """Return the level in upper case. Raises InvalidBody for settings that this registry cannot store."""
        for name in self.__struct_fields__[2:]:
            # `false` is the default, so it is safe to ignore.
            if bytes(getattr(self, name)) not in (b"null", b"false"):
                raise InvalidBody(f"{name} is not supported: this registry stores only the compatibility level")
        level = self.compatibilityLevel if self.compatibility is None else self.compatibility
        if level is None:
            raise InvalidBody("compatibility is missing")
        return level.upper()


class ModeBody(msgspec.Struct, frozen=True):
    mode: str
