"""An asyncio client for the uContact Telephony API."""
