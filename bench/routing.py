#!/usr/bin/env python3
"""Simulates how subscriptions of many gateways lie on the instances of a subgraph.

    python3 bench/routing.py --gateways 100 --instances 10

Clients are spread over the gateways by chance. The topics that they read have a popularity by Zipf's law, as posts do.
A gateway has one upstream subscription for each topic that one of its clients reads. Three ways to choose the instance:

    one socket   each gateway has one WebSocket to the subgraph, at an instance by chance
    any socket   each upstream subscription goes to an instance by chance
    by topic     rendezvous hashing of the topic: all gateways choose the same instance for a topic

Prints, for each way: upstream subscriptions of the fullest instance and its share of the mean; topics that an instance
has to hold, of all that are read; and the same after one instance was restarted, and one more was added. Everything is
computed from the seed; there is no server.
"""

import argparse
import hashlib
import random
from bisect import bisect
from collections import defaultdict
from itertools import accumulate


def topics_of_gateways(options, rng):
    """For each gateway, the set of topics that its clients read."""
    weights = list(accumulate(1 / (rank + 1) ** options.zipf for rank in range(options.topics)))
    gateways = [set() for _ in range(options.gateways)]
    for _ in range(options.clients):
        topic = bisect(weights, rng.random() * weights[-1])
        gateways[rng.randrange(options.gateways)].add(topic)
    return gateways


def score(topic, instance):
    """The rendezvous weight of an instance for a topic."""
    return hashlib.blake2b(f"{topic}/{instance}".encode(), digest_size=8).digest()


def one_socket(gateways, instances, rng):
    chosen = [rng.choice(instances) for _ in gateways]
    return lambda gateway, _topic: chosen[gateway]


def any_socket(_gateways, instances, rng):
    return lambda _gateway, _topic: rng.choice(instances)


def by_topic(_gateways, instances, _rng):
    known = {}

    def choose(_gateway, topic):
        if topic not in known:
            known[topic] = max(instances, key=lambda instance: score(topic, instance))
        return known[topic]

    return choose


def place(gateways, instances, way, rng):
    """The instance of each upstream subscription."""
    choose = way(gateways, instances, rng)
    return {
        (gateway, topic): choose(gateway, topic)
        for gateway, topics in enumerate(gateways)
        for topic in sorted(topics)
    }


def restart_first(placed, instances, way, gateways, rng):
    """An instance goes, and its subscriptions move to others; then it comes back.

    Hashing moves back what belongs to it. The other ways leave everything where it is.
    """
    gone, rest = instances[0], instances[1:]
    if way is by_topic:
        return place(gateways, instances, way, rng)
    choose = way(gateways, rest, rng)
    return {
        (gateway, topic): choose(gateway, topic) if instance == gone else instance
        for (gateway, topic), instance in placed.items()
    }


def describe(name, placed, instances, topics_read):
    subscriptions, topics = defaultdict(int), defaultdict(set)
    for (_, topic), instance in placed.items():
        subscriptions[instance] += 1
        topics[instance].add(topic)
    mean = len(placed) / len(instances)
    fullest = max(subscriptions.values())
    held = max(len(held) for held in topics.values())
    idle = sum(1 for instance in instances if subscriptions[instance] == 0)
    print(f"  {name:28}{fullest:10}{fullest / mean:9.2f}{held / topics_read:12.0%}{idle:8}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateways", type=int, default=100)
    parser.add_argument("--instances", type=int, default=10)
    parser.add_argument("--topics", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=200_000)
    parser.add_argument("--zipf", type=float, default=1.0, help="0 is equal popularity (default: 1.0)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    rng = random.Random(options.seed)
    gateways = topics_of_gateways(options, rng)
    read = len(set().union(*gateways))
    upstream = sum(len(topics) for topics in gateways)
    instances = list(range(options.instances))
    print(f"{options.clients} clients at {options.gateways} gateways read {read} topics: {upstream} upstream subscriptions")
    print(f"  {'at ' + str(options.instances) + ' instances':28}{'fullest':>10}{'/ mean':>9}{'its topics':>12}{'idle':>8}")
    for way in (one_socket, any_socket, by_topic):
        name = way.__name__.replace("_", " ")
        placed = place(gateways, instances, way, rng)
        describe(name, placed, instances, read)
        describe("  one was restarted", restart_first(placed, instances, way, gateways, rng), instances, read)
        if way is by_topic:
            more = instances + [options.instances]
            after = place(gateways, more, way, rng)
            moved = sum(1 for key, instance in placed.items() if after[key] != instance)
            describe("  one more", after, more, read)
            print(f"    moved to it: {moved / len(placed):.0%} of the subscriptions")


if __name__ == "__main__":
    main()
