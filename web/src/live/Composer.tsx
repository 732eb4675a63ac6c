// Writing a comment. What is not sent yet stays: in the field, and in this browser.

import { useMutation } from '@apollo/client/react';
import { type FormEvent, useEffect, useRef, useState } from 'react';

import { useSession } from '../signIn/useSession';
import { useAuthorName } from './authorName';
import { Counter } from './Counter';
import { dropDraft, keepDraft, readDraft } from './drafts';
import { focusOn, isFocusLost } from './focus';
import { CreateCommentDocument } from './graph/generated';
import { insertComment } from './graph/lists';
import { newIdempotencyKey } from './idempotencyKey';
import { sendOnShortcut } from './keys';
import { charsOf, cleaned, COMMENT_CHARS_MAX, isBlank } from './text';
import { mayPass, wordsFor } from './words';

interface ComposerProps {
  postId: string;
  /** A text from elsewhere on the page, which joins what is written. */
  handed?: string | undefined;
  onTaken?: () => void;
  /** Hears whether what was sent last waits for a moderator. */
  onHeld?: (isHeld: boolean) => void;
}

export function Composer({ postId, handed, onTaken, onHeld }: ComposerProps) {
  const session = useSession();
  const [guest, setGuest] = useAuthorName();
  const author = session?.name ?? guest;
  const [text, setText] = useState(() => readDraft(`comment.${postId}`)?.text ?? '');
  const [create, { loading, error }] = useMutation(CreateCommentDocument);
  // The same key for every try of the same comment: one whose answer got lost is not doubled.
  const attempt = useRef({ text: '', author: '', key: '' });
  const field = useRef<HTMLTextAreaElement>(null);
  const latest = useRef(text);

  const write = (changed: string) => {
    latest.current = changed;
    setText(changed);
    if (changed !== '') onHeld?.(false);
    if (changed.trim() === '') dropDraft(`comment.${postId}`);
    else keepDraft(`comment.${postId}`, { text: changed });
  };
  useEffect(() => {
    if (handed === undefined) return;
    write([latest.current.trim(), handed].filter((part) => part !== '').join('\n\n'));
    field.current?.focus();
    onTaken?.();
    // eslint-disable-next-line react-hooks/exhaustive-deps -- once for each text that is handed over
  }, [handed]);

  const canSend = !isBlank(text) && charsOf(text) <= COMMENT_CHARS_MAX;
  const send = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = event.currentTarget;
    const wanted = { text: cleaned(text), author: author.trim() };
    if (!canSend || loading) return;
    const { text: tried, author: triedAs } = attempt.current;
    if (tried !== wanted.text || triedAs !== wanted.author)
      attempt.current = { ...wanted, key: newIdempotencyKey() };
    const input = {
      postId,
      text: wanted.text,
      author: wanted.author || null,
      idempotencyKey: attempt.current.key,
    };
    try {
      const { data } = await create({ variables: { input } });
      if (!data) return;
      const { id, status } = data.createComment.comment;
      if (status === 'VISIBLE') insertComment(postId, id);
      attempt.current = { text: '', author: '', key: '' };
      // What was written meanwhile stays.
      if (latest.current === text) write('');
      onHeld?.(status === 'HELD');
      // A reader who has gone on meanwhile is not called back.
      if (isFocusLost() || form.contains(document.activeElement)) focusOn(field.current);
    } catch {
      // `error` has it.
    }
  };

  return (
    <form
      className="composer"
      onSubmit={(event) => void send(event)}
      onKeyDown={(event) => sendOnShortcut(event)}
    >
      <label className="unseen" htmlFor="comment-text">
        Your comment
      </label>
      <textarea
        id="comment-text"
        ref={field}
        rows={3}
        placeholder="Add to the conversation"
        value={text}
        aria-describedby="comment-room"
        onChange={(event) => write(event.target.value)}
      />
      <div className="composer-foot">
        {session ? (
          <p className="writes-as">
            as <span className="name">{session.name}</span>
          </p>
        ) : (
          <>
            <label className="unseen" htmlFor="comment-author">
              Your name
            </label>
            <input
              id="comment-author"
              value={guest}
              maxLength={100}
              placeholder="Your name"
              autoComplete="nickname"
              onChange={(event) => setGuest(event.target.value)}
            />
          </>
        )}
        <Counter id="comment-room" text={text} max={COMMENT_CHARS_MAX} />
        {/* Not `disabled`: that would take the focus away from a button that was just pressed. */}
        <button type="submit" className="button" aria-disabled={loading || !canSend}>
          {loading ? 'Sending…' : 'Comment'}
        </button>
      </div>
      {error && (
        <p className="form-error" role="alert">
          {wordsFor(error)} Your comment is still here.{mayPass(error) && ' You can send it again.'}
        </p>
      )}
    </form>
  );
}
