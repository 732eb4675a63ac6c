// What a reply answers: said aloud below its parent, and shown where it stands alone.

import type { CommentPartsFragment } from './graph/generated';

interface ReplyToProps {
  comment: CommentPartsFragment;
  /** It stands below its parent. */
  isBelow: boolean;
}

export function ReplyTo({ comment: { parent, parentId }, isBelow }: ReplyToProps) {
  if (!parent) return <p className="reply-to">In reply to a comment that is gone</p>;
  if (isBelow) return <p className="unseen">In reply to {parent.author}</p>;
  return (
    <p className="reply-to">
      In reply to <a href={`#comment-${parentId}`}>{parent.author}</a>
    </p>
  );
}
