#!/bin/sh
# curl: a query, a mutation, and a subscription that goes on from a cursor.
#
#   sh curl.sh                              # or GATEWAY=http://host/graphql
set -eu
url=${GATEWAY:-http://127.0.0.1:4000/graphql}

# A query by POST. Another way is GET with ?query=.
ask() {
  curl --silent --show-error --fail-with-body "$url" --header 'content-type: application/json' --data "$1"
}

# The value of the first field of this name.
field() {
  sed "s/.*\"$1\":\"\([^\"]*\)\".*/\1/"
}

newest=$(ask '{"query": "{ posts(first: 1) { edges { node { id title commentChangesCursor } } } }"}')
post=$(echo "$newest" | field id)
cursor=$(echo "$newest" | field commentChangesCursor)
echo "the newest post: $(echo "$newest" | field title)"

ask '{
  "query": "mutation ($input: CreateCommentInput!) { createComment(input: $input) { comment { id } } }",
  "variables": { "input": { "postId": "'"$post"'", "text": "Hello from curl", "author": "Example" } }
}' >/dev/null

# Server-sent events, to the first comment. An event's id is its cursor; Last-Event-ID goes on behind it.
events=$(mktemp)
curl --silent --show-error --fail-with-body --no-buffer --max-time 30 --get "$url" \
  --header 'accept: text/event-stream' --header "last-event-id: $cursor" \
  --data-urlencode 'query=subscription ($post: ID!, $after: String) {
      commentChanges(postId: $post, after: $after) { ... on CommentAdded { cursor comment { text } } }
    }' \
  --data-urlencode 'variables={"post": "'"$post"'"}' >"$events" &
curl=$!
trap 'kill "$curl" 2>/dev/null || true; rm -f "$events"' EXIT

until grep '"text"' "$events" >/dev/null; do
  if ! kill -0 "$curl" 2>/dev/null; then
    cat "$events" >&2
    exit 1
  fi
  sleep 0.1
done
sed -n 's/^data: .*"text":"\([^"]*\)".*/live: \1/p' "$events"
