"""The rules of the dial: data that the user supplies on when, whom and how often to call. It sends nothing."""
