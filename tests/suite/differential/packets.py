"""Builds packets with scapy, with fields drawn from a seed, and prints each as a line of JSON.

usage: packets.py SEED COUNT. Needs Debian's python3-scapy; nothing is sent anywhere.
"""
import json
import logging
import random
import sys

logging.getLogger("scapy").setLevel(logging.ERROR)
from scapy.contrib.ikev2 import (  # noqa: E402
    IKEv2, IKEv2_payload_KE, IKEv2_payload_Nonce, IKEv2_payload_Notify, IKEv2_payload_Proposal,
    IKEv2_payload_SA, IKEv2_payload_Transform, IKEv2_payload_VendorID)
from scapy.contrib.wireguard import Wireguard, WireguardCookieReply, WireguardInitiation, WireguardResponse  # noqa: E402
from scapy.layers.dns import DNS, DNSQR, DNSRR, DNSRROPT  # noqa: E402
from scapy.layers.inet import ICMP, IP, UDP  # noqa: E402
from scapy.layers.inet6 import ICMPv6EchoReply, IPv6  # noqa: E402
from scapy.layers.isakmp import (  # noqa: E402
    ISAKMP, ISAKMP_payload_Proposal, ISAKMP_payload_SA, ISAKMP_payload_Transform, ISAKMP_payload_VendorID)
from scapy.layers.l2tp import L2TP  # noqa: E402
from scapy.packet import Raw  # noqa: E402

draw = random.Random(int(sys.argv[1]))


def octets(least, most=None):
    return draw.randbytes(draw.randint(least, most or least))


def chain(layers):
    packet = layers[0]
    for layer in layers[1:]:
        packet = packet / layer
    return packet


def ikev2():
    transforms = []
    for _ in range(draw.randint(1, 6)):
        kind = draw.choice([1, 2, 3, 4])
        number = draw.randint(1, 40)
        bits = draw.choice([128, 192, 256]) if kind == 1 else None
        transforms.append((kind, number, bits))
    made = chain([
        IKEv2_payload_Transform(transform_type=kind, transform_id=number, key_length=bits, length=12)
        if bits else IKEv2_payload_Transform(transform_type=kind, transform_id=number)
        for kind, number, bits in transforms])
    initiator, responder, message_id = octets(8), octets(8), draw.getrandbits(32)
    group, public, nonce = draw.choice([14, 19, 20, 31]), octets(32, 256), octets(16, 256)
    notifies = [(draw.choice([16388, 16389, 16390, 16404, 14, 17]), octets(0, 40)) for _ in range(draw.randint(0, 4))]
    vendors = [octets(1, 40) for _ in range(draw.randint(0, 3))]
    # Type and layer of each payload: scapy leaves it to us to say which one comes next.
    payloads = [
        (33, IKEv2_payload_SA(prop=IKEv2_payload_Proposal(proposal=1, trans_nb=len(transforms), trans=made))),
        (34, IKEv2_payload_KE(group=group, load=public)),
        (40, IKEv2_payload_Nonce(load=nonce)),
    ] + [(41, IKEv2_payload_Notify(type=kind, load=data)) for kind, data in notifies] + [
        (43, IKEv2_payload_VendorID(vendorID=vendor)) for vendor in vendors]
    for (_, layer), (following, _) in zip(payloads, payloads[1:]):
        layer.next_payload = following
    header = IKEv2(init_SPI=initiator, resp_SPI=responder, next_payload=33, exch_type=34, flags="Response", id=message_id)
    packet = chain([header] + [layer for _, layer in payloads])
    return packet, {
        "initiator": initiator.hex(), "responder": responder.hex(), "id": message_id, "group": group,
        "public": public.hex(), "nonce": nonce.hex(), "transforms": transforms,
        "notifies": [(kind, data.hex()) for kind, data in notifies], "vendors": [vendor.hex() for vendor in vendors]}


def ikev1():
    initiator, responder = octets(8), octets(8)
    suites = []
    for _ in range(draw.randint(1, 5)):
        suites.append({"Encryption": 7, "KeyLength": draw.choice([128, 192, 256]), "Hash": draw.choice([1, 2]),
                       "Authentication": draw.choice([1, 3]), "GroupDesc": draw.choice([1, 2, 5, 14]),
                       "LifeType": 1, "LifeDuration": draw.randint(0x10000, 0xffffffff)})
    vendors = [octets(1, 40) for _ in range(draw.randint(0, 3))]
    made = chain([ISAKMP_payload_Transform(num=n + 1, transforms=list(suite.items())) for n, suite in enumerate(suites)])
    packet = chain([
        ISAKMP(init_cookie=initiator, resp_cookie=responder, exch_type=2, id=0),
        ISAKMP_payload_SA(prop=ISAKMP_payload_Proposal(trans_nb=len(suites), trans=made)),
    ] + [ISAKMP_payload_VendorID(load=vendor) for vendor in vendors])
    return packet, {
        "initiator": initiator.hex(), "responder": responder.hex(), "vendors": [vendor.hex() for vendor in vendors],
        "suites": [[suite[name] for name in ("KeyLength", "Hash", "Authentication", "GroupDesc", "LifeDuration")]
                   for suite in suites]}


