// What a newcomer finds in GraphiQL, ready to run.

interface Tab {
  query: string;
  variables?: string;
}

const query = `# A first query: run it with the button,
# or with Ctrl (Command) and Enter. Posts and
# comments come from two services; the
# gateway joins them.
query NewestPosts {
  posts(first: 5) {
    edges {
      node {
        id
        title
        author
        commentCount
        comments(first: 3) {
          edges {
            node {
              author
              text
              createdAt
            }
          }
        }
      }
    }
    pageInfo {
      hasNextPage
      endCursor
    }
  }
}
`;

const mutation = `# Writes a post: choose it from the run button's
# menu. NewPosts in the next tab shows it arrive.
mutation WritePost($input: CreatePostInput!) {
  createPost(input: $input) {
    post {
      id
      title
      createdAt
    }
  }
}

# Writes a comment on the post whose id stands in
# the variables below: the newest one when you
# came here.
mutation WriteComment($postId: ID!) {
  createComment(input: { postId: $postId, text: "Hello from GraphiQL", author: "You" }) {
    comment {
      id
      text
      createdAt
    }
  }
}
`;

const input = { title: 'Written in GraphiQL', content: 'A first post.', author: 'You' };

/** In place of an id while there is no post. */
const NO_POST = 'the id of a post: run WritePost first';

const subscription = `# Posts as they are written. Choose it from the
# run button's menu, then run WritePost in the tab
# before this one: the subscription goes on, and
# "Live events" at the left shows what arrives.
subscription NewPosts {
  postAdded {
    id
    title
    author
  }
}

# The comments of the post in the variables, as
# they are added, edited and deleted. WriteComment
# in the tab before this one writes to that post.
# A client that was away passes the last cursor
# as \`after\` and misses nothing.
subscription CommentChanges($postId: ID!, $after: String) {
  commentChanges(postId: $postId, after: $after) {
    ... on CommentAdded {
      cursor
      comment {
        id
        author
        text
      }
    }
    ... on CommentEdited {
      cursor
      comment {
        id
        text
        updatedAt
      }
    }
    ... on CommentDeleted {
      cursor
      commentId
    }
  }
}
`;

/** The tabs of a first visit, with the id of a post that is there. */
export function firstTabs(postId: string | undefined): Tab[] {
  const id = postId ?? NO_POST;
  return [
    { query },
    { query: mutation, variables: JSON.stringify({ input, postId: id }, null, 2) },
    { query: subscription, variables: JSON.stringify({ postId: id }, null, 2) },
  ];
}

/** The tab that an address holds: `?query=…&variables=…`. */
export function sharedTab(search: string): Tab | undefined {
  const parameters = new URLSearchParams(search);
  const query = parameters.get('query');
  if (!query) return undefined;
  const variables = parameters.get('variables');
  return { query, ...(variables && { variables }) };
}

/** GraphiQL does not wait longer for it. */
const POST_WITHIN_MS = 2_000;

/** The id of the newest post. */
export async function newestPost(url: string): Promise<string | undefined> {
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json' },
      body: JSON.stringify({ query: '{ posts(first: 1) { edges { node { id } } } }' }),
      signal: AbortSignal.timeout(POST_WITHIN_MS),
    });
    const { data } = (await response.json()) as {
      data?: { posts?: { edges?: { node: { id: string } }[] } };
    };
    return data?.posts?.edges?.[0]?.node.id;
  } catch {
    return undefined;
  }
}
