// Delete, asked twice: the second question takes the button's own place.

import { useState } from 'react';

import { takeFocus } from './focus';

interface ConfirmProps {
  /** What is deleted, for those who hear the page. */
  what: string;
  failed: boolean;
  onConfirm: () => void;
}

export function Confirm({ what, failed, onConfirm }: ConfirmProps) {
  const [state, setState] = useState<'idle' | 'asking' | 'kept'>('idle');

  if (state !== 'asking') {
    return (
      // The focus goes back to where the question began.
      <button
        type="button"
        className="text"
        ref={state === 'kept' ? takeFocus : undefined}
        onClick={() => setState('asking')}
      >
        {failed ? 'Not deleted: try again' : 'Delete'}
        <span className="unseen"> {what}</span>
      </button>
    );
  }
  return (
    <span
      role="group"
      aria-label={`Delete ${what}?`}
      onKeyDown={(event) => event.key === 'Escape' && setState('kept')}
    >
      <button type="button" className="text danger" ref={takeFocus} onClick={onConfirm}>
        Really delete
      </button>
      <button type="button" className="text" onClick={() => setState('kept')}>
        Keep
      </button>
    </span>
  );
}
