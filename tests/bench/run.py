#!/usr/bin/env python3
"""vpnprobe beside its peers and a floor, in one run; see run.sh. Prints Markdown tables.

Contenders take turns within a repetition, so that what else the machine does meets all alike: compare
within one run, and ratios rather than figures. CPU is user and system time of the whole process by the
scheduler's own count; on the loopback the kernel's reply is part of it. Probes are counted by the network
namespace, not by the tool. The truth about a round trip is the kernel's stamp of both packets on the
interface (a packet socket), never what a tool says.
"""
import argparse, bisect, ctypes, fcntl, glob, http.client, json, os, platform, re, select, signal, socket, statistics, struct, subprocess, sys, tempfile, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
NAMESPACE = f"vpbench{os.getpid()}"
BUCKETS = [5e-05, 1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3, 3.2e-3, 6.4e-3, .0128, .0256, .0512, .1024, .2048, .4096, .8192, 1.6384, 3.2768, 6.5536]
WIDE = sorted(BUCKETS + [.01, .05, .1, 13.1072])  # with +Inf, sum and count 25 lines a histogram
FINE = [round(4.95e-3 + 2.5e-5 * step, 6) for step in range(21)] + [5.7e-3, 7e-3, 2e-2, .1, .5, 1, 1.5, 2, 3]  # as many as vpnprobe takes


SCRAPES = r"""
import os, socket, sys, time
os.nice(19)
room = bytearray(1 << 20)
while True:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 60) as connection:
        connection.sendall(f"GET {sys.argv[2]} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        first, many = bytes(room[:connection.recv_into(room)]), 0
        while read := connection.recv_into(room):
            many += read
    if b" 200 " not in first.split(b"\r\n")[0] or many < 1 << 20:
        sys.exit(f"no scrape: {first[:200]!r} and {many} bytes more")
    time.sleep(max(0, 1 - (time.monotonic() - began)))
"""


def say(*words):
    print(*words, flush=True)


# --- the network: loopback for cost and rate, a TUN interface with a known delay for truth ---

