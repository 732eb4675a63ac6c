// Writing a reply, below the comment that it answers. What is not sent yet stays: in the field, and in this browser. Once
// it is sent, the outbox has it.

import { type FormEvent, useState } from 'react';

import { useSession } from '../signIn/useSession';
import { useAuthorName } from './authorName';
import { Counter } from './Counter';
import { dropDraft, keepDraft, readDraft } from './drafts';
import type { CommentPartsFragment } from './graph/generated';
import { sendOnShortcut } from './keys';
import { send } from './outbox';
import { MarkdownHelp } from './prose/MarkdownHelp';
import { charsOf, cleaned, COMMENT_CHARS_MAX, isBlank } from './text';
import { takeFocus } from './focus';

interface ReplyFormProps {
  parent: CommentPartsFragment;
  postId: string;
  /** The comment was deleted meanwhile. */
  isGone: boolean;
  onDone: () => void;
  onHandOver: (text: string) => void;
}

export function ReplyForm({ parent, postId, isGone, onDone, onHandOver }: ReplyFormProps) {
  const key = `reply.${parent.id}` as const;
  const session = useSession();
  const [guest, setGuest] = useAuthorName();
  const author = session?.name ?? guest;
  const [text, setText] = useState(() => readDraft(key)?.text ?? '');
  const [isFull, setFull] = useState(false);

  const write = (changed: string) => {
    setText(changed);
    if (changed.trim() === '') dropDraft(key);
    else keepDraft(key, { text: changed, postId });
  };
  const discard = () => {
    dropDraft(key);
    onDone();
  };
  const canSend = !isBlank(text) && charsOf(text) <= COMMENT_CHARS_MAX;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (isGone || !canSend) return;
    if (!send(postId, cleaned(text), session ? null : author.trim() || null, parent.id)) return setFull(true);
    discard();
  };

  return (
    <form className="form reply-form" onSubmit={submit} onKeyDown={(event) => sendOnShortcut(event, onDone)}>
      {isGone && (
        <p className="conflict" role="alert">
          Somebody deleted this comment while you replied to it.{text !== '' && ' Your text is still here.'}
        </p>
      )}
      <label className="unseen" htmlFor={`reply-${parent.id}`}>
        Your reply to {parent.author}
      </label>
      <textarea
        id={`reply-${parent.id}`}
        ref={takeFocus}
        rows={2}
        placeholder={`Reply to ${parent.author}`}
        value={text}
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
      <MarkdownHelp text={text} />
      {isFull && (
        <p className="form-error" role="alert">
          Too many of your comments wait to be sent. This one is still here.
        </p>
      )}
      <div className="form-actions">
        {/* Not `disabled`: that would take the focus away from a button that was just pressed. */}
        {isGone ? (
          text !== '' && (
            <button
              type="button"
              className="button"
              onClick={() => {
                onHandOver(text);
                discard();
              }}
            >
              Make it a new comment
            </button>
          )
        ) : (
          <button type="submit" className="button" aria-disabled={!canSend}>
            Reply
          </button>
        )}
        {isGone && text !== '' ? (
          <button type="button" className="text" onClick={discard}>
            Discard my reply
          </button>
        ) : (
          <button type="button" className="button quiet" onClick={onDone}>
            Close
          </button>
        )}
      </div>
    </form>
  );
}
