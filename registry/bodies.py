"""What clients send to change a setting, as structs."""

import msgspec

from registry import errors

NOTHING = msgspec.Raw(b"null")


class LevelBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A subject's configuration as clients send it; `compatibilityLevel` is how they get it."""

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
        """Raises InvalidBody for what would be lost."""
        for name in self.__struct_fields__[2:]:
            # false is what holds without it.
            if bytes(getattr(self, name)) not in (b"null", b"false"):
                raise errors.InvalidBody(f"{name} is not supported: this registry keeps the compatibility level only")
        level = self.compatibilityLevel if self.compatibility is None else self.compatibility
        if level is None:
            raise errors.InvalidBody("compatibility is missing")
        return level.upper()


class ModeBody(msgspec.Struct, frozen=True):
    mode: str
