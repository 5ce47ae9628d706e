"""One module a subcommand; each holds ``command`` and imports what it needs when it runs."""
