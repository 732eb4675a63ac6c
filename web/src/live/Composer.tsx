// Writing a comment. What is not sent yet stays: in the field, and in this browser. Once it is sent, the outbox has it.

import { type FormEvent, useCallback, useEffect, useRef, useState } from 'react';

import { useSession } from '../signIn/useSession';
import { useAuthorName } from './authorName';
import { Counter } from './Counter';
import { dropDraft, keepDraft, readDraft } from './drafts';
import { focusOn } from './focus';
import { sendOnShortcut } from './keys';
import { attend, send } from './outbox';
import { MarkdownHelp } from './prose/MarkdownHelp';
import { charsOf, cleaned, COMMENT_CHARS_MAX, isBlank } from './text';
import { wordsFor } from './words';

interface ComposerProps {
  postId: string;
  /** A text from elsewhere on the page, which joins what is written. */
  handed?: string | undefined;
  onTaken?: () => void;
  /** Hears whether what was sent last waits for a moderator. */
  onHeld?: (isHeld: boolean) => void;
  /** Hears of a comment that is sent, and not among those that are loaded. */
  onElsewhere?: (commentId: string) => void;
}

export function Composer({ postId, handed, onTaken, onHeld, onElsewhere }: ComposerProps) {
  const session = useSession();
  const [guest, setGuest] = useAuthorName();
  const author = session?.name ?? guest;
  const [text, setText] = useState(() => readDraft(`comment.${postId}`)?.text ?? '');
  /** Why the text is back in the field. */
  const [problem, setProblem] = useState<string>();
  const field = useRef<HTMLTextAreaElement>(null);
  const latest = useRef(text);

  const write = useCallback(
    (changed: string) => {
      latest.current = changed;
      setText(changed);
      if (changed.trim() === '') dropDraft(`comment.${postId}`);
      else keepDraft(`comment.${postId}`, { text: changed });
    },
    [postId],
  );
  useEffect(() => {
    if (handed === undefined) return;
    write([latest.current.trim(), handed].filter((part) => part !== '').join('\n\n'));
    field.current?.focus();
    onTaken?.();
    // eslint-disable-next-line react-hooks/exhaustive-deps -- once for each text that is handed over
  }, [handed]);
  useEffect(
    () =>
      attend(postId, {
        takeBack(entry) {
          // What was written meanwhile stays.
          if (latest.current.trim() !== '') return false;
          write(entry.text);
          setProblem(`${wordsFor(entry.error)} Your comment is still here.`);
          return true;
        },
        held: () => onHeld?.(true),
        elsewhere: (id) => onElsewhere?.(id),
      }),
    [postId, write, onHeld, onElsewhere],
  );

  const canSend = !isBlank(text) && charsOf(text) <= COMMENT_CHARS_MAX;
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    if (!canSend) return;
    onHeld?.(false);
    if (!send(postId, cleaned(text), session ? null : author.trim() || null)) {
      setProblem('Too many of your comments wait to be sent. This one is still here.');
      return;
    }
    setProblem(undefined);
    write('');
    focusOn(field.current);
  };

  return (
    <form className="composer" onSubmit={submit} onKeyDown={(event) => sendOnShortcut(event)}>
      <label className="unseen" htmlFor="comment-text">
        Your comment
      </label>
      <textarea
        id="comment-text"
        ref={field}
        rows={3}
        placeholder="Add to the conversation"
        value={text}
        aria-describedby="comment-room comment-problem"
        aria-invalid={problem !== undefined || undefined}
        onChange={(event) => {
          write(event.target.value);
          if (event.target.value !== '') onHeld?.(false);
        }}
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
        <button type="submit" className="button" aria-disabled={!canSend}>
          Comment
        </button>
      </div>
      <MarkdownHelp text={text} />
      <p className="form-error" id="comment-problem" role="alert">
        {problem}
      </p>
    </form>
  );
}
