// Editing a comment. Nothing of it is lost: not when the form is closed, not when somebody else changes or deletes
// the comment meanwhile.

import { useMutation } from '@apollo/client/react';
import { type FormEvent, useRef, useState } from 'react';

import { Conflict } from './Conflict';
import { Counter } from './Counter';
import { dropDraft, type EditDraft, keepDraft, readDraft } from './drafts';
import { type CommentPartsFragment, UpdateCommentDocument } from './graph/generated';
import { forgetComment } from './graph/lists';
import { readComment } from './graph/read';
import { sendOnShortcut } from './keys';
import { MarkdownHelp } from './prose/MarkdownHelp';
import { charsOf, cleaned, COMMENT_CHARS_MAX, isBlank } from './text';
import { hasCode, wordsFor } from './words';
import { takeFocus } from './focus';

interface CommentEditorProps {
  comment: CommentPartsFragment;
  postId: string;
  isGone: boolean;
  onDone: () => void;
  /** Hears that the new text waits for a moderator. */
  onHeld: () => void;
  onHandOver: (text: string) => void;
}

export function CommentEditor({ comment, postId, isGone, onDone, onHeld, onHandOver }: CommentEditorProps) {
  const key = `edit.${comment.id}` as const;
  const [kept] = useState(() => readDraft(key));
  const [draft, setDraft] = useState<EditDraft>(
    kept ?? { text: comment.text, postId, base: baseOf(comment) },
  );
  const [update, { loading, error }] = useMutation(UpdateCommentDocument);
  const conflict = useRef<HTMLDivElement>(null);

  const write = (changed: EditDraft) => {
    setDraft(changed);
    if (changed.text === changed.base.text) dropDraft(key);
    else keepDraft(key, changed);
  };
  const discard = () => {
    dropDraft(key);
    onDone();
  };

  // Somebody else has changed it since this text was begun.
  const hasConflict = comment.updatedAt !== draft.base.updatedAt && comment.text !== draft.base.text;
  const canSave = !isBlank(draft.text) && charsOf(draft.text) <= COMMENT_CHARS_MAX;
  const save = async (event: FormEvent) => {
    event.preventDefault();
    if (isGone || !canSave || loading) return;
    if (hasConflict) return conflict.current?.focus();
    const input = { id: comment.id, text: cleaned(draft.text), ifUpdatedAt: comment.updatedAt };
    try {
      const { data } = await update({ variables: { input } });
      if (data?.updateComment.comment.status === 'HELD') {
        // It has left the list. Where the event said so before the answer, the answer has put it back.
        forgetComment(comment.id);
        onHeld();
      }
      discard();
    } catch (failure) {
      // Shown below; what is there now, above.
      if (hasCode(failure, 'CONFLICT') || hasCode(failure, 'NOT_FOUND'))
        await readComment(comment.id).catch(() => {});
    }
  };

  return (
    <form
      className="form"
      onSubmit={(event) => void save(event)}
      onKeyDown={(event) => sendOnShortcut(event, onDone)}
    >
      {isGone ? (
        <p className="conflict" role="alert">
          Somebody deleted this comment while you edited it. Your text is still here.
        </p>
      ) : (
        hasConflict && (
          <Conflict
            ref={conflict}
            texts={[comment.text]}
            onMine={() => write({ ...draft, base: baseOf(comment) })}
            onTheirs={discard}
          />
        )
      )}
      <label className="unseen" htmlFor={`edit-${comment.id}`}>
        The comment’s text
      </label>
      <textarea
        id={`edit-${comment.id}`}
        ref={takeFocus}
        rows={3}
        value={draft.text}
        aria-describedby={`room-${comment.id}`}
        onChange={(event) => write({ ...draft, text: event.target.value })}
      />
      <Counter id={`room-${comment.id}`} text={draft.text} max={COMMENT_CHARS_MAX} />
      <MarkdownHelp text={draft.text} />
      {error && !isGone && !hasCode(error, 'CONFLICT') && (
        <p className="form-error" role="alert">
          {wordsFor(error)} Your text is still here.
        </p>
      )}
      <div className="form-actions">
        {isGone ? (
          <button
            type="button"
            className="button"
            onClick={() => {
              onHandOver(draft.text);
              discard();
            }}
          >
            Make it a new comment
          </button>
        ) : (
          <button type="submit" className="button" aria-disabled={loading || !canSave || hasConflict}>
            {loading ? 'Saving…' : 'Save'}
          </button>
        )}
        {!isGone && (
          <button type="button" className="button quiet" onClick={onDone}>
            Close
          </button>
        )}
        {(isGone || draft.text !== draft.base.text) && (
          <button type="button" className="text" onClick={discard}>
            Discard my changes
          </button>
        )}
      </div>
      {kept && <p className="hint">This is what you wrote before.</p>}
    </form>
  );
}

function baseOf({ text, updatedAt }: CommentPartsFragment): EditDraft['base'] {
  return { text, updatedAt };
}