def network():
    """Re-runs this program inside a namespace of its own, removed at the end by whoever made it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if os.environ.get("VPBENCH") == "inside":
        return
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    try:
        for command in (["ip", "link", "set", "lo", "up"], ["sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647"]):
            subprocess.run(["ip", "netns", "exec", NAMESPACE] + command, check=True)
        inside = subprocess.run(["ip", "netns", "exec", NAMESPACE, sys.executable] + sys.argv, env=dict(os.environ, VPBENCH="inside"))
    finally:
        subprocess.run(["ip", "netns", "del", NAMESPACE])
    sys.exit(inside.returncode)


IKE_ANSWER = bytes(8) + bytes.fromhex("292022200000000000000024000000080000" + "0005")  # INVALID_MAJOR_VERSION, as strongSwan says it


def exchange(packet):
    """Whether an IPv4 packet is a request (of ICMP echo or IKE) or an answer, and what both of a pair have: the peer, an identity."""
    if packet[9] == 1 and packet[20] in (0, 8):
        asks, identity = packet[20] == 8, packet[24:44]
    elif packet[9] == 17 and 500 in struct.unpack("!HH", packet[20:24]):
        asks, identity = packet[22:24] == b"\x01\xf4", packet[28:36]
    else:
        return None, None
    return asks, bytes(packet[16:20] if asks else packet[12:16]) + bytes(identity)


def answer(packet):
    """The answer to a request, as its peer would send it."""
    packet[12:16], packet[16:20] = packet[16:20], packet[12:16]
    if packet[9] == 1:
        packet[20] = 0
        total = struct.unpack("!H", packet[22:24])[0] + 0x0800
        packet[22:24] = struct.pack("!H", (total & 0xffff) + (total >> 16))
        return bytes(packet)
    said = bytes(packet[28:36]) + IKE_ANSWER
    head = packet[:20]
    head[2:4], head[10:12] = struct.pack("!H", 28 + len(said)), b"\0\0"
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xffff) + (total >> 16)
    head[10:12] = struct.pack("!H", 0xffff - ((total & 0xffff) + (total >> 16)))
    return bytes(head + packet[22:24] + packet[20:22] + struct.pack("!HH", 8 + len(said), 0) + said)  # no checksum over UDP


class Delay(threading.Thread):
    """Answers requests on a TUN interface 5 ms after they came; may stall. The tap has the truth."""

    def __init__(self, stall=False):
        super().__init__(daemon=True)
        self.tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.tun, 0x400454CA, struct.pack("16sH22x", b"vpb0", 0x1001))  # TUNSETIFF, IFF_TUN | IFF_NO_PI
        for command in ("ip addr replace 10.77.0.1/16 dev vpb0", "ip link set vpb0 up txqueuelen 10000"):
            subprocess.run(command.split(), check=True)
        self.stall, self.over = stall, False

    def run(self):
        try:
            os.sched_setscheduler(threading.get_native_id(), os.SCHED_FIFO, os.sched_param(50))
        except OSError:
            pass
        queue, begun = [], time.monotonic()
        while not self.over:
            now = time.monotonic()
            if self.stall and (now - begun) % 10 > 8:  # frozen for the last 2 s of every 10
                time.sleep(.01)
                continue
            while queue and queue[0][0] <= now:
                os.write(self.tun, queue.pop(0)[1])
            wait = max(0, queue[0][0] - time.monotonic()) if queue else .1
            if not select.select([self.tun], [], [], wait)[0]:
                continue
            try:
                packet = bytearray(os.read(self.tun, 65536))
            except OSError:
                continue
            if packet[0] >> 4 == 4 and exchange(packet)[0]:
                queue.append((now + .005, answer(packet)))

    def close(self):
        self.over = True
        self.join()
        os.close(self.tun)


class Tap(threading.Thread):
    """The kernel's own times of requests and replies on an interface."""

    def __init__(self, interface, requests_only=False):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        if requests_only:  # by the kernel: twenty thousand packets a second are too many for this program
            code = [(0x30, 0, 0, 9), (0x15, 0, 5, 1), (0x30, 0, 0, 20), (0x15, 0, 3, 8),
                    (0x30, 0, 0, 0xfffff004), (0x15, 1, 0, 4), (0x6, 0, 0, 64), (0x6, 0, 0, 0)]  # the second half of a loopback: not outgoing
            program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in code))
            self.socket.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HP", len(code), ctypes.addressof(program)))  # SO_ATTACH_FILTER
        self.socket.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        self.socket.bind((interface, 3))
        self.socket.settimeout(.2)
        self.loopback, self.over, self.packets = interface == "lo", False, []

    def run(self):
        while not self.over:
            try:
                data, control, _, address = self.socket.recvmsg(64, 64)
            except OSError:  # nothing for a while, or the interface has just come up
                continue
            if self.loopback and address[2] == 4:  # each packet of the loopback passes twice
                continue
            if data[0] >> 4 == 4 and exchange(data)[1]:
                seconds, nanos = struct.unpack("qq", control[0][2])
                self.packets.append((seconds + nanos / 1e9, data))

    def close(self):
        self.over = True
        self.join()
        sent, rtts, self.trips = {}, [], {}
        self.sends = {}
        for at, data in self.packets:
            asks, identity = exchange(data)
            if asks:
                sent[identity] = at
                self.sends.setdefault(data[16:20], []).append(at)
            elif (left := sent.get(identity)) is not None:
                rtts.append(at - left)
                self.trips.setdefault(socket.inet_ntoa(data[12:16]), []).append((left, at - left))
        return rtts


# --- the contenders ---

def addresses(count, base):
    return [f"{base}.{index // 250 + 1}.{index % 250 + 1}" for index in range(count)]


