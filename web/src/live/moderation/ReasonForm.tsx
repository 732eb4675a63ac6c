// One line of words for moderators to read, and the act that it is the reason of.

import { type FormEvent, useId, useState } from 'react';

import { charsOf, cleaned, isBlank } from '../text';
import { mayPass, wordsFor } from '../words';
import { takeFocus } from '../focus';

/** What the server accepts. */
const REASON_CHARS_MAX = 500;

interface ReasonFormProps {
  /** What is asked for, as a label. */
  label: string;
  /** The words on the button. */
  act: string;
  onAct: (reason: string) => Promise<unknown>;
  /** Hears whether it was done, or given up. */
  onDone: (isDone: boolean) => void;
}

export function ReasonForm({ label, act, onAct, onDone }: ReasonFormProps) {
  const [reason, setReason] = useState('');
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>();
  const errorId = useId();
  const canSend = !isBlank(reason) && charsOf(reason) <= REASON_CHARS_MAX;

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (busy || !canSend) return;
    setBusy(true);
    setError(undefined);
    try {
      await onAct(cleaned(reason));
      onDone(true);
    } catch (failure) {
      setError(failure);
      setBusy(false);
    }
  };

  return (
    <form
      className="form reason-form"
      onSubmit={(event) => void submit(event)}
      onKeyDown={(event) => event.key === 'Escape' && onDone(false)}
    >
      <label>
        {label}
        <input
          ref={takeFocus}
          required
          value={reason}
          maxLength={REASON_CHARS_MAX}
          aria-describedby={error === undefined ? undefined : errorId}
          onChange={(event) => setReason(event.target.value)}
        />
      </label>
      {error !== undefined && (
        <p className="form-error" role="alert" id={errorId}>
          {wordsFor(error)}
          {mayPass(error) && ' You can try again.'}
        </p>
      )}
      <div className="form-actions">
        <button type="submit" className="button" aria-disabled={busy || !canSend}>
          {busy ? 'Sending…' : act}
        </button>
        <button type="button" className="button quiet" onClick={() => onDone(false)}>
          Cancel
        </button>
      </div>
    </form>
  );
}
