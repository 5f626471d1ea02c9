#!/usr/bin/env python3
"""CPU of a full TLS handshake with the chain judged: vpnprobe beside blackbox_exporter, in one run.

usage: tests/bench/tls.py [--seconds 20] [--repeats 3]
Needs root, target/release/vpnprobe, and Debian's prometheus-blackbox-exporter, nginx-light and openssl.

Both probe the same nginx over TLS 1.3 on the loopback of a network namespace, 50 handshakes a second, taking
turns. The server sends a leaf and an intermediate; both are given the root and the name. Nothing is resumed.
CPU is user and system time of the prober's process alone, by the scheduler's own count, over what nginx says
it accepted. blackbox_exporter is asked over HTTP for each probe, as Prometheus does: that is a part of what
it costs.
Prints a Markdown table: medians, and in brackets the smallest and the largest.
"""
import argparse, http.client, os, platform, re, signal, statistics, subprocess, sys, tempfile, threading, time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NAMESPACE = f"vptls{os.getpid()}"
TARGETS = [f"127.0.1.{n}" for n in range(1, 51)]
NAME = "bench.test"
KINDS = {"RSA-2048": ["rsa:2048"], "P-256": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]}


def inside():
    """Re-runs this program in a namespace of its own, removed at the end by whoever made it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if os.environ.get("VPTLS"):
        return
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    try:
        subprocess.run(["ip", "-n", NAMESPACE, "link", "set", "lo", "up"], check=True)
        done = subprocess.run(["ip", "netns", "exec", NAMESPACE, sys.executable] + sys.argv, env=dict(os.environ, VPTLS="1"))
    finally:
        subprocess.run(["ip", "netns", "del", NAMESPACE])
    sys.exit(done.returncode)


def chain(folder, kind):
    """A root, an intermediate and a leaf, all of one kind of key; the server's chain and its key."""
    def run(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)
    key = ["-newkey", *KINDS[kind], "-nodes"]
    authority = ["-addext", "basicConstraints=critical,CA:true", "-addext", "keyUsage=critical,keyCertSign"]
    run("req", "-x509", *key, "-days", "2", "-subj", "/CN=root", *authority, "-keyout", "root.key", "-out", "root.pem")
    run("req", "-x509", *key, "-days", "2", "-subj", "/CN=middle", *authority, "-CA", "root.pem", "-CAkey", "root.key",
        "-keyout", "middle.key", "-out", "middle.pem")
    run("req", "-x509", *key, "-days", "2", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}",
        "-addext", "basicConstraints=critical,CA:false", "-CA", "middle.pem", "-CAkey", "middle.key",
        "-keyout", "leaf.key", "-out", "leaf.pem")
    with open(f"{folder}/chain.pem", "w") as out:
        for part in ("leaf.pem", "middle.pem"):
            out.write(open(f"{folder}/{part}").read())


def started(command, port, log):
    process = subprocess.Popen(command, stdout=log, stderr=log)
    for _ in range(100):
        try:
            http.client.HTTPConnection("127.0.0.1", port, timeout=1).connect()
            return process
        except OSError:
            time.sleep(.1)
    process.kill()
    sys.exit(f"{command[0]} does not listen; its log: {open(log.name).read()}")


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    body = connection.getresponse().read().decode()
    connection.close()
    return body


def cpu(pid):
    """Seconds, user and system, of all threads, those that have ended too."""
    fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def handshakes():
    """nginx's own count of connections accepted on the port of TLS: this question is one on another."""
    return int(get(8080, "/status").split("\n")[2].split()[0])


def asking(port, until, good):
    """Asks blackbox for its share of the targets, at even distances."""
    def one(share):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        due, turn = time.monotonic(), 0
        while due < until:
            time.sleep(max(0, due - time.monotonic()))
            connection.request("GET", f"/probe?module=tls&target={share[turn % len(share)]}:443")
            good.append("probe_success 1" in connection.getresponse().read().decode())
            turn, due = turn + 1, due + 5 / len(TARGETS)
    threads = [threading.Thread(target=one, args=(TARGETS[n::5],)) for n in range(5)]
    [thread.start() for thread in threads]
    return threads


