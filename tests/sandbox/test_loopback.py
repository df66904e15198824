"""Processes of one run may talk to each other where that is asked for, and to nobody else."""

from __future__ import annotations

import socket

import pytest

from verifier.sandbox.policy import Reason, SandboxLimits, SandboxPolicy, SandboxResult, Tier
from verifier.sandbox.run import run, run_in_tier
from verifier.sandbox.tiers import choose_tier, examine_tier, has_own_root, python

TIERS = [tier for tier in (Tier.BUBBLEWRAP, Tier.NAMESPACES) if examine_tier(tier).available]
TALK = """
import os, socket
server = socket.create_server(("127.0.0.1", 29500))
if not os.fork():
    with socket.create_connection(("127.0.0.1", 29500), timeout=5) as made:
        made.sendall(b"hello")
    os._exit(0)
print(server.accept()[0].recv(5).decode())
"""
REACH = """
import socket
def tried(what, family, kind, target, protocol=0):
    try:
        with socket.socket(family, kind, protocol) as made:
            made.settimeout(2)
            if target:
                made.connect(target)
        print("reached", what)
    except OSError as failure:
        print("held", what)
tried("host", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", PORT))
tried("outside", socket.AF_INET, socket.SOCK_STREAM, ("1.1.1.1", 80))
tried("outside-6", socket.AF_INET6, socket.SOCK_STREAM, ("2606:4700:4700::1111", 80))
tried("raw", socket.AF_INET, socket.SOCK_RAW, None)
tried("packet", socket.AF_PACKET, socket.SOCK_RAW, None)
tried("audit", socket.AF_NETLINK, socket.SOCK_RAW, None, 9)
tried("vsock", 40, socket.SOCK_STREAM, None)
"""


def call(code: str, tier: Tier, *, loopback: bool = True) -> SandboxResult:
    policy = SandboxPolicy(loopback=loopback, limits=SandboxLimits(wall_seconds=20))
    return run_in_tier((python(), "-I", "-S", "-c", code), policy, tier)


@pytest.mark.parametrize("tier", TIERS)
def test_processes_talk_only_where_that_is_asked_for(tier: Tier) -> None:
    assert call(TALK, tier).stdout == b"hello\n"
    assert call(TALK, tier, loopback=False).stdout == b""


@pytest.mark.parametrize("tier", TIERS)
def test_nobody_else_is_reached(tier: Tier) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        result = call(REACH.replace("PORT", str(server.getsockname()[1])), tier)
    lines = result.stdout.decode().split("\n")[:-1]
    assert len(lines) == 7, result.stderr
    assert {line.split()[0] for line in lines} == {"held"}, lines


def test_a_tier_without_a_network_of_its_own_refuses() -> None:
    state = choose_tier(SandboxPolicy())
    if not state.available or has_own_root(state.tier):
        pytest.skip("the strongest tier here has one")
    result = run((python(), "-c", "print(1)"), SandboxPolicy(loopback=True))
    assert result.reason is Reason.NOT_AVAILABLE
    assert "network of its own" in result.detail
