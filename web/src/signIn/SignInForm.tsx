// Signing in with a name, in one step.

import { type FormEvent, useId, useState } from 'react';

import { signIn, SignInError } from './session';
import { takeFocus } from '../live/focus';

/** As long as an author's name may be. */
const NAME_CHARS_MAX = 100;

interface SignInFormProps {
  initialName?: string;
  buttonClass: string;
  onDone?: () => void;
}

export function SignInForm({ initialName = '', buttonClass, onDone }: SignInFormProps) {
  const [name, setName] = useState(initialName);
  const [moderator, setModerator] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string>();
  const errorId = useId();

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (busy || name.trim() === '') return;
    setBusy(true);
    setError(undefined);
    try {
      await signIn(name.trim(), moderator);
      onDone?.();
    } catch (failure) {
      setError(failure instanceof SignInError ? failure.message : 'Signing in failed.');
    } finally {
      setBusy(false);
    }
  };

  return (
    <form className="form sign-in-form" onSubmit={(event) => void submit(event)}>
      <label>
        Name
        <input
          ref={takeFocus}
          required
          value={name}
          maxLength={NAME_CHARS_MAX}
          autoComplete="nickname"
          aria-describedby={error === undefined ? undefined : errorId}
          onChange={(event) => setName(event.target.value)}
        />
      </label>
      <label className="check">
        <input type="checkbox" checked={moderator} onChange={(event) => setModerator(event.target.checked)} />
        as moderator
      </label>
      {error !== undefined && (
        <p className="form-error" role="alert" id={errorId}>
          {error}
        </p>
      )}
      <div className="form-actions">
        <button type="submit" className={buttonClass} aria-disabled={busy || name.trim() === ''}>
          {busy ? 'Signing in…' : 'Sign in'}
        </button>
      </div>
    </form>
  );
}
