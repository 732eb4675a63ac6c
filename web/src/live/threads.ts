// Comments with their replies below them. The list has both, in one order; a reply whose parent is not loaded, or gone,
// stands at its own place.

interface Threaded {
  id: string;
  parentId?: string | null;
  createdAt: string;
}

export interface Placed<Comment> {
  comment: Comment;
  /** Whether it stands below the comment that it replies to. */
  isBelow: boolean;
}

export function threads<Comment extends Threaded>(comments: readonly Comment[]): Placed<Comment>[] {
  const tops = new Set(comments.filter((comment) => comment.parentId == null).map(({ id }) => id));
  const replies = new Map<string, Comment[]>();
  const rest: Comment[] = [];
  for (const comment of comments) {
    const parent = comment.parentId;
    if (parent == null || !tops.has(parent)) rest.push(comment);
    else replies.set(parent, [...(replies.get(parent) ?? []), comment]);
  }
  return rest.flatMap((comment) => [
    { comment, isBelow: false },
    ...(replies.get(comment.id) ?? [])
      .sort((one, other) => Date.parse(one.createdAt) - Date.parse(other.createdAt))
      .map((reply) => ({ comment: reply, isBelow: true })),
  ]);
}
