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

# Server-sent events for two seconds. An event's id is its cursor; Last-Event-ID goes on behind it.
curl --silent --show-error --no-buffer --max-time 2 --get "$url" \
  --header 'accept: text/event-stream' --header "last-event-id: $cursor" \
  --data-urlencode 'query=subscription ($post: ID!, $after: String) {
      commentChanges(postId: $post, after: $after) { ... on CommentAdded { cursor comment { text } } }
    }' \
  --data-urlencode 'variables={"post": "'"$post"'"}' 2>/dev/null |
  sed -n 's/^data: .*"text":"\([^"]*\)".*/live: \1/p'
