"""Asks two gateways the same and compares their answers, whatever the order of keys.

With the stack running (`cargo run`), in bench/peers/hive-router:

    PORT=4100 HOST=127.0.0.1 SUPERGRAPH_FILE_PATH=../../../schema/supergraph.graphql hive_router

and then: python3 bench/peers/same_answers.py 4000 4100
"""

import json
import sys
import urllib.request

PAGES = """{ posts(first: 5) {
  pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  edges { cursor node { id title content author createdAt updatedAt lastCommentAt
    latestComments(first: 3) { id text author createdAt edited } } }
} }"""
THERE_AND_BACK = """{ posts(first: 5, orderBy: OLDEST_FIRST) { edges { node {
  title
  comments(first: 2) {
    edges { node { text author edited updatedAt post { title commentCount } } }
    pageInfo { hasNextPage }
  }
} } } }"""
ALIASES = """{ __typename a: posts(first: 1) { __typename e: edges { n: node { __typename t: title
  ...F @include(if: true) ... on Post @skip(if: true) { content } } } } }
fragment F on Post { latestComments(first: 1) { __typename id post { id author } } }"""
BACKWARDS = """query ($id: ID!, $n: Int) { post(id: $id) { title
  comments(last: $n) { edges { cursor node { id text } } pageInfo { startCursor } } } }"""
ONCE = """mutation ($id: ID!) {
  createComment(input: { postId: $id, text: "Twice", idempotencyKey: "same-answers" }) {
    comment { text author post { id title } } } }"""
MISSING = 'query { post(id: "000000000000000000000000") { title } }'


def ask(port, query, variables=None):
    body = json.dumps({"query": query, "variables": variables or {}}).encode()
    headers = {"content-type": "application/json", "accept": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/graphql", body, headers)
    return json.load(urllib.request.urlopen(request, timeout=10))


def main(ports):
    first = ask(ports[0], "{ posts(first: 1) { edges { node { id } } } }")
    post = first["data"]["posts"]["edges"][0]["node"]["id"]
    operations = [
        (PAGES, None),
        (THERE_AND_BACK, None),
        (ALIASES, None),
        (BACKWARDS, {"id": post, "n": 3}),
        (ONCE, {"id": post}),
        (MISSING, None),
    ]
    equal = 0
    for query, variables in operations:
        answers = [json.dumps(ask(port, query, variables), sort_keys=True) for port in ports]
        if answers[0] == answers[1]:
            equal += 1
        else:
            print(query, *answers, sep="\n")
    print(f"{equal} of {len(operations)} answers are equal")
    return equal != len(operations)


sys.exit(main(sys.argv[1:3]))
