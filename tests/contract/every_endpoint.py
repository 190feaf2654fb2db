"""Every endpoint of the vendor's pages, written by hand from ``protocol.md``: an outside witness of the table.

Section of the page, endpoint, our coroutine below ``uc`` (none where the client does it by itself), and what sending
it twice does: sections 1.1 and 1.5, 2 (the catalogue), 8 (``AgentCallwithData``), and design.md section 5.
"""

THE_PAGE = [
    ("Login", "auth/getUserToken", None, "repeatable"),
    ("Login", "auth/UserLogin", None, "repeatable"),
    ("Login", "auth/EndSession", None, "repeatable"),
    ("Calls", "Agents/AgentCall", "calls.dial", "once"),
    ("Calls", "Agents/AgentCallwithData", "calls.dial_with_data", "once"),
    ("Calls", "Agents/HungupPhone", "calls.hangup", "once"),
    ("Calls", "api/DispositionCall", "calls.disposition", "once"),
    ("Calls", "admin/CallWorkflow", "calls.workflow", "once"),
    ("Calls", "admin/addblack", "calls.block", "repeatable"),
    ("Recordings", "Cdr/getrecords", "recordings.find", "read"),
    ("Recordings", "Supervisor/convert", "recordings.convert", "repeatable"),
    ("Recordings", "Agents/TagRecord", "recordings.tag", "repeatable"),
    ("Dialers", "Dialers/Respool", "dialers.respool", "once"),
    ("Dialers", "Dialers/ScheduleDialerCall", "dialers.schedule", "once"),
    ("Dialers", "Dialers/DialerTask", "dialers.task", "once"),
    ("Dialers", "Dialers/RemoveContact", "dialers.remove_contact", "repeatable"),
    ("Dialers", "Dialers/RemoveScheduleDialerCall", "dialers.remove_schedule", "repeatable"),
    ("Dialers", "Dialers/uploadbase", "dialers.upload_file", "once"),
    ("Dialers", "Dialers/uploadbasewithtimezone", "dialers.upload_file_with_timezone", "once"),
    ("Campaigns", "Supervisor/queuesummary", "campaigns.summary", "read"),
    ("Campaigns", "Supervisor/campaignstatus", "campaigns.status", "read"),
]
