"""What the tests share: databases of both engines, real senders, and how processes end."""
