// One comment, to read, edit and delete.

import { useMutation } from '@apollo/client/react';
import { memo, type ReactNode, useRef, useState } from 'react';

import { When } from './Ago';
import { CommentEditor } from './CommentEditor';
import { keepDraft, readDraft } from './drafts';
import { focusOn, takeFocus } from './focus';
import { type CommentPartsFragment, DeleteCommentDocument } from './graph/generated';
import { forgetComment } from './graph/lists';
import { useMayChange } from './mayChange';
import { Complaint, type ComplaintKind, useComplaintKind } from './moderation/Complaint';
import type { Outgoing } from './outbox';
import { Prose } from './prose/Prose';
import { Reactions } from './Reactions';
import { ReplyForm } from './ReplyForm';
import { ReplyTo } from './ReplyTo';
import { SendingComments } from './SendingComments';
import { useFocusBack } from './useFocusBack';
import { useUndo } from './useUndo';
import { hasCode } from './words';

interface CommentItemProps {
  comment: CommentPartsFragment;
  postId: string;
  /** It stands below the comment that it replies to. */
  isBelow: boolean;
  /** It arrived while the page was open. */
  isNew: boolean;
  /** It came while the reader was elsewhere, and the line does not tell. */
  isUnseen: boolean;
  /** The address points to it. */
  isTarget: boolean;
  /** It was deleted while somebody edited it here, or wrote a reply. */
  isGone: boolean;
  /** The replies to it that are on their way. */
  sending: readonly Outgoing[];
  /** Hears whether it is being edited, or replied to. */
  onWriting: (comment: CommentPartsFragment, isWriting: boolean) => void;
  /** Hears that an edited text waits for a moderator. */
  onHeld: () => void;
  /** Takes a text that has lost its place. */
  onHandOver: (text: string) => void;
}

