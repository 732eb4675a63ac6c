// The fields of a post, to write and to edit.

import { type FormEvent, type ReactNode, useRef } from 'react';

import { Conflict } from './Conflict';
import { Counter } from './Counter';
import type { PostDraft } from './drafts';
import { sendOnShortcut } from './keys';
import { MarkdownHelp } from './prose/MarkdownHelp';
import { charsOf, cleaned, CONTENT_CHARS_MAX, isBlank, TITLE_CHARS_MAX } from './text';
import { wordsFor } from './words';
import { takeFocus } from './focus';

interface PostFormProps {
  draft: PostDraft;
  onWrite: (title: string, content: string) => void;
  saveLabel: string;
  saving: boolean;
  error: unknown;
  /** Somebody else changed the post meanwhile. */
  conflict?: { texts: string[]; onMine: () => void; onTheirs: () => void } | undefined;
  onSave: (title: string, content: string) => Promise<void>;
  /** Closes the form; the draft stays. */
  onCancel: () => void;
  /** Throws the draft away, where there is one. */
  onDiscard?: (() => void) | undefined;
  /** The draft is from before. */
  wasKept: boolean;
  children?: ReactNode;
}

export function PostForm(props: PostFormProps) {
  const {
    draft,
    onWrite,
    saveLabel,
    saving,
    error,
    conflict,
    onSave,
    onCancel,
    onDiscard,
    wasKept,
    children,
  } = props;
  const { title, content } = draft;
  const conflictPanel = useRef<HTMLDivElement>(null);
  const canSave =
    !isBlank(title) &&
    !isBlank(content) &&
    charsOf(title) <= TITLE_CHARS_MAX &&
    charsOf(content) <= CONTENT_CHARS_MAX;

  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (conflict) return conflictPanel.current?.focus();
    // What went wrong is shown below; the text stays.
    if (canSave && !saving) onSave(cleaned(title), cleaned(content)).catch(() => {});
  };

  return (
    <form className="form" onSubmit={submit} onKeyDown={(event) => sendOnShortcut(event, onCancel)}>
      {conflict && <Conflict ref={conflictPanel} {...conflict} />}
      <label>
        Title
        <input
          ref={takeFocus}
          value={title}
          aria-describedby="title-room"
          onChange={(event) => onWrite(event.target.value, content)}
        />
      </label>
      <Counter id="title-room" text={title} max={TITLE_CHARS_MAX} />
      <label>
        Text
        <textarea
          rows={10}
          value={content}
          aria-describedby="content-room"
          onChange={(event) => onWrite(title, event.target.value)}
        />
      </label>
      <Counter id="content-room" text={content} max={CONTENT_CHARS_MAX} />
      <MarkdownHelp text={content} />
      {children}
      {error !== undefined && (
        <p className="form-error" role="alert">
          {wordsFor(error)} Your text is still here.
        </p>
      )}
      <div className="form-actions">
        <button type="submit" className="button" aria-disabled={!canSave || saving || conflict !== undefined}>
          {saving ? 'Saving…' : saveLabel}
        </button>
        <button type="button" className="button quiet" onClick={onCancel}>
          Close
        </button>
        {onDiscard && (
          <button type="button" className="text" onClick={onDiscard}>
            Discard
          </button>
        )}
      </div>
      {wasKept && <p className="hint">This is what you wrote before.</p>}
    </form>
  );
}
