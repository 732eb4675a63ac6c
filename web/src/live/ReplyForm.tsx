// Writing a reply, below the comment that it answers. What is not sent yet stays: in the field, and in this browser.

import { useMutation } from '@apollo/client/react';
import { type FormEvent, useRef, useState } from 'react';

import { useSession } from '../signIn/useSession';
import { useAuthorName } from './authorName';
import { Counter } from './Counter';
import { dropDraft, keepDraft, readDraft } from './drafts';
import { type CommentPartsFragment, CreateCommentDocument } from './graph/generated';
import { insertComment } from './graph/lists';
import { newIdempotencyKey } from './idempotencyKey';
import { sendOnShortcut } from './keys';
import { charsOf, cleaned, COMMENT_CHARS_MAX, isBlank } from './text';
import { mayPass, wordsFor } from './words';

interface ReplyFormProps {
  parent: CommentPartsFragment;
  postId: string;
  onDone: () => void;
  /** Hears that the reply waits for a moderator. */
  onHeld: () => void;
}

export function ReplyForm({ parent, postId, onDone, onHeld }: ReplyFormProps) {
  const key = `reply.${parent.id}` as const;
  const session = useSession();
  const [guest, setGuest] = useAuthorName();
  const author = session?.name ?? guest;
  const [text, setText] = useState(() => readDraft(key)?.text ?? '');
  const [create, { loading, error }] = useMutation(CreateCommentDocument);
  // The same key for every try of the same reply: one whose answer got lost is not doubled.
  const attempt = useRef({ text: '', author: '', key: '' });

  const write = (changed: string) => {
    setText(changed);
    if (changed.trim() === '') dropDraft(key);
    else keepDraft(key, { text: changed, postId });
  };
  const canSend = !isBlank(text) && charsOf(text) <= COMMENT_CHARS_MAX;
  const send = async (event: FormEvent) => {
    event.preventDefault();
    if (!canSend || loading) return;
    const wanted = { text: cleaned(text), author: author.trim() };
    if (attempt.current.text !== wanted.text || attempt.current.author !== wanted.author)
      attempt.current = { ...wanted, key: newIdempotencyKey() };
    const input = {
      postId,
      parentId: parent.id,
      text: wanted.text,
      author: wanted.author || null,
      idempotencyKey: attempt.current.key,
    };
    try {
      const { data } = await create({ variables: { input } });
      if (!data) return;
      const { id, status } = data.createComment.comment;
      if (status === 'VISIBLE') insertComment(postId, id);
      else onHeld();
      dropDraft(key);
      onDone();
    } catch {
      // `error` has it.
    }
  };

  return (
    <form
      className="form reply-form"
      onSubmit={(event) => void send(event)}
      onKeyDown={(event) => sendOnShortcut(event, onDone)}
    >
      <label className="unseen" htmlFor={`reply-${parent.id}`}>
        Your reply to {parent.author}
      </label>
      <textarea
        id={`reply-${parent.id}`}
        autoFocus
        rows={2}
        placeholder={`Reply to ${parent.author}`}
        value={text}
        readOnly={loading}
        aria-describedby={`reply-room-${parent.id}`}
        onChange={(event) => write(event.target.value)}
      />
      {!session && (
        <>
          <label className="unseen" htmlFor={`reply-author-${parent.id}`}>
            Your name
          </label>
          <input
            id={`reply-author-${parent.id}`}
            value={guest}
            maxLength={100}
            placeholder="Your name"
            autoComplete="nickname"
            onChange={(event) => setGuest(event.target.value)}
          />
        </>
      )}
      <Counter id={`reply-room-${parent.id}`} text={text} max={COMMENT_CHARS_MAX} />
      {error && (
        <p className="form-error" role="alert">
          {wordsFor(error)} Your reply is still here.{mayPass(error) && ' You can send it again.'}
        </p>
      )}
      <div className="form-actions">
        {/* Not `disabled`: that would take the focus away from a button that was just pressed. */}
        <button type="submit" className="button" aria-disabled={loading || !canSend}>
          {loading ? 'Sending…' : 'Reply'}
        </button>
        <button type="button" className="button quiet" onClick={onDone}>
          Close
        </button>
      </div>
    </form>
  );
}
