"""What is known of the sessions and execs that the fuzzer made."""
import uuid


class Session:
    def __init__(self, sid, options):
        self.id = sid
        self.closed = False
        self.seeded = False
        self.ephemeral = bool(options.get("ephemeral"))
        self.mortal = any(options.get(name) for name in ("ttl_seconds", "idle_seconds"))  # may end by itself
        self.execs = []


class Model:
    def __init__(self, rnd):
        self.rnd = rnd
        self.sessions = []
        self.gone = []

    def alive(self):
        return [s for s in self.sessions if not s.closed]

    def session_id(self, with_exec):
        """(id, session or None): mostly one that lives, sometimes one that is closed, of nobody, or none at all."""
        dice = self.rnd.random()
        if dice < 0.86 and self.alive():
            session = self.rnd.choice(with_exec and [s for s in self.alive() if s.execs] or self.alive())
            return session.id, session
        if dice < 0.92 and self.gone:
            return self.rnd.choice(self.gone).id, None
        if dice < 0.95:
            return str(uuid.UUID(int=self.rnd.getrandbits(128), version=4)), None
        return self.malformed(), None

    def exec_id(self, session):
        dice = self.rnd.random()
        if dice < 0.85 and session and session.execs:
            return self.rnd.choice(session.execs)
        others = [e for s in self.sessions + self.gone for e in s.execs]
        if dice < 0.92 and others:
            return self.rnd.choice(others)
        return str(uuid.UUID(int=self.rnd.getrandbits(128), version=4)) if dice < 0.96 else self.malformed()

    def malformed(self):
        return self.rnd.choice(("x", "0", "00000000-0000-0000-0000-000000000000", "..", "%00", "%2e%2e", "%2F", "a" * 36, "A" * 5000, "%ff%fe",
                                "../../-/health", "{session_id}", "%25", "-", "sandboxd-x", "*", "%F0%9F%98%80", "null"))

    def close(self, session):
        session.closed = True
        self.sessions.remove(session)
        self.gone = [*self.gone, session][-20:]
