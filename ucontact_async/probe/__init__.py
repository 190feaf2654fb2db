"""The live probe: what nobody knows about a server until it is asked, as findings and a profile."""
