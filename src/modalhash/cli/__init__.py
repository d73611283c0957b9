"""The command line: it parses, calls the verbs and prints; one file a command."""
