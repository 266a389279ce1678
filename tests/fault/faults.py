"""What can be killed, and how whoever runs the service brings it back."""
import os
import random
import signal
import subprocess
import tempfile
import time

from stack import base_environment, script
from support import Docker, all_pids, eventually, proc_alive, proc_parent, proc_text


class OwnDockerd:
    """A dockerd below a directory of its own, to be killed at will. Containers have no network. data_mib: its images,
    containers and volumes are on a disk of that size."""

    def __init__(self, data_mib=None):
        # On a disk: overlays over a tmpfs are not what users have.
        self.dir = tempfile.mkdtemp(prefix="sbx-fault-", dir="/var/tmp")
        self.env = {**base_environment(), "SANDBOXD_DOCKER_DIR": self.dir, "SANDBOXD_DOCKER_OWN": "1",
                    "SANDBOXD_DOCKERD_ARGS": "--live-restore --bridge=none --iptables=false --ip6tables=false"}
        if data_mib:
            self.mount_data(data_mib)
        self.host = self("start")
        script("images", "--needed", "demo", env={**base_environment(), "DOCKER_HOST": self.host})

    def mount_data(self, mib):
        disk = f"{self.dir}/disk"
        with open(disk, "wb") as file:
            file.truncate(mib << 20)
        os.mkdir(f"{self.dir}/data")
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", disk], check=True)  # nothing is kept back for root
        subprocess.run(["mount", "-o", "loop", disk, f"{self.dir}/data"], check=True)

    def __call__(self, verb):
        done = subprocess.run(["unshare", "--net", "scripts/dockerd", verb, "fault"], env=self.env, capture_output=True, text=True,
                              timeout=150, cwd=os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def pid(self):
        with open(f"{self.dir}/dockerd.pid", encoding="ascii") as file:
            return int(file.read())

    def destroy(self):
        docker = Docker(self.host)
        for container in docker.get("/containers/json", all="1"):
            docker.http.delete(f"/containers/{container['Id']}", params={"force": "1"})
        self("stop")
        # What a killed dockerd had started and mounted outlives the next one.
        left = [pid for pid in all_pids() if proc_text(pid, "comm").startswith("containerd") and f"{self.dir}/" in proc_text(pid, "cmdline")]
        left += [child for child in all_pids() if proc_parent(child) in left]
        for pid in left:
            end(pid)
        eventually(lambda: not any(proc_alive(pid) for pid in left), 60, "what may still write and mount there to be gone")
        with open("/proc/self/mounts", encoding="utf-8") as mounts:
            below = [line.split()[1] for line in mounts if line.split()[1].startswith(f"{self.dir}/")]
        for path in sorted(below, reverse=True):
            subprocess.run(["umount", "-l", path], check=True)
        subprocess.run(["rm", "-rf", self.dir], check=True)


def end(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


class Faults:
    """A schedule that a seed reproduces: which fault, after how long, and how long until the manager restarts it."""

    def __init__(self, stacks, redis, dockerd, seed):
        self.random = random.Random(seed)
        self.stacks, self.redis, self.dockerd = stacks, redis, dockerd
        self.done = []
        self.kinds = [self.worker, self.worker, self.control, self.janitor, self.nginx, self.master, self.replica, self.redis_aof,
                      self.redis_empty, self.dockerd_killed, self.helper, self.session, self.worker_frozen]

    def one(self):
        stack = self.random.choice(self.stacks)
        kind = self.random.choice(self.kinds)
        pause = self.random.uniform(0.0, 1.5)
        pick = self.random.random()
        self.done.append(f"{time.strftime('%T')} {kind.__name__} of {stack.env['DAIV_SANDBOX_REPLICA']}")
        print(self.done[-1], flush=True)
        kind(stack, pick, pause)

    def child(self, stack, role, pick):
        pids = sorted(stack.children(role))
        if pids:
            end(pids[int(pick * len(pids))])

    def worker(self, stack, pick, _):
        self.child(stack, "worker", pick)

    def control(self, stack, pick, _):
        self.child(stack, "control", pick)

    def janitor(self, stack, pick, _):
        self.child(stack, "janitor", pick)

    def worker_frozen(self, stack, pick, pause):
        pids = sorted(stack.children("worker"))
        if not pids:
            return
        pid = pids[int(pick * len(pids))]
        try:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(pause)
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass

    def nginx(self, stack, pick, pause):
        for pid in stack.nginx_pids():
            end(pid)
        time.sleep(pause)
        self.bring_up(stack)

    def master(self, stack, pick, pause):
        stack.kill_master()
        time.sleep(pause)
        self.bring_up(stack)

    def replica(self, stack, pick, pause):
        stack.kill_all()
        time.sleep(pause)
        self.bring_up(stack)

    def bring_up(self, stack):
        eventually(lambda: stack.up(check=False).returncode == 0, 60, f"{stack.home} to be up again")

    def redis_aof(self, stack, pick, pause):
        self.redis.stop()
        time.sleep(pause)
        self.redis.start()

    def redis_empty(self, stack, pick, pause):
        self.redis.stop()
        time.sleep(pause)
        subprocess.run(["rm", "-rf", f"{self.redis.dir}/appendonlydir"], check=True)
        self.redis.start()

    def dockerd_killed(self, stack, pick, pause):
        pid = self.dockerd.pid()
        end(pid)
        eventually(lambda: not proc_alive(pid), 10, "dockerd to be gone")
        time.sleep(pause)
        self.dockerd("start")

    def container(self, role, pick):
        docker = Docker(self.dockerd.host)
        names = sorted(c["Names"][0] for c in docker.get("/containers/json") if c["Names"][0].endswith("-patch") == (role == "patch"))
        if names:
            docker.http.post(f"/containers{names[int(pick * len(names))]}/kill")

    def helper(self, stack, pick, _):
        self.container("patch", pick)

    def session(self, stack, pick, _):
        self.container("session", pick)
