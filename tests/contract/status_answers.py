"""Answers of the live endpoints, written by hand from ``protocol.md`` section 4, and what each of them says."""

from datetime import datetime, timedelta

from ucontact_async.api.campaigns import AverageTime, CampaignStatus, QueueSummary

# The page's own date; names escaped as the server's JSON library does (0.10); the last element has no queue (4.1).
SUMMARY = (
    rb'[{"queue":"Power\u003c-","loggedIn":3,"available":1,"callers":2,"holdTime":14,"talkTime":95,'
    rb'"longestHoldTime":31,"internalActionId":"1163403671_1196","dateReceived":"Nov 2, 2018 11:31:42 AM"},'
    rb'{"queue":"Ventas-\u003e","loggedIn":0,"available":0,"callers":0,"holdTime":0,"talkTime":0,'
    rb'"longestHoldTime":0,"internalActionId":"1163403671_1196","dateReceived":"Nov 2, 2018 11:31:42 AM"},'
    rb'{"internalActionId":"1163403671_1196","dateReceived":"Nov 2, 2018 11:31:42 AM"}]'
)
SUMMARY_SAYS = [
    QueueSummary(
        queue="Power<-",
        logged_in=3,
        available=1,
        callers=2,
        hold_time=timedelta(seconds=14),
        talk_time=timedelta(seconds=95),
        longest_hold_time=timedelta(seconds=31),
        received=datetime(2018, 11, 2, 11, 31, 42),
    ),
    QueueSummary(
        queue="Ventas->",
        logged_in=0,
        available=0,
        callers=0,
        hold_time=timedelta(0),
        talk_time=timedelta(0),
        longest_hold_time=timedelta(0),
        received=datetime(2018, 11, 2, 11, 31, 42),
    ),
]

# The page's sample, with its JSON types: percentages and the threshold are text (4.2).
STATUS = (
    rb'{"Power\u003c-":{"campaign":"Power\u003c-","availables":0,"notavailables":0,"paused":0,"busy":0,'
    rb'"busypaused":0,"totalagents":0,"logged":0,"onwrapup":0,"completed":0,"abandoned":0,"totalcalls":0,"acd":0,'
    rb'"talked":"00:00:00-0","hold":"00:00:00-0","abandonedlevel":"0","servicelevel":"0.0","servicelevel2":"0.0",'
    rb'"strategy":"leastrecent","slevelthreshold":"3","wrapup":0}}'
)
STATUS_SAYS = {
    "Power<-": CampaignStatus(
        campaign="Power<-",
        available=0,
        not_available=0,
        paused=0,
        busy=0,
        busy_paused=0,
        total_agents=0,
        logged=0,
        on_wrapup=0,
        completed=0,
        abandoned=0,
        total_calls=0,
        waiting=0,
        talked=AverageTime(timedelta(0), 0),
        hold=AverageTime(timedelta(0), 0),
        abandoned_level=0.0,
        service_level=0.0,
        service_level2=0.0,
        strategy="leastrecent",
        threshold=3,
        wrapup=0,
    )
}
SUMMARY_KEYS = {
    *("queue", "loggedIn", "available", "callers", "holdTime", "talkTime", "longestHoldTime"),
    *("internalActionId", "dateReceived"),
}
STATUS_TYPES = {
    "campaign": str,
    "availables": int,
    "notavailables": int,
    "paused": int,
    "busy": int,
    "busypaused": int,
    "totalagents": int,
    "logged": int,
    "onwrapup": int,
    "completed": int,
    "abandoned": int,
    "totalcalls": int,
    "acd": int,
    "talked": str,
    "hold": str,
    "abandonedlevel": str,
    "servicelevel": str,
    "servicelevel2": str,
    "strategy": str,
    "slevelthreshold": str,
    "wrapup": int,
}
