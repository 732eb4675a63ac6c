// One comment, to read, edit and delete.

import { useMutation } from '@apollo/client/react';
import { type FormEvent, memo, useEffect, useRef, useState } from 'react';

import { Ago } from './Ago';
import { Confirm } from './Confirm';
import { DeleteCommentDocument, type CommentPartsFragment, UpdateCommentDocument } from './graph/generated';
import { forgetComment } from './graph/lists';
import { focusOn } from './focus';
import { sendOnShortcut } from './keys';
import { wordsFor } from './Notices';

interface CommentItemProps {
  comment: CommentPartsFragment;
  /** It arrived while the page was open. */
  isNew: boolean;
}

export const CommentItem = memo(function CommentItem({ comment, isNew }: CommentItemProps) {
  const [editing, setEditing] = useState(false);
  const [remove, removing] = useMutation(DeleteCommentDocument);
  const editButton = useRef<HTMLButtonElement>(null);
  const item = useRef<HTMLLIElement>(null);
  const wasEditing = useRef(false);

  // The focus goes back to where the editing began.
  useEffect(() => {
    if (wasEditing.current && !editing) editButton.current?.focus();
    wasEditing.current = editing;
  }, [editing]);

  return (
    <li className="comment" data-new={isNew || undefined} ref={item} tabIndex={-1}>
      <span className="avatar" aria-hidden="true" data-hue={hueOf(comment.author)}>
        {[...comment.author][0]?.toUpperCase()}
      </span>
      <div className="comment-body">
        <div className="meta">
          <span className="name">{comment.author}</span>
          <Ago time={comment.createdAt} />
          {comment.edited && <span>edited</span>}
          {!editing && (
            <span className="actions">
              <button type="button" className="text" ref={editButton} onClick={() => setEditing(true)}>
                Edit<span className="unseen"> the comment by {comment.author}</span>
              </button>
              <Confirm
                what={`the comment by ${comment.author}`}
                busy={removing.loading}
                onConfirm={async () => {
                  const { nextElementSibling: next, previousElementSibling: previous } = item.current ?? {};
                  await remove({ variables: { input: { id: comment.id } } });
                  forgetComment(comment.id);
                  focusOn(next ?? previous ?? document.getElementById('comments-title'));
                }}
              />
            </span>
          )}
        </div>
        {editing ? (
          <EditForm comment={comment} onDone={() => setEditing(false)} />
        ) : (
          <p className="text">{comment.text}</p>
        )}
      </div>
    </li>
  );
});

function EditForm({ comment, onDone }: { comment: CommentPartsFragment; onDone: () => void }) {
  const [text, setText] = useState(comment.text);
  const [update, { loading, error }] = useMutation(UpdateCommentDocument);

  const save = (event: FormEvent) => {
    event.preventDefault();
    if (text.trim() === '' || loading) return;
    // What went wrong is shown below; the text stays.
    update({ variables: { input: { id: comment.id, text: text.trim() } } }).then(onDone, () => {});
  };

  return (
    <form className="form" onSubmit={save} onKeyDown={(event) => sendOnShortcut(event, onDone)}>
      <label className="unseen" htmlFor={`edit-${comment.id}`}>
        The comment’s text
      </label>
      <textarea
        id={`edit-${comment.id}`}
        autoFocus
        rows={3}
        value={text}
        onChange={(event) => setText(event.target.value)}
      />
      {error && (
        <p className="form-error" role="alert">
          {wordsFor(error)}
        </p>
      )}
      <div className="form-actions">
        <button type="submit" className="button" disabled={loading || text.trim() === ''}>
          {loading ? 'Saving…' : 'Save'}
        </button>
        <button type="button" className="button quiet" onClick={onDone}>
          Cancel
        </button>
      </div>
    </form>
  );
}

/** One of six colours, always the same for a name. */
function hueOf(name: string): number {
  let sum = 0;
  for (const character of name) sum = (sum * 31 + (character.codePointAt(0) ?? 0)) % 997;
  return sum % 6;
}
