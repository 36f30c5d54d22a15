"""The front door: one command, ``polyglance``, made of both packages' command groups."""
