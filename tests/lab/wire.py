#!/usr/bin/env python3
"""Wires with a length: carries frames between pairs of interfaces of this network namespace, late.

usage: wire.py SETTINGS [STAMPS]

SETTINGS has a line for each wire: NAME DELAY [JITTER [LOSS]], for both of its directions, in milliseconds
and percent. NAMEa and NAMEb are the interfaces at its ends. SIGHUP: reads the file again. A line "seed N"
makes the same packets meet the same fate. STAMPS gets a line for each frame that left again:
    ARRIVED LEFT NAME DIRECTION BYTES      nanoseconds since 1970 · ab or ba · the IP packet's first, in hex

Invariants: the delay counts from the kernel's stamp of the arrival, so that what this program takes itself
is no part of it; jitter never reorders the frames of a direction. Frames go on with what the kernel knows
of their checksums and segments (PACKET_VNET_HDR), so that nothing has to be turned off at the ends.
"""

import heapq
import os
import random
import select
import signal
import socket
import struct
import sys
import time

# linux/if_packet.h, asm-generic/socket.h: what the module does not name
SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
SO_TIMESTAMPNS = 35
ETH_P_ALL, VNET_HEADER, ETHERNET = 3, 10, 14
MILLISECOND = 1_000_000


def opened(interface):
    """A socket that hears and sends on one interface."""
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    port.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    port.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    port.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    port.setblocking(False)
    port.bind((interface, ETH_P_ALL))
    return port


class Way:
    """One direction of a wire."""

    def __init__(self, wire, direction, out):
        self.wire, self.direction, self.out = wire, direction, out
        self.delay = self.jitter = self.loss = 0
        self.last = 0

    def due(self, arrived, chance):
        """When a frame leaves; None if it is lost."""
        if self.loss and chance.random() * 100 < self.loss:
            return None
        extra = chance.random() * self.jitter if self.jitter else 0
        self.last = max(self.last, arrived + int(self.delay + extra))
        return self.last


def main(settings, stamps=None):
    wires, ways, chance = {}, {}, random.Random(1)
    poll = select.epoll()

    def read():
        with open(settings, encoding="ascii") as file:
            lines = [line.split() for line in file if line.strip()]
        for name, *figures in lines:
            if name == "seed":
                chance.seed(int(figures[0]))
                continue
            if name not in wires:
                ends = opened(name + "a"), opened(name + "b")
                wires[name] = Way(name, "ab", ends[1]), Way(name, "ba", ends[0])
                for end, way in zip(ends, wires[name]):
                    ways[end.fileno()] = end, way
                    poll.register(end, select.EPOLLIN)
            delay, jitter, loss = (float(figure) for figure in (figures + [0, 0])[:3])
            for way in wires[name]:
                way.delay, way.jitter, way.loss = delay * MILLISECOND, jitter * MILLISECOND, loss

    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        pass  # then it is later on a busy machine, and the stamps show it
    again = []
    signal.signal(signal.SIGHUP, lambda *_: again.append(True))
    read()
    log = open(stamps, "w", encoding="ascii", buffering=1) if stamps else None
    print("carrying", flush=True)
    waiting, number = [], 0
    while True:
        if again:
            again.clear()
            read()
        wait = (waiting[0][0] - time.time_ns()) / MILLISECOND if waiting else 100
        # The poll counts whole milliseconds: the rest is waited for awake.
        for descriptor, _ in poll.poll(max(0, int(wait)) / 1000):
            end, way = ways[descriptor]
            while True:
                try:
                    frame, control, _, _ = end.recvmsg(1 << 17, 64)
                except BlockingIOError:
                    break
                seconds, nanos = struct.unpack("qq", control[0][2])
                arrived = seconds * 1_000_000_000 + nanos
                due = way.due(arrived, chance)
                if due is not None:
                    number += 1
                    heapq.heappush(waiting, (due, number, arrived, way, frame))
        while waiting and waiting[0][0] <= time.time_ns():
            _, _, arrived, way, frame = heapq.heappop(waiting)
            left = time.time_ns()
            try:
                way.out.send(frame)
            except OSError:
                continue  # the other end is down: the frame is lost, as on any wire
            if log:
                start = VNET_HEADER + ETHERNET
                shown = frame[start : start + 64].hex()
                log.write(f"{arrived} {left} {way.wire} {way.direction} {shown}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
