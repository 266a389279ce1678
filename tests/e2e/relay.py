"""What stands between a stack and dockerd in tests that disturb the way."""
import os
import socket
import threading


class Relay:
    """A Unix socket before dockerd's that can be made to refuse, to hang, or to keep back the answer to a request."""

    def __init__(self, target, path):
        self.target, self.path = target, path
        self.hanging = False
        self.connections = []
        self.wanted = self.kept = None
        self.reached = threading.Event()
        self.free = threading.Event()
        self.open()

    def open(self):
        self.refusing = False
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(64)
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections.append(client)
            if self.refusing:  # accepted just before: nobody else closes it any more
                client.close()
                return
            if self.hanging:
                continue
            server = socket.socket(socket.AF_UNIX)
            server.connect(self.target)
            self.connections.append(server)
            keeping = threading.Event()
            threading.Thread(target=self.pump, args=(client, server, self.watch, keeping), daemon=True).start()
            threading.Thread(target=self.pump, args=(server, client, self.wait, keeping), daemon=True).start()

    def keep_back(self, text):
        """Keep back the answer to the next request with this text; reached is set when it has come, and kept holds it."""
        self.wanted = text

    def watch(self, data, keeping):
        if self.wanted and self.wanted in data:
            self.wanted = None
            self.kept = data
            keeping.set()
            self.reached.set()

    def wait(self, _, keeping):
        if keeping.is_set():
            self.free.wait()

    @staticmethod
    def pump(source, sink, look, keeping):
        try:
            while data := source.recv(65536):
                look(data, keeping)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        """As if the daemon died: no new connections, and the old ones break."""
        self.refusing = True
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        os.unlink(self.path)
        self.hang_up()

    def hang_up(self):
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            connection.close()
        self.connections.clear()
