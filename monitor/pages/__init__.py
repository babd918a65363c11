"""One module a page: `build(session)` returns what `monitor.session.Page` describes."""