export const CommentItem = memo(function CommentItem(props: CommentItemProps) {
  const { comment, postId, isBelow, isNew, isUnseen, isTarget, isGone, sending } = props;
  const { onWriting, onHeld, onHandOver } = props;
  const [editing, setEditing] = useState(false);
  const [remove] = useMutation(DeleteCommentDocument);
  const editButton = useFocusBack(editing);
  const item = useRef<HTMLLIElement>(null);
  const mayChange = useMayChange(comment);
  const complaint = useComplaintKind(comment);
  const [complaining, setComplaining] = useState<ComplaintKind>();
  const [replying, setReplying] = useState(false);
  /** Another one for each text that comes back to the form. */
  const [replyForm, setReplyForm] = useState(0);
  const replyButton = useFocusBack(replying);
  const complaintButton = useFocusBack(complaining !== undefined);

  const deletion = useUndo(async () => {
    const { nextElementSibling: next, previousElementSibling: previous } = item.current ?? {};
    const hadFocus = item.current?.contains(document.activeElement);
    try {
      await remove({
        variables: { input: { id: comment.id } },
        context: { fetchOptions: { keepalive: true } },
      });
    } catch (error) {
      if (!hasCode(error, 'NOT_FOUND')) throw error;
    }
    forgetComment(comment.id);
    if (hadFocus) focusOn(next ?? previous ?? document.getElementById('comments-title'));
  });
  const isLeaving = deletion.state === 'waiting' || deletion.state === 'acting';

  const edit = (isEditing: boolean) => {
    setEditing(isEditing);
    onWriting(comment, isEditing || replying);
  };
  const reply = (isReplying: boolean) => {
    setReplying(isReplying);
    onWriting(comment, editing || isReplying);
  };

  const startDeletion = () => {
    reply(false);
    deletion.start();
  };
  const replyAgain = (text: string) => {
    const key = `reply.${comment.id}` as const;
    const written = readDraft(key)?.text.trim() ?? '';
    keepDraft(key, { text: [written, text].filter((part) => part !== '').join('\n\n'), postId });
    setReplyForm(replyForm + 1);
    reply(true);
  };

  return (
    <li
      className="comment"
      id={`comment-${comment.id}`}
      data-new={isNew || undefined}
      data-target={isTarget || undefined}
      data-reply={isBelow || undefined}
      ref={item}
      tabIndex={-1}
    >
      <Avatar name={comment.author} />
      <div className="comment-body">
        {isLeaving ? (
          <p className="undo" role="status">
            Comment deleted.
            <button type="button" className="text" ref={takeFocus} onClick={deletion.undo}>
              Undo
            </button>
            <button type="button" className="text" onClick={deletion.act}>
              Delete now
            </button>
          </p>
        ) : (
          <>
            <div className="meta">
              <span className="name">{comment.author}</span>
              <When time={comment.createdAt} />
              {comment.edited && <span>edited</span>}
              {isUnseen && <span className="new-mark">New</span>}
              {!editing && !isGone && (
                <span className="actions">
                  {comment.parentId == null && (
                    <button
                      type="button"
                      className="text"
                      ref={replyButton}
                      aria-expanded={replying}
                      onClick={() => reply(true)}
                    >
                      {readDraft(`reply.${comment.id}`) ? 'Continue reply' : 'Reply'}
                      <span className="unseen"> to the comment by {comment.author}</span>
                    </button>
                  )}
                  <a href={`#comment-${comment.id}`} className="text">
                    Link<span className="unseen"> to the comment by {comment.author}</span>
                  </a>
                  {mayChange && (
                    <button type="button" className="text" ref={editButton} onClick={() => edit(true)}>
                      {readDraft(`edit.${comment.id}`) ? 'Continue editing' : 'Edit'}
                      <span className="unseen"> the comment by {comment.author}</span>
                    </button>
                  )}
                  {mayChange && (
                    <button type="button" className="text" onClick={startDeletion}>
                      {deletion.state === 'failed' ? 'Not deleted: try again' : 'Delete'}
                      <span className="unseen"> the comment by {comment.author}</span>
                    </button>
                  )}
                  {complaint && (
                    <button
                      type="button"
                      className="text"
                      ref={complaintButton}
                      onClick={() => setComplaining(complaint)}
                    >
                      {complaint === 'hide' ? 'Hide' : 'Report'}
                      <span className="unseen"> the comment by {comment.author}</span>
                    </button>
                  )}
                </span>
              )}
            </div>
            {comment.parentId != null && <ReplyTo comment={comment} isBelow={isBelow} />}
            {editing ? (
              <CommentEditor
                comment={comment}
                postId={postId}
                isGone={isGone}
                onDone={() => edit(false)}
                onHeld={onHeld}
                onHandOver={onHandOver}
              />
            ) : (
              <Prose className="text" text={comment.text} />
            )}
            <div className="comment-foot">
              <Reactions comment={comment} />
              {comment.replyCount > 0 && (
                <span className="reply-count">
                  {comment.replyCount === 1 ? '1 reply' : `${comment.replyCount.toLocaleString()} replies`}
                </span>
              )}
            </div>
            {replying && (
              <ReplyForm
                key={replyForm}
                parent={comment}
                postId={postId}
                isGone={isGone}
                onDone={() => reply(false)}
                onHandOver={onHandOver}
              />
            )}
            <SendingComments shown={sending} onHandOver={replyAgain} />
            {complaining && (
              <Complaint kind={complaining} commentId={comment.id} onDone={() => setComplaining(undefined)} />
            )}
          </>
        )}
      </div>
    </li>
  );
});

export function Avatar({ name }: { name: string }): ReactNode {
  const { hue, isDeep } = colourOf(name);
  return (
    <span
      className="avatar"
      aria-hidden="true"
      data-deep={isDeep || undefined}
      ref={(element) => element?.style.setProperty('--hue', String(hue))}
    >
      {[...name][0]?.toUpperCase()}
    </span>
  );
}

/** One of 48 colours, always the same for a name, and most often another for another name. */
function colourOf(name: string): { hue: number; isDeep: boolean } {
  // FNV-1a, then the last step of MurmurHash3: names that differ little are far apart.
  let hash = 0x811c9dc5;
  for (const character of name) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  const index = ((hash ^ (hash >>> 16)) >>> 0) % 48;
  return { hue: (index >> 1) * 15, isDeep: index % 2 === 1 };
}
