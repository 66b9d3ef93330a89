"""Event patterns, as far as the template uses them: equality, `exists`, nesting. Anything else is refused, not guessed."""

ABSENT = object()


def matches(pattern: dict, event) -> bool:
    """Whether the event bus or a stream mapping would let this event through."""
    return all(_one(rule, event.get(key, ABSENT) if isinstance(event, dict) else ABSENT) for key, rule in pattern.items())


def _one(rule, value) -> bool:
    if isinstance(rule, dict):
        return matches(rule, {} if value is ABSENT else value)
    if not isinstance(rule, list):
        raise ValueError(f"a pattern's leaf has to be a list, not {rule!r}")
    return any(_leaf(choice, value) for choice in rule)


def _leaf(choice, value) -> bool:
    if isinstance(choice, dict):
        if set(choice) != {"exists"}:
            raise ValueError(f"this pattern is not understood here: {choice!r}")
        # Only leaves exist; an object does not.
        return (value is not ABSENT and not isinstance(value, dict)) == choice["exists"]
    return value == choice
