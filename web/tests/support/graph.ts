// Writes and reads through the graph, as another client would.

import assert from 'node:assert/strict';

import { eventually } from './waiting';

export class Graph {
  constructor(readonly base: string) {}

  async run<T>(query: string, variables: Record<string, unknown> = {}, token?: string): Promise<T> {
    const response = await fetch(new URL('/graphql', this.base), {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json',
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
      },
      body: JSON.stringify({ query, variables }),
    });
    const { data, errors } = (await response.json()) as { data: T; errors?: unknown };
    assert.equal(errors, undefined, JSON.stringify(errors));
    return data;
  }

  /** Changes a text, whoever wrote it. */
  async change(mutation: string, input: Record<string, unknown>): Promise<void> {
    await this.run(mutation, { input }, await this.moderatorToken());
  }

  /** A new token of the stack's issuer; none where nobody can sign in. */
  private async moderatorToken(): Promise<string | undefined> {
    const told = await fetch(new URL('/sign-in.json', this.base));
    if (told.status === 204) return undefined;
    const { tokenUrl } = (await told.json()) as { tokenUrl: string };
    const response = await fetch(tokenUrl, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name: 'Moderator', moderator: true }),
    });
    return ((await response.json()) as { access_token: string }).access_token;
  }

  async createPost(title: string, content = `The text of ${title}.`, author = 'Tester'): Promise<string> {
    const mutation = 'mutation ($input: CreatePostInput!) { createPost(input: $input) { post { id } } }';
    const input = { title, content, author };
    const data = await this.run<{ createPost: { post: { id: string } } }>(mutation, { input });
    return data.createPost.post.id;
  }

  async createComment(
    postId: string,
    text: string,
    author = 'Elsewhere',
    parentId?: string,
  ): Promise<string> {
    const mutation =
      'mutation ($input: CreateCommentInput!) { createComment(input: $input) { comment { id } } }';
    const input = { postId, text, author, ...(parentId !== undefined && { parentId }) };
    const data = await this.run<{ createComment: { comment: { id: string } } }>(mutation, { input });
    return data.createComment.comment.id;
  }

  /** The id of a post's newest comment. */
  async newestComment(postId: string): Promise<string> {
    const query = 'query ($id: ID!) { post(id: $id) { comments(first: 1) { edges { node { id } } } } }';
    const { post } = await this.run<{ post: { comments: { edges: { node: { id: string } }[] } } }>(query, {
      id: postId,
    });
    const [newest] = post.comments.edges;
    assert.ok(newest, 'the post has a comment');
    return newest.node.id;
  }

  /** Tries the same comment, by its key, until a service takes it: one that was killed is started again. */
  async createCommentWhenItIsBack(postId: string, text: string): Promise<void> {
    const mutation =
      'mutation ($input: CreateCommentInput!) { createComment(input: $input) { comment { id } } }';
    const input = { postId, text, idempotencyKey: `once-${postId}` };
    await eventually(() => this.run(mutation, { input }));
  }

  /** Waits until the post has counted so many comments: it does so a moment after they are written. */
  async waitForCount(postId: string, count: number): Promise<void> {
    const query = 'query ($id: ID!) { post(id: $id) { commentCount } }';
    await eventually(async () => {
      const { post } = await this.run<{ post: { commentCount: number } }>(query, { id: postId });
      assert.equal(post.commentCount, count);
    });
  }

  async updatePost(id: string, title: string): Promise<void> {
    const mutation = 'mutation ($input: UpdatePostInput!) { updatePost(input: $input) { post { id } } }';
    await this.change(mutation, { id, title });
  }

  async deletePost(id: string): Promise<void> {
    const mutation = 'mutation ($input: DeletePostInput!) { deletePost(input: $input) { id } }';
    await this.change(mutation, { id });
  }

  async updateComment(id: string, text: string): Promise<void> {
    const mutation =
      'mutation ($input: UpdateCommentInput!) { updateComment(input: $input) { comment { id } } }';
    await this.change(mutation, { id, text });
  }

  async deleteComment(id: string): Promise<void> {
    const mutation = 'mutation ($input: DeleteCommentInput!) { deleteComment(input: $input) { id } }';
    await this.change(mutation, { id });
  }
}
