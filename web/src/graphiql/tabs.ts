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

const mutation = `# Writes a post. Its id goes into the
# subscription in the next tab.
mutation WritePost($input: CreatePostInput!) {
  createPost(input: $input) {
    post {
      id
      title
      createdAt
    }
  }
}

# Writes a comment: choose it from the run
# button's menu; its variable is a post's id.
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

const mutationVariables = {
  input: { title: 'Written in GraphiQL', content: 'A first post.', author: 'You' },
};

const subscription = `# Posts as they are written: run it, then run
# the mutation in the tab before this one.
subscription NewPosts {
  postAdded {
    id
    title
    author
  }
}

# A post's comments as they are added, edited
# and deleted; its variable is a post's id.
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

export const firstTabs: Tab[] = [
  { query },
  { query: mutation, variables: JSON.stringify(mutationVariables, null, 2) },
  { query: subscription },
];