def l2tp():
    # scapy knows the header; the attributes are laid out as RFC 2661 section 4.1 has them.
    avps = [(0, 0x8000, (1).to_bytes(2, "big"))] + [
        (draw.randint(1, 39), draw.choice([0, 0x8000]), octets(0, 60)) for _ in range(draw.randint(0, 6))]
    body = b"".join((flags | 6 + len(value)).to_bytes(2, "big") + bytes(2) + kind.to_bytes(2, "big") + value
                    for kind, flags, value in avps)
    fields = dict(tunnel_id=draw.getrandbits(16), session_id=draw.getrandbits(16), ns=draw.getrandbits(16), nr=draw.getrandbits(16))
    packet = L2TP(hdr="control+length+sequence", version=2, len=12 + len(body), **fields) / Raw(body)
    return packet, fields | {"avps": [(kind, bool(flags), value.hex()) for kind, flags, value in avps]}


def dns():
    # Letters and digits: a host's name has no hyphen at its ends, and two of them mean something else.
    name = ".".join("".join(draw.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(draw.randint(1, 20)))
                    for _ in range(draw.randint(1, 4))) + "."
    addresses = [".".join(str(draw.randint(0, 255)) for _ in range(4)) for _ in range(draw.randint(0, 6))]
    number, code = draw.getrandbits(16), draw.choice([0, 0, 0, 2, 3, 5])
    records = chain([DNSRR(rrname=name, type="A", ttl=draw.randint(0, 86400), rdata=one) for one in addresses]) if addresses else None
    packet = DNS(id=number, qr=1, rd=1, ra=1, rcode=code, qd=DNSQR(qname=name, qtype="A"), an=records,
                 ar=DNSRROPT(rclass=1232))
    return packet, {"id": number, "code": code, "name": name, "addresses": addresses}


def wireguard():
    kind = draw.choice([1, 2, 3])
    if kind == 1:
        fields = dict(sender_index=draw.getrandbits(32), unencrypted_ephemeral=octets(32), encrypted_static=octets(48),
                      encrypted_timestamp=octets(28), mac1=octets(16), mac2=octets(16))
        packet = Wireguard(message_type=1) / WireguardInitiation(**fields)
    elif kind == 2:
        fields = dict(sender_index=draw.getrandbits(32), receiver_index=draw.getrandbits(32),
                      unencrypted_ephemeral=octets(32), encrypted_nothing=octets(16), mac1=octets(16), mac2=octets(16))
        packet = Wireguard(message_type=2) / WireguardResponse(**fields)
    else:
        fields = dict(receiver_index=draw.getrandbits(32), nonce=octets(24), encrypted_cookie=octets(32))
        packet = Wireguard(message_type=3) / WireguardCookieReply(**fields)
    # scapy reads and writes the numbers by the order that its fields say; the octets are what counts.
    return packet, {"kind": kind} | {
        name: value if isinstance(value, int) else value.hex() for name, value in fields.items()}


def icmp():
    number, sequence, data = draw.getrandbits(16), draw.getrandbits(16), octets(8, 64)
    if draw.randint(0, 1):
        packet = ICMP(type=0, id=number, seq=sequence) / Raw(data)
        return packet, {"v6": False, "id": number, "sequence": sequence, "data": data.hex()}
    whole = IPv6(src="2001:db8::1", dst="2001:db8::2") / ICMPv6EchoReply(id=number, seq=sequence, data=data)
    return bytes(whole)[40:], {"v6": True, "id": number, "sequence": sequence, "data": data.hex()}


def icmp_error():
    sport, dport, data = draw.getrandbits(16), draw.getrandbits(16), octets(8, 40)
    quoted = IP(src="192.0.2.10", dst="203.0.113.10", ttl=1) / UDP(sport=sport, dport=dport) / Raw(data)
    kind, code = draw.choice([(3, 0), (3, 1), (3, 3), (3, 4), (3, 13), (11, 0)])
    mtu = draw.randint(68, 1500) if (kind, code) == (3, 4) else 0
    packet = ICMP(type=kind, code=code, nexthopmtu=mtu) / quoted if mtu else ICMP(type=kind, code=code) / quoted
    return packet, {"kind": kind, "code": code, "mtu": mtu, "payload": bytes(quoted)[20:].hex()}


MAKERS = [ikev2, ikev1, l2tp, dns, wireguard, icmp, icmp_error]
for number in range(int(sys.argv[2])):
    maker = MAKERS[number % len(MAKERS)]
    made, fields = maker()
    print(json.dumps({"protocol": maker.__name__, "packet": bytes(made).hex(), "fields": fields}))
