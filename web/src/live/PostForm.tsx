// The fields of a post, to write and to edit.

import { type FormEvent, type ReactNode, useState } from 'react';

import { sendOnShortcut } from './keys';
import { wordsFor } from './Notices';

interface PostFormProps {
  initial?: { title: string; content: string };
  saveLabel: string;
  saving: boolean;
  error: unknown;
  onSave: (title: string, content: string) => Promise<void>;
  onCancel: () => void;
  children?: ReactNode;
}

export function PostForm({ initial, saveLabel, saving, error, onSave, onCancel, children }: PostFormProps) {
  const [title, setTitle] = useState(initial?.title ?? '');
  const [content, setContent] = useState(initial?.content ?? '');
  const isComplete = title.trim() !== '' && content.trim() !== '';

  const submit = (event: FormEvent) => {
    event.preventDefault();
    // What went wrong is shown below; the text stays.
    if (isComplete && !saving) onSave(title.trim(), content.trim()).catch(() => {});
  };

  return (
    <form className="form" onSubmit={submit} onKeyDown={(event) => sendOnShortcut(event, onCancel)}>
      <label>
        Title
        <input
          autoFocus
          required
          maxLength={200}
          value={title}
          onChange={(event) => setTitle(event.target.value)}
        />
      </label>
      <label>
        Text
        <textarea
          required
          rows={10}
          maxLength={20_000}
          value={content}
          onChange={(event) => setContent(event.target.value)}
        />
      </label>
      {children}
      {error !== undefined && (
        <p className="form-error" role="alert">
          {wordsFor(error)}
        </p>
      )}
      <div className="form-actions">
        <button type="submit" className="button" disabled={!isComplete || saving}>
          {saving ? 'Saving…' : saveLabel}
        </button>
        <button type="button" className="button quiet" onClick={onCancel}>
          Cancel
        </button>
      </div>
    </form>
  );
}
