// Delete, asked twice: the second question takes the button's own place.

import { useState } from 'react';

interface ConfirmProps {
  /** What is deleted, for those who hear the page. */
  what: string;
  busy: boolean;
  onConfirm: () => Promise<void>;
}

export function Confirm({ what, busy, onConfirm }: ConfirmProps) {
  const [state, setState] = useState<'idle' | 'asking' | 'failed' | 'kept'>('idle');

  if (state === 'idle' || state === 'kept') {
    return (
      // The focus goes back to where the question began.
      <button type="button" className="text" autoFocus={state === 'kept'} onClick={() => setState('asking')}>
        Delete<span className="unseen"> {what}</span>
      </button>
    );
  }
  return (
    <span
      role="group"
      aria-label={`Delete ${what}?`}
      onKeyDown={(event) => event.key === 'Escape' && setState('kept')}
    >
      <button
        type="button"
        className="text danger"
        autoFocus
        disabled={busy}
        onClick={() => void onConfirm().catch(() => setState('failed'))}
      >
        {busy ? 'Deleting…' : state === 'failed' ? 'Failed: try again' : 'Really delete'}
      </button>
      <button type="button" className="text" onClick={() => setState('kept')}>
        Keep
      </button>
    </span>
  );
}
