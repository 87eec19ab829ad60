"""Improve what drf-spectacular generates, for generators of clients and for people."""

from typing import Any

# Where the parameters of an operation are listed: those of the URL before headers.
_ORDER = {"path": 0, "query": 1, "header": 2}


def improve(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A hook of drf-spectacular. Operations are changed in place."""
    for methods in result["paths"].values():
        for operation in methods.values():
            parameters = operation.get("parameters", [])
            for parameter in parameters:
                parameter["schema"] = _boolean(parameter["schema"])
            # The sort is stable.
            parameters.sort(key=lambda parameter: (not parameter.get("required", False), _ORDER[parameter["in"]]))
            if "health" in operation["tags"]:
                # Without it, the whole description's security applies.
                operation["security"] = []
    return result


def _boolean(schema: dict[str, Any]) -> dict[str, Any]:
    """Describe the texts true and false, in which case does not matter, as a boolean."""
    if schema.get("enum") != ["true", "false"]:
        return schema
    default = {"default": schema["default"] == "true"} if "default" in schema else {}
    return {"type": "boolean", **default}
