"""Values for a chart."""


def merged(*layers):
    """Dictionaries, each over the one before at any depth, as helm does with --values."""
    out = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, dict) and isinstance(out.get(key), dict)
            out[key] = merged(out[key], value) if both else value
    return out
