"""Who may do what: keys, scopes, limits, audit."""
