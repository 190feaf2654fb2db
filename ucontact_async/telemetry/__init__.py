"""Observers for the instruments that others have: OpenTelemetry (extra ``otel``), Prometheus (extra ``prometheus``).

::

    from ucontact_async.telemetry.otel import OpenTelemetry
    from ucontact_async.telemetry.prometheus import Prometheus

    async with UContact(url, ..., observers=[OpenTelemetry(), Prometheus()]) as uc: ...

A client without observers does nothing for them. Labels and attributes are endpoints of the vendor's page, statuses,
outcomes, classes of errors and the server's address: never a number, a token, a user or what a row says.

Calls are what is asked for; one may take several HTTP requests (a login, another try), or none. Logins, logouts and
the reads that find out whether a gate may open are among the requests. Files of recordings, which come from other
hosts, are not.
"""