class Contender:
    """One tool at work. `pull` is asked over HTTP for each probe, as Prometheus does."""

    def __init__(self, name, targets, interval, buckets, kind="icmp", seconds=0, verbose=False, journal=False):
        self.name, self.targets, self.interval = name, targets, interval
        self.directory = tempfile.TemporaryDirectory(prefix="vpbench-")
        self.port, self.url = 19100, "/metrics"
        self.stopping = threading.Event()
        file = self.file("targets", "\n".join(targets) + "\n")
        out = self.path("out")
        period = f"{interval * 1000:g}"
        if name.startswith("vpnprobe"):
            lines = [f"defaults: {{interval: {period}ms, timeout: 3s, buckets: [{', '.join('%g' % b for b in buckets)}]}}",
                     "budget: {packets_per_second: 1000, packets_burst: 1000}", "targets:"]
            lines += [f"  t{index}: {{address: {target}, probes: {{{kind}: {{}}}}}}" for index, target in enumerate(targets)]
            command = [f"{ROOT}/target/release/vpnprobe", "serve", "--config.file", self.file("c.yml", "\n".join(lines)), f"--web.listen-address=127.0.0.1:{self.port}"]
            command += ["--journal", self.path("journal")] if journal else []
        elif name == "floor":
            command, self.url = [floor(), file, f"{interval * 1e6:.0f}"], None
        elif name == "fping":
            gap = max(.001, interval * 500 / len(targets))
            command = ["fping", "-4", "-f", file, "-c", str(round((seconds + 8) / interval)), "-p", period, "-i", f"{gap:.3f}", "-t", "3000"] + ([] if verbose else ["-q"])
            self.url = None
        elif name == "smokeping_prober":
            command = ["prometheus-smokeping-prober", "--no-privileged", "--log.level=error", f"--ping.interval={interval:g}s", "--buckets=" + ",".join("%g" % b for b in buckets),
                       f"--web.listen-address=127.0.0.1:{self.port}", "--config.file=" + self.path("none.yml")] + targets
        else:
            module = self.file("b.yml", "modules: {icmp: {prober: icmp, timeout: 3s, icmp: {preferred_ip_protocol: ip4}}}")
            command = ["prometheus-blackbox-exporter", "--log.level=error", f"--config.file={module}", f"--web.listen-address=127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=open(out, "w"), stderr=open(self.path("err"), "w"))
        if self.url:
            self.wait()
        self.rtts = []
        if name == "blackbox_exporter":
            workers = min(32, len(targets))
            self.pullers = [threading.Thread(target=self.pull, args=(targets[at::workers],), daemon=True) for at in range(workers)]
            [puller.start() for puller in self.pullers]

    def path(self, name):
        return os.path.join(self.directory.name, name)

    def file(self, name, text):
        open(self.path(name), "w").write(text)
        return self.path(name)

    def wait(self):
        for _ in range(1200):  # ten thousand targets keep smokeping_prober busy for a minute
            try:
                return self.fetch()
            except OSError:
                time.sleep(.1)
        raise SystemExit(f"{self.name} does not answer: " + open(self.path("err")).read()[-500:])

    def fetch(self, url=None, timeout=60):
        return self.fetch_raw({}, url, timeout).decode()

    def fetch_raw(self, headers, url=None, timeout=60):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        connection.request("GET", url or self.url, headers=headers)
        body = connection.getresponse().read()
        connection.close()
        return body

    def scraped(self):
        """A reader of all it says, once a second, that keeps nothing and gives way to everybody: a Prometheus is on another host."""
        return subprocess.Popen([sys.executable, "-c", SCRAPES, str(self.port), self.url])

    def swallow(self, url, headers):
        """As fast as a reader can be: nothing is parsed before all is there."""
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        with socket.create_connection(("127.0.0.1", self.port), 60) as connection:
            connection.sendall(f"GET {url} HTTP/1.0\r\nHost: localhost\r\n{head}\r\n".encode())
            pieces, room = [], bytearray(1 << 20)
            while read := connection.recv_into(room):
                pieces.append(bytes(room[:read]))
        head, _, body = b"".join(pieces).partition(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise SystemExit(f"{self.name}: {head.decode()}")
        return body

    def errors(self, trips):
        """Each round trip as vpnprobe's journal has it, less the wire's own, in seconds."""
        errors, names, head = [], {}, None
        for path in sorted(glob.glob(self.path("journal") + "/*.jsonl")):
            for line in open(path):
                if not line.endswith("\n"):
                    break
                entry = json.loads(line)
                if "journal" in entry:
                    head = entry["journal"]
                elif "place" in entry:
                    names[entry["place"]["series"]] = entry["place"]["address"]
                elif isinstance(entry, list) and entry[4] is not None and entry[7] is not None:
                    left = (head["wall"] + entry[3] + entry[4] - head["now"]) / 1e9
                    wire = trips.get(names[entry[0]], [])
                    place = bisect.bisect(wire, (left,))
                    near = min(wire[max(0, place - 1):place + 1], key=lambda trip: abs(trip[0] - left), default=None)
                    if near and abs(near[0] - left) < .02:
                        errors.append(entry[7] / 1e9 - near[1])
        return errors

    def pull(self, targets):
        """One request in flight at a time; a turn that is missed is left out, as Prometheus does."""
        due = {target: time.monotonic() + self.interval * index / len(targets) for index, target in enumerate(targets)}
        while not self.stopping.is_set():
            target = min(due, key=due.get)
            time.sleep(max(0, due[target] - time.monotonic()))
            try:
                text = self.fetch(f"/probe?module=icmp&target={target}", 10)
                if found := re.search(r'probe_icmp_duration_seconds\{phase="rtt"\} (\S+)', text):
                    if "probe_success 1" in text:
                        self.rtts.append(float(found[1]))
            except OSError:
                pass
            due[target] += self.interval
            while due[target] < time.monotonic() - self.interval:
                due[target] += self.interval

    def cpu(self):
        tasks = f"/proc/{self.process.pid}/task"
        return sum(int(open(f"{tasks}/{task}/schedstat").read().split()[0]) for task in os.listdir(tasks)) / 1e9

    def memory(self):
        found = re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{self.process.pid}/status").read())
        return int(found[1]) / 1024 if found else float("nan")  # fping ends by itself at so many targets

    def reported(self):
        """What the tool says about round trips: mean, and a quantile function, in seconds."""
        if self.name == "fping":
            rtts = [float(ms) / 1e3 for ms in re.findall(r"bytes, ([\d.]+) ms", open(self.path("out")).read())]
            return summary(rtts)
        if self.name == "blackbox_exporter":
            return summary(self.rtts)
        if self.name == "floor":
            count, mean = open(self.path("out")).read().split("\n")[-2].split()[1:]
            return {"n": int(count), "mean": float(mean) / 1e6}
        metric = "vpnprobe_probe_rtt_seconds" if self.name == "vpnprobe" else "smokeping_response_duration_seconds"
        text, buckets = self.fetch(), {}
        for line in text.splitlines():
            if line.startswith(metric + "_bucket"):
                bound = float(re.search(r'le="([^"]+)"', line)[1])
                buckets[bound] = buckets.get(bound, 0) + float(line.rsplit(" ", 1)[1])
        total = lambda part: sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(metric + part))
        count, ordered = total("_count"), sorted(buckets.items())

        def quantile(share):
            low, below = 0, 0
            for bound, cumulative in ordered:
                if cumulative >= share * count:
                    return low if bound == float("inf") else low + (bound - low) * (share * count - below) / max(1, cumulative - below)
                low, below = bound, cumulative
            return low
        return {"n": int(count), "mean": total("_sum") / max(1, count), "p50": quantile(.5), "p95": quantile(.95), "p99": quantile(.99)}

    def close(self):
        self.stopping.set()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.directory.cleanup()


def floor():
    folder = f"{ROOT}/target/release/deps"
    built = [f"{folder}/{name}" for name in os.listdir(folder) if re.fullmatch(r"floor-[0-9a-f]+", name)]
    return max(built, key=os.path.getmtime)


def summary(values):
    values = sorted(values)
    at = lambda share: values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")
    return {"n": len(values), "mean": statistics.fmean(values) if values else float("nan"), "p50": at(.5), "p95": at(.95), "p99": at(.99)}


def counts():
    lines = open("/proc/net/snmp").read().splitlines()
    head, values = [line.split() for line in lines if line.startswith("Icmp:")]
    found = dict(zip(head, values))
    return int(found["OutEchos"]), int(found["InEchoReps"])


# --- the tables ---

def spread(values, digits=1):
    middle = statistics.median(values)
    return f"{middle:.{digits}f} [{min(values):.{digits}f}-{max(values):.{digits}f}]" if len(values) > 1 else f"{middle:.{digits}f}"


def table(title, head, rows):
    say(f"\n### {title}\n")
    say("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        say("| " + " | ".join(str(cell) for cell in row) + " |")


def chosen(options, names):
    return [name for name in names if not options.tools or name.split(",")[0] in options.tools.split(",")]


def cost(options):
    for size in options.sizes:
        names = ["vpnprobe", "floor", "fping", "smokeping_prober"] + (["blackbox_exporter"] if size <= 1000 else [])
        names = chosen(options, names)
        found = {name: [] for name in names}
        for _ in range(options.reps):
            for name in names:
                tool = Contender(name, addresses(size, "127.10"), 1.0, BUCKETS, seconds=options.seconds)
                time.sleep(4)
                cpu, (sent, _), begun = tool.cpu(), counts(), time.monotonic()
                time.sleep(options.seconds)
                cpu, sent = tool.cpu() - cpu, counts()[0] - sent
                found[name].append((cpu / max(1, sent) * 1e6, tool.memory(), sent / (time.monotonic() - begun)))
                tool.close()
        rows, own = [], statistics.median(run[0] for run in found["vpnprobe"])
        for name in names:
            runs = found[name]
            each = statistics.median(run[0] for run in runs)
            rows.append((name, spread([run[0] for run in runs]), f"{each / own:.2f}", spread([run[1] for run in runs], 0), f"{statistics.median(run[2] for run in runs):.0f}"))
        table(f"Cost, {size} targets once a second", ("", "CPU µs a probe", "ratio to vpnprobe", "memory MiB", "sent a second"), rows)


PROTOBUF = {"Accept": "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"}
GZIP = {"Accept-Encoding": "gzip"}
RTT = "vpnprobe_probe_rtt_seconds"


def families(answer):
    """The messages of a protobuf answer, each with its length before it: how many bytes by name."""
    def varint(at):
        value = shift = 0
        while True:
            byte, at = answer[at], at + 1
            value |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return value, at
    at, found = 0, {}
    while at < len(answer):
        begun = at
        size, at = varint(at)
        name, start = varint(at + 1)  # the first field is the name
        found[answer[start:start + name].decode()] = at + size - begun
        at += size
    return found


def of_family(text, name):
    """The bytes of a histogram's lines, and how many they are."""
    begins = tuple(f"{name}_{part}{{".encode() for part in ("bucket", "sum", "count"))
    lines = [line for line in text.split(b"\n") if line.startswith(begins)]
    return sum(len(line) + 1 for line in lines), len(lines)


def scrape(options):
    size, rows = options.sizes[-1], []
    for name in chosen(options, ["vpnprobe", "smokeping_prober"]):
        tool = Contender(name, addresses(size, "127.10"), 1.0, WIDE)
        time.sleep(5)
        idle, begun = tool.cpu(), time.monotonic()
        time.sleep(2)
        idle = (tool.cpu() - idle) / (time.monotonic() - begun)
        forms = [(name, "/metrics", {})]
        if name == "vpnprobe":
            forms += [("vpnprobe, gzip", "/metrics", GZIP), ("vpnprobe, protobuf, both forms", "/metrics", PROTOBUF),
                      ("vpnprobe, protobuf, native", "/metrics?histograms=native", PROTOBUF), ("vpnprobe, protobuf, native, gzip", "/metrics?histograms=native", dict(PROTOBUF, **GZIP)),
                      ("vpnprobe, round trips alone", f"/metrics?name[]={RTT}", {}), ("vpnprobe, round trips alone, protobuf, native", f"/metrics?histograms=native&name[]={RTT}", PROTOBUF)]
        kept = {}
        for form, url, headers in forms:
            walls, cpus = [], []
            for _ in range(options.reps + 2):
                cpu, begun = tool.cpu(), time.monotonic()
                body = tool.swallow(url, headers)
                walls.append((time.monotonic() - begun) * 1e3)
                cpus.append((tool.cpu() - cpu) * 1e3 - idle * walls[-1])
            if not headers:
                lines = sum(1 for line in body.splitlines() if not line.startswith(b"#"))
            kept[form] = body
            rows.append((form, lines, f"{len(body) / 1e6:.2f}", spread(walls, 0), spread(cpus, 0), f"{statistics.median(cpus) * 1e6 / lines:.0f}", f"{tool.memory():.0f}"))
        tool.close()
    table(f"One scrape of {size} targets while probing (text if not said)", ("", "lines of it in text", "MB", "wall ms", "CPU ms", "CPU ns a line", "memory MiB after"), rows)
    if "vpnprobe" in kept:
        (text, lines), whole = of_family(kept["vpnprobe"], RTT), kept["vpnprobe, protobuf, native"]
        native, both = families(whole)[RTT], families(kept["vpnprobe, protobuf, both forms"])[RTT]
        rows = [("text", lines, text, ""), ("protobuf, both forms", "", both, f"{both / text:.3f}"), ("protobuf, native", "", native, f"{native / text:.3f}")]
        table(f"What of it is {RTT}", ("", "lines", "bytes", "of the text"), rows)


def rate(options):
    rows = []
    for name in chosen(options, ["vpnprobe", "floor", "fping", "smokeping_prober"]):
        best = "none"
        for wanted in (1000, 5000, 10000, 20000, 50000, 100000, 200000, 300000):
            interval = .1 if wanted >= 10000 else 1
            targets = addresses(round(wanted * interval), "127.10")
            if name == "fping" and wanted > 10000 or name == "smokeping_prober" and wanted > 100000:
                break
            tool = Contender(name, targets, interval, BUCKETS, seconds=4)
            time.sleep(4 if len(targets) <= 5000 else 8)
            lost = lambda: own(tool, ("vpnprobe_receive_overflow_total ", "vpnprobe_missed_slots_total "))
            dropped = -lost()
            cpu, before, begun = tool.cpu(), counts(), time.monotonic()
            time.sleep(4)
            took = time.monotonic() - begun
            cpu, after = tool.cpu() - cpu, counts()
            dropped += lost()
            tool.close()
            sent = (after[0] - before[0]) / took
            if sent < .98 * wanted or dropped:
                rows.append((name, best, f"{sent:.0f} of {wanted} on {cpu / took:.2f} cores" + (f", {dropped:.0f} missed or dropped" if dropped else "")))
                break
            best = f"{sent:.0f} on {cpu / took:.2f} cores"
        else:
            rows.append((name, best, "not reached"))
        if rows[-1:] == [] or rows[-1][0] != name:
            rows.append((name, best, "not tried"))
    table("Sustained rate, probes a second", ("", "highest kept", "first not kept"), rows)


def schedule(options):
    """At every size the peers can do; what a scrape each second changes is seen at the largest."""
    for size in options.sizes[1:]:
        rows = []
        names = ["vpnprobe", "floor", "fping", "smokeping_prober"] if size <= 1000 else ["vpnprobe", "vpnprobe, scraped each second", "floor"]
        for name in chosen(options, names):
            tool = Contender(name.split(",")[0], addresses(size, "127.10"), 1.0, BUCKETS, seconds=options.seconds)
            time.sleep(8)
            tap = Tap("lo", True)
            tap.start()
            puller = tool.scraped() if "scraped" in name else None
            missed = -own(tool, "vpnprobe_missed_slots_total ")
            time.sleep(options.seconds * 2)
            missed += own(tool, "vpnprobe_missed_slots_total ")
            if puller:
                if puller.poll() is not None:
                    raise SystemExit(f"{name}: its reader has ended")
                puller.kill()
                puller.wait()
            tap.close()
            tool.close()
            off, drift, holes = [], [], 0
            for sends in tap.sends.values():
                gaps = [after - before for before, after in zip(sends, sends[1:])]
                off += [abs(gap - 1) * 1e3 for gap in gaps if gap < 1.5]
                holes += sum(gap > 1.5 for gap in gaps)
                # How late the least late send of each half was: what is late once is no drift.
                late, half = [at - round(at - sends[0]) for at in sends], len(sends) // 2
                if half:
                    drift.append((min(late[-half:]) - min(late[:half])) / (half * 1.0) * 1e6)
            told = summary(off)
            rows.append((name, f"{told['p50']:.2f}", f"{told['p99']:.2f}", f"{max(off, default=0):.1f}", f"{statistics.median(drift):+.1f}", holes, f"{missed:.0f}" if "vpnprobe" in name else "-"))
        table(f"Send schedule, {size} targets once a second, by the wire", ("", "off by ms, p50", "p99", "most", "drift ppm", "slots without a packet", "own count of missed"), rows)


def own(tool, metric):
    """A counter of vpnprobe's own; 0 of another tool."""
    if tool.name != "vpnprobe":
        return 0
    return sum(float(line.rsplit(" ", 1)[1]) for line in tool.fetch().splitlines() if line.startswith(metric))


def calls(options):
    """System calls by strace, which slows all of them alike: a count, no cost."""
    rows = []
    for name in chosen(options, ["vpnprobe", "floor", "fping", "smokeping_prober"]):
        tool = Contender(name, addresses(10, "127.10"), 1.0, BUCKETS, seconds=options.seconds + 10)
        time.sleep(4)
        sent = counts()[0]
        trace = subprocess.run(["timeout", "-s", "INT", str(options.seconds), "strace", "-f", "-c", "-p", str(tool.process.pid)], capture_output=True, text=True).stderr
        sent = counts()[0] - sent
        tool.close()
        made = {words[-1]: int(words[3]) for words in (line.split() for line in trace.splitlines()) if len(words) >= 5 and words[3].isdigit()}
        total = made.pop("total", 0)
        most = ", ".join(f"{call} {made[call] / max(1, sent):.2f}" for call in sorted(made, key=made.get, reverse=True)[:4])
        rows.append((name, f"{total / max(1, sent):.2f}", most))
    table("System calls a probe, 10 targets once a second", ("", "calls", "of these"), rows)


def responder():
    """Answers IKE on port 500 of every address with INVALID_MAJOR_VERSION, as strongSwan does, and keeps nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
        server.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        server.bind(("0.0.0.0", 500))
        while True:
            request, control, _, peer = server.recvmsg(2048, 64)
            if len(request) >= 28:
                server.sendmsg([request[:8] + IKE_ANSWER], [(socket.IPPROTO_IP, 8, struct.pack("I4s4x", 0, control[0][2][8:12]))], 0, peer)


def ike(options):
    """vpnprobe keeps a connected socket each and a schedule; ike-scan sends to all once from one socket, as fast as it is told."""
    size, runs = options.sizes[-1], {}
    child = os.fork()
    if child == 0:
        responder()
    try:
        udp = lambda: dict(zip(*[line.split() for line in open("/proc/net/snmp") if line.startswith("Udp:")]))
        for _ in range(options.reps):
            for name in chosen(options, ["vpnprobe", "ike-scan, every 100 µs", "ike-scan, every 50 µs"]):
                if name != "vpnprobe":
                    runs.setdefault(name, []).append(ike_scan(size, re.search(r"\d+", name)[0]))
                    continue
                tool = Contender("vpnprobe", addresses(size, "127.10"), 1.0, BUCKETS, kind="ike")
                time.sleep(10)
                failed = -own(tool, "vpnprobe_probe_failures_total")
                cpu, before = tool.cpu(), int(udp()["OutDatagrams"])
                time.sleep(options.seconds)
                cpu, sent = tool.cpu() - cpu, (int(udp()["OutDatagrams"]) - before) / 2
                failed += own(tool, "vpnprobe_probe_failures_total")
                runs.setdefault(name, []).append((cpu / max(1, sent) * 1e6, tool.memory(), sent / options.seconds, failed / max(1, sent) * 100))
                tool.close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    column = lambda name, index, digits: spread([run[index] for run in runs[name]], digits)
    table(f"IKE, {size} targets", ("", "CPU µs a probe", "memory MiB", "probes a second", "not answered %"),
          [(name, column(name, 0, 1), column(name, 1, 0), column(name, 2, 0), column(name, 3, 1)) for name in runs])


def ike_scan(size, pause):
    """One pass over all addresses: CPU µs a probe, memory, probes a second, and how many were not answered, in percent."""
    with tempfile.NamedTemporaryFile("w", prefix="vpbench-") as hosts:
        hosts.write("\n".join(addresses(size, "127.10")) + "\n")
        hosts.flush()
        tool = subprocess.Popen(["ike-scan", "--retry=1", "--timeout=1000", "--quiet", "--sport=0", f"--interval={pause}u", f"--file={hosts.name}"], stdout=subprocess.PIPE, text=True)
        said = tool.stdout.read()
        _, status, used = os.wait4(tool.pid, 0)
        tool.returncode = status
    took, answered = re.search(r"scanned in ([\d.]+) seconds.* (\d+) returned notify", said).groups()
    return (used.ru_utime + used.ru_stime) / size * 1e6, used.ru_maxrss / 1024, size / float(took), (size - int(answered)) / size * 100


def truth(options, title, loaded, stall):
    names = ["vpnprobe", "fping", "smokeping_prober", "blackbox_exporter"] + ([] if stall else ["vpnprobe, ike", "floor"])
    rows, targets = [], [f"10.77.1.{index + 1}" for index in range(20)]
    seconds = 30 if stall else options.seconds
    for name in chosen(options, names):
        delay, tap = Delay(stall), None
        delay.start()
        load = subprocess.Popen(["stress-ng", "--quiet", "--cpu", str(os.cpu_count())]) if loaded else None
        try:
            tap = Tap("vpb0")
            tap.start()
            tool, _, kind = name.partition(", ")
            tool = Contender(tool, targets, .1, FINE, kind or "icmp", seconds=seconds - 8, verbose=True, journal=tool == "vpnprobe")
            time.sleep(seconds)
            if name == "fping":
                tool.process.wait(seconds + 20)
            elif name == "blackbox_exporter":
                tool.stopping.set()
                time.sleep(4)
            said = tool.reported()
            tool.process.send_signal(signal.SIGTERM)
            tool.process.wait(20)
            wire = tap.close()
            errors = [error * 1e6 for error in tool.errors(tap.trips)] if tool.name == "vpnprobe" else []
            tool.close()
            sent = sum(map(len, tap.sends.values()))
            real = summary(wire)
        finally:
            if load:
                load.send_signal(signal.SIGTERM)
                load.wait()
            delay.close()
        if stall:
            due = sum(round((sends[-1] - sends[0]) / .1) + 1 for sends in tap.sends.values())
            cell = lambda key: f"{said.get(key, float('nan')) * 1e3:.1f} / {real[key] * 1e3:.1f}"
            rows.append((name, sent, max(0, due - sent), said["n"], cell("mean"), cell("p95"), cell("p99")))
        else:
            # Quantiles are not compared: this responder's own delays spread, and a histogram interpolates.
            each = summary(errors)
            paired = (f"{each['mean']:+.1f}", f"{each['p50']:+.1f}", f"{each['p99']:+.1f}", f"{max(errors):+.1f}") if errors else ("-",) * 4
            rows.append((name, real["n"], said["n"], f"{(said['mean'] - real['mean']) * 1e6:+.0f}", *paired))
    head = ("", "sent", "skipped", "answers told", "mean ms, said / wire", "p95", "p99") if stall else ("", "answers on the wire", "told", "mean error µs", "each against its own packets: mean", "p50", "p99", "most")
    table(title, head, rows)


def main():
    parser = argparse.ArgumentParser(description="vpnprobe beside its peers and a floor")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs, 1,000 targets at most")
    parser.add_argument("--sizes", help="numbers of targets, 10,1000,10000 if not said")
    parser.add_argument("--tools", help="only these, with vpnprobe among them")
    parser.add_argument("--reps", type=int)
    parser.add_argument("--seconds", type=int)
    parser.add_argument("--only", default="cost,calls,ike,scrape,rate,schedule,accuracy,stall")
    options = parser.parse_args()
    options.reps = options.reps or (1 if options.quick else 3)
    options.seconds = options.seconds or (5 if options.quick else 10)
    options.sizes = [int(size) for size in options.sizes.split(",")] if options.sizes else [10, 1000] if options.quick else [10, 1000, 10000]
    network()
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    say(f"{time.strftime('%Y-%m-%d %H:%M')} · {os.cpu_count()} × {model} · Linux {platform.release()} · load when begun {os.getloadavg()[0]:.1f}")
    only = options.only.split(",")
    for name, run in (
        ("cost", cost), ("calls", calls), ("ike", ike), ("scrape", scrape), ("rate", rate), ("schedule", schedule),
        ("accuracy", lambda o: (truth(o, "Round-trip time against the wire, 5 ms away, idle", False, False), truth(o, "The same with all cores busy", True, False))),
        ("stall", lambda o: truth(o, "The peer stalls 2 s in every 10 (timeout 3 s)", False, True)),
    ):
        if name in only:
            run(options)
    say(f"\nload when done {os.getloadavg()[0]:.1f}")


main()