def measure(folder, prober, seconds):
    """Microseconds of CPU a handshake, and handshakes a second."""
    with open(f"{folder}/log", "w") as log:
        port = 9115
        if prober == "vpnprobe":
            with open(f"{folder}/c.yml", "w") as out:
                out.write("budget: {packets_per_second: 1000, packets_burst: 1000, tcp_per_minute: 100, tls_per_minute: 100}\ntargets:\n")
                for n, target in enumerate(TARGETS):
                    out.write(f"  t{n}: {{address: {target}, probes: {{tls: {{interval: 1s, tls: {{server_name: {NAME}, ca_file: root.pem}}}}}}}}\n")
            command = [f"{ROOT}/target/release/vpnprobe", "serve", "--config.file", f"{folder}/c.yml", f"--web.listen-address=127.0.0.1:{port}"]
        else:
            with open(f"{folder}/b.yml", "w") as out:
                out.write(f"modules: {{tls: {{prober: tcp, tcp: {{tls: true, tls_config: {{server_name: {NAME}, ca_file: {folder}/root.pem}}}}}}}}\n")
            command = ["prometheus-blackbox-exporter", f"--config.file={folder}/b.yml", f"--web.listen-address=127.0.0.1:{port}"]
        process, good = started(command, port, log), []
        try:
            threads = [] if prober == "vpnprobe" else asking(port, time.monotonic() + seconds + 4, good)
            time.sleep(3)
            before, count, at = cpu(process.pid), handshakes(), time.monotonic()
            time.sleep(seconds)
            used, count, took = cpu(process.pid) - before, handshakes() - count - 1, time.monotonic() - at
            [thread.join() for thread in threads]
            if prober == "vpnprobe":
                lines = [line for line in get(port, "/metrics").split("\n") if line.startswith("vpnprobe_probe_up{")]
                good = [line.endswith(" 1") for line in lines]
            if not good or not all(good) or count < seconds * 40:
                sys.exit(f"{prober}: {count} handshakes, {good.count(False)} of {len(good)} not good; log: {open(log.name).read()[-2000:]}")
            return used / count * 1e6, count / took
        finally:
            process.terminate()
            process.wait()


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=int, default=20)
    arguments.add_argument("--repeats", type=int, default=3)
    arguments = arguments.parse_args()
    inside()
    cores = os.cpu_count()
    model = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())
    print(f"{time.strftime('%Y-%m-%d')}, {model[1] if model else platform.machine()}, {cores} cores, load {os.getloadavg()[0]:.1f}\n")
    print("| certificates | blackbox_exporter | vpnprobe | ratio |\n|---|---|---|---|")
    worst = 0
    for kind in KINDS:
        with tempfile.TemporaryDirectory(prefix="vptls-") as folder:
            chain(folder, kind)
            with open(f"{folder}/nginx.conf", "w") as out:
                out.write(f"daemon off; pid {folder}/pid; error_log {folder}/error; events {{}}\nhttp {{ access_log off;\n"
                          f"server {{ listen 443 ssl; ssl_protocols TLSv1.3; ssl_certificate {folder}/chain.pem; ssl_certificate_key {folder}/leaf.key; }}\n"
                          "server { listen 8080; location /status { stub_status; } } }\n")
            with open(f"{folder}/out", "w") as log:
                nginx = started(["nginx", "-e", f"{folder}/error", "-c", f"{folder}/nginx.conf"], 8080, log)
            try:
                seen = {"blackbox": [], "vpnprobe": []}
                for _ in range(arguments.repeats):
                    for prober, figures in seen.items():
                        figures.append(measure(folder, prober, arguments.seconds)[0])
            finally:
                nginx.terminate()
                nginx.wait()
        text = [f"{statistics.median(s):.0f} µs [{min(s):.0f}–{max(s):.0f}]" for s in seen.values()]
        ratios = [ours / theirs for theirs, ours in zip(seen["blackbox"], seen["vpnprobe"])]
        worst = max(worst, statistics.median(ratios))
        print(f"| {kind} | {text[0]} | {text[1]} | {statistics.median(ratios):.2f} [{min(ratios):.2f}–{max(ratios):.2f}] |", flush=True)
    print(f"\ngoal: at most 0.33; {'met' if worst <= 1 / 3 else 'not met'}")


main()
